package replica

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/trust"
)

func TestClockNeverRunsBack(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	c := clock{wall: func() time.Time { return now }}
	last := c.next()
	for i, step := range []time.Duration{0, 0, time.Millisecond, -10 * time.Minute, 0, time.Hour, -24 * 365 * time.Hour, 0} {
		now = now.Add(step)
		got := c.next()
		if got <= last {
			t.Fatalf("step %d: %d after %d", i, got, last)
		}
		last = got
	}
	c.saw(last + 5)
	if got := c.next(); got <= last+5 {
		t.Errorf("%d after seeing %d", got, last+5)
	}
	now = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)
	if got := c.next(); got <= last {
		t.Errorf("before 1970: %d after %d", got, last)
	}
}

func TestCounterCarries(t *testing.T) {
	now := time.UnixMilli(1000)
	c := clock{wall: func() time.Time { return now }}
	first := c.next()
	for range 1 << 16 {
		c.next()
	}
	if got := TimeOf(c.next()); got != now.Add(time.Millisecond) {
		t.Errorf("after 65,536 times in one millisecond the clock says %v, want the next one than %v", got, TimeOf(first))
	}
}

// TestSkew: with clocks ten minutes apart, and one that jumps back, the later edit
// wins wherever its author had seen the earlier one.
func TestSkew(t *testing.T) {
	f := newFleet(t, 2)
	fast, slow := f.nodes[0], f.nodes[1]
	fast.skew, slow.skew = 10*time.Minute, -10*time.Minute
	fast.set("rules/a", "first, by the fast clock")
	f.settle()
	slow.set("rules/a", "second, by the slow clock")
	f.settle()
	if got := fast.value("rules/a"); got != "second, by the slow clock" {
		t.Errorf("value %q, want the second", got)
	}
	fast.skew = -2 * time.Hour // jumps back
	fast.set("rules/a", "third")
	f.settle()
	if got := slow.value("rules/a"); got != "third" {
		t.Errorf("value %q, want the third", got)
	}
	// and over a restart with the clock still behind
	fast.stop()
	fast.open()
	fast.set("rules/a", "fourth")
	f.settle()
	if got := slow.value("rules/a"); got != "fourth" {
		t.Errorf("value %q, want the fourth", got)
	}
}

// TestFuture: a document more than a day ahead waits, and is taken up when its time comes near.
func TestFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.nodes[0], f.nodes[1]
		a.skew = 25 * time.Hour
		a.set("rules/a", "tomorrow")
		b.sync(a)
		if b.value("rules/a") != "" || b.waiting.len() != 1 {
			t.Fatalf("value %q with %d waiting, want it to wait", b.value("rules/a"), b.waiting.len())
		}
		if res := b.sync(a); res.Pulled+res.Refused != 0 {
			t.Errorf("it was fetched again: %+v", res)
		}
		if b.clock.ahead() > time.Minute {
			t.Errorf("the clock followed it by %v", b.clock.ahead())
		}
		stop := f.run()
		time.Sleep(3 * time.Minute)
		if b.value("rules/a") != "" || !b.warned("replica-clock-skew") {
			t.Errorf("value %q, warned %v: want none yet, and a warning", b.value("rules/a"), b.warned("replica-clock-skew"))
		}
		time.Sleep(time.Hour)
		if b.value("rules/a") != "tomorrow" {
			t.Error("its time came near, it was not taken up")
		}
		stop()
	})
}

func TestWaitingIsBounded(t *testing.T) {
	f := bareFleet(t)
	w := newWaiting()
	for i := range uint64(maxWaiting + 10) {
		w.add(f.sign(f.root, "rules/a", []byte("x"), i+1))
	}
	if w.len() != maxWaiting {
		t.Errorf("%d wait, want %d", w.len(), maxWaiting)
	}
	if got := len(w.due(func(at uint64) bool { return at > maxWaiting })); got != maxWaiting {
		t.Errorf("%d of the nearest are left, want %d", got, maxWaiting)
	}
	for i := range uint64(12) {
		w.add(f.sign(f.root, "rules/a", make([]byte, trust.MaxDocumentValue), i+1))
	}
	if w.bytes > maxWaitingBytes {
		t.Errorf("%d bytes wait, at most %d", w.bytes, maxWaitingBytes)
	}
}

func TestOutdatedPut(t *testing.T) {
	f := newFleet(t, 1)
	x := f.nodes[0]
	old := f.sign(x.key, "rules/a", []byte("old"), past())
	x.set("rules/a", "new")
	if err := x.Put(t.Context(), old); !errors.Is(err, ErrOutdated) {
		t.Errorf("put an older version: %v, want outdated", err)
	}
}
