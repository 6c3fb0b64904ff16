package store

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// TestHistory: the epoch stays while samples come in order, and changes before
// anyone can take what changed for what was.
func TestHistory(t *testing.T) {
	dir := t.TempDir()
	s := start(t, config(dir))
	now := time.Now().UnixMilli()
	mustAppend(t, s, now-3_600_000, 3)
	before, settled := s.History()
	if d := now - settled; before == 0 || d < 100_000 || d > 125_000 {
		t.Errorf("epoch %d, settled %d ms ago", before, d)
	}
	step := func(what string, same bool, do func()) {
		t.Helper()
		do()
		after, _ := s.History()
		if (after == before) != same {
			t.Errorf("%s: epoch from %d to %d", what, before, after)
		}
		before = after
	}
	step("nothing", true, func() {})
	step("a scrape", true, func() { mustAppend(t, s, now, 3) })
	step("a sample that is refused", true, func() {
		if appendFloats(s, now-1_800_000, 1) == nil {
			t.Error("an old sample is taken")
		}
	})
	step("a late series", false, func() {
		app := s.AppenderV2(t.Context())
		_, err := app.Append(0, series(99), 0, now-1_800_000, 1, nil, nil, storage.AOptions{})
		if err = errors.Join(err, app.Commit()); err != nil {
			t.Error(err)
		}
	})
	step("a scrape", true, func() { mustAppend(t, s, now+1, 3) })
	step("a deletion", false, func() {
		if err := s.Delete(t.Context(), 0, now, labels.MustNewMatcher(labels.MatchNotEqual, labels.MetricName, "")); err != nil {
			t.Error(err)
		}
	})
	step("nothing", true, func() {})
	epochs := map[uint64]bool{}
	for _, generation := range []uint64{0, 1, 2, 1} {
		epoch, _ := s.With(older{generation: generation}).History()
		epochs[epoch] = true
	}
	if len(epochs) != 3 || !epochs[before] {
		t.Errorf("with nothing elsewhere, and two generations of it: %v; one of them must be %d", epochs, before)
	}
	s.stop()
	if epoch, _ := s.History(); epoch != 0 {
		t.Errorf("closed: epoch %d", epoch)
	}
	s = start(t, config(dir))
	step("another opening", false, func() {})
	s.stop()
}

// TestSettled: what came late is waited for, for a while; what came much too late
// is not.
func TestSettled(t *testing.T) {
	h, now := newHistory(), time.UnixMilli(1e12)
	ago := func() time.Duration {
		_, settled := h.tell(now)
		return now.Sub(time.UnixMilli(settled))
	}
	if d := ago(); d != settleAfter {
		t.Errorf("settled after %v", d)
	}
	h.added(now.Add(-8*time.Minute).UnixMilli(), now)
	if d := ago(); d != 10*time.Minute {
		t.Errorf("with a lag of 8m settled after %v", d)
	}
	changes, _ := h.tell(now)
	h.added(now.Add(-9*time.Minute).UnixMilli(), now)
	if again, _ := h.tell(now); again != changes {
		t.Error("a sample that was waited for is a change")
	}
	h.added(now.Add(-72*time.Hour).UnixMilli(), now)
	h.added(math.MinInt64, now)
	if again, _ := h.tell(now); again == changes {
		t.Error("a sample of long ago is no change")
	}
	if d := ago(); d != 10*time.Minute {
		t.Errorf("after one of long ago settled after %v", d)
	}
	now = now.Add(lagHold + time.Second)
	if d := ago(); d != settleAfter {
		t.Errorf("an hour later settled after %v", d)
	}
}
