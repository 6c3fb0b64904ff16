package discover

import (
	"hash/maphash"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/atoll-mesh/atoll/mesh/hosttest"
)

// TestWhoBegins checks that of a pair in which both choose each other one waits,
// and that who is not chosen by the other does not.
func TestWhoBegins(t *testing.T) {
	h := hosttest.New(t, nil, nil)
	all := simulated(200, 5)
	seeds := map[peer.ID]maphash.Seed{}
	theirs := choices(append(slices.Clone(all), Member{ID: h.ID(), Region: "region-1"}), 4, seeds)
	d, err := New(Options{Config: Default(), Host: h, Network: "n", Region: "region-1", Members: func() []Member { return all }})
	if err != nil {
		t.Fatal(err)
	}
	chosen, waits, now := 0, 0, time.Now()
	for _, m := range all {
		// The third of four is chance, the fourth may have been displaced by it.
		sure := slices.Contains(theirs[m.ID][:2], h.ID())
		next := d.beginLocked(m.ID, now)
		if sure {
			chosen++
			if want := h.ID() > m.ID; want == next.IsZero() {
				t.Errorf("%s chooses this island, whose key is greater: %t, but it begins at %v", m.ID, want, next)
			}
		}
		if !next.IsZero() {
			waits++
			if in := next.Sub(now); in < beginFor || in >= 2*beginFor {
				t.Errorf("it waits %s, want %s to twice that", in, beginFor)
			}
		}
	}
	if chosen == 0 || waits > 20 {
		t.Errorf("%d choose this island, and it waits for %d of %d", chosen, waits, len(all))
	}
}

// TestSmallNetworkTakesTurns checks the small network, where all choose all.
func TestSmallNetworkTakesTurns(t *testing.T) {
	h := hosttest.New(t, nil, nil)
	all := []Member{{ID: "\x00 the least"}, {ID: "\xff the greatest"}}
	d, err := New(Options{Config: Default(), Host: h, Network: "n", Members: func() []Member { return all }})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if d.beginLocked(all[0].ID, now).IsZero() {
		t.Error("the greater key does not wait")
	}
	if !d.beginLocked(all[1].ID, now).IsZero() {
		t.Error("the lesser key waits")
	}
}
