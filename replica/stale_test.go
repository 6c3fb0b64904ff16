package replica

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/trust"
)

const day = 24 * time.Hour

// interval sets how often all islands compare.
func (f *fleet) interval(d time.Duration) {
	c := Default()
	c.Interval = model.Duration(d)
	for _, x := range f.nodes {
		commit, _, err := x.Prepare(c)
		f.must(err)
		commit()
	}
}

// TestTombstones are forgotten in the end, on all islands, and do not come back.
func TestTombstones(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3)
		a, b := f.nodes[0], f.nodes[1]
		a.set("rules/a", "x")
		f.settle()
		_, err := b.Delete(t.Context(), "rules/a", 0)
		f.must(err)
		f.settle()
		f.interval(6 * time.Hour)
		stop := f.run()
		time.Sleep(89 * day)
		if got := a.index.totals().tombstones; got != 1 {
			t.Errorf("after 89 days %d tombstones, want one", got)
		}
		time.Sleep(2 * day)
		for _, x := range f.nodes {
			if got := x.index.totals().tombstones; got != 0 || len(x.History("rules/a")) != 0 {
				t.Errorf("%s: after 91 days %d tombstones, %d old versions", x.name, got, len(x.History("rules/a")))
			}
		}
		stop()
		if !f.agreed() {
			t.Error("roots differ")
		}
	})
}

// TestAwayTooLong: an island that comes back after the tombstones are forgotten
// takes the others' word, brings nothing back to life but what it wrote itself,
// and is warned.
func TestAwayTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3)
		a, b, away := f.nodes[0], f.nodes[1], f.nodes[2]
		a.set("rules/deleted", "x")
		a.set("rules/kept", "x")
		away.set("rules/mine-deleted", "x")
		guest := keyOf(t, "guest")
		f.must(a.Put(t.Context(), f.memberDoc("guest", "island", guest, a.Now())))
		f.must(a.Put(t.Context(), f.revocation(guest.Public(), a.Now())))
		f.settle()
		f.cut(2)
		time.Sleep(time.Minute)
		away.set("rules/meanwhile", "x")
		for _, key := range []string{"rules/deleted", "rules/mine-deleted"} {
			_, err := a.Delete(t.Context(), key, 0)
			f.must(err)
		}
		f.interval(6 * time.Hour)
		stop := f.run()
		time.Sleep(100 * day)
		if !away.warned("replica-away-too-long") || a.warned("replica-away-too-long") {
			t.Error("the island that is away, and no other, should be warned")
		}
		stop()
		f.cut(3)
		if res := a.sync(away); !res.Stale || a.value("rules/deleted") != "" {
			t.Errorf("something was taken over from a stale island: %+v", res)
		}
		away.sync(b)
		f.settle()
		for _, x := range f.nodes {
			if x.value("rules/deleted") != "" || x.value("rules/kept") != "x" || x.value("rules/meanwhile") != "x" || x.value("rules/mine-deleted") != "x" {
				t.Errorf("%s: deleted %q, kept %q, meanwhile %q, own %q", x.name, x.value("rules/deleted"), x.value("rules/kept"),
					x.value("rules/meanwhile"), x.value("rules/mine-deleted"))
			}
			if x.rights.standing(guest.Public()) != trust.Revoked {
				t.Errorf("%s: the revocation is gone", x.name)
			}
		}
		if away.warned("replica-away-too-long") {
			t.Error("the warning stays")
		}
		if v, err := away.Versions("rules/deleted"); err != nil || len(v) != 1 || v[0].Reason == "" {
			t.Errorf("history of what was given up: %v, %v", v, err)
		}
	})
}

// TestAllAway: where everybody was cut off, nobody has forgotten anything, and all merge.
func TestAllAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.nodes[0], f.nodes[1]
		a.set("rules/a", "x")
		f.settle()
		time.Sleep(200 * day)
		b.set("rules/b", "x")
		if !a.stale() || !b.stale() {
			t.Fatal("they are not stale: this shows nothing")
		}
		f.settle()
		if a.stale() || b.stale() || a.value("rules/b") != "x" || b.value("rules/a") != "x" {
			t.Error("they did not merge")
		}
	})
}

// TestLimits: what is over them is refused with the limit's name, documents of
// trust have room of their own.
func TestLimits(t *testing.T) {
	f := newFleet(t, 1)
	x := f.nodes[0]
	c := Default()
	c.MaxDocuments, c.MaxBytes = 10, flow.Bytes(4<<20)
	commit, _, err := x.Prepare(c)
	f.must(err)
	commit()
	for i := range 10 {
		x.set("rules/"+string(rune('a'+i)), "x")
	}
	_, err = x.Set(t.Context(), "rules/z", nil, 0)
	if e := (*Error)(nil); !errors.Is(err, ErrFull) || !errors.As(err, &e) || e.Field != "max_documents" {
		t.Errorf("one document too many: %v", err)
	}
	if !x.warned("replica-full") {
		t.Error("no health warning")
	}
	x.set("rules/a", "y")
	f.must(x.Put(t.Context(), f.memberDoc("new", "island", keyOf(t, "new"), x.Now())))
	var last error
	for i := 0; i < 10 && last == nil; i++ {
		_, last = x.Set(t.Context(), "rules/"+string(rune('a'+i)), make([]byte, 1<<20), 0)
	}
	if e := (*Error)(nil); !errors.As(last, &e) || e.Field != "max_bytes" {
		t.Errorf("too many bytes: %v", last)
	}
	if got := x.index.section(otherTree).bytes; got > 4<<20 {
		t.Errorf("%d bytes are held", got)
	}
	c.Interval = 0
	if _, _, err := x.Prepare(c); err == nil {
		t.Error("a bad configuration was prepared")
	}
}
