package replica

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// TestConvergence lets islands edit, revoke, adopt and set their clocks while
// random cuts come and go, then compares until nothing moves any more. Whatever
// the order, all must hold the same.
func TestConvergence(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { converge(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func converge(t *testing.T, r *rand.Rand) {
	f := newFleet(t, 6)
	for _, x := range f.nodes {
		x.skew = time.Duration(r.IntN(20)-10) * time.Minute
	}
	revoked := map[trust.Key]bool{}
	for range 120 {
		x := f.nodes[r.IntN(len(f.nodes))]
		key := fmt.Sprintf("rules/r%d", r.IntN(12))
		switch r.IntN(10) {
		case 0, 1, 2, 3, 4:
			x.Set(t.Context(), key, fmt.Appendf(nil, "by %s: %d", x.name, r.Uint64()), 0) // a revoked one is refused
		case 5:
			x.Delete(t.Context(), key, 0)
		case 6:
			f.cut(r.IntN(len(f.nodes) + 1))
		case 7:
			x.skew = time.Duration(r.IntN(20)-10) * time.Minute
		case 8:
			f.change(t, r, x, key, revoked)
		default:
			meet(x, r)
		}
		time.Sleep(time.Second)
	}
	f.cut(len(f.nodes))
	f.settle()
	first := f.nodes[0]
	if len(first.List("rules/")) == 0 {
		t.Error("nothing is left: this shows nothing")
	}
	for _, d := range first.List("") {
		if err := first.rights.Permit(d); err != nil {
			t.Errorf("a void document is in force: %v", err)
		}
	}
}

// change is a change of rights: a revocation, a membership that ends and comes
// back, or a signer's word against another's.
func (f *fleet) change(t *testing.T, r *rand.Rand, x *isle, key string, revoked map[trust.Key]bool) {
	victim := f.nodes[1+r.IntN(len(f.nodes)-1)]
	switch r.IntN(3) {
	case 0:
		if len(revoked) < 2 {
			revoked[victim.key.Public()] = true
			x.Put(t.Context(), f.revocation(victim.key.Public(), x.Now()))
		}
	case 1: // out, and in again some time later
		x.Put(t.Context(), trust.NewDocument(f.network, f.signer, trust.MemberDocument(victim.key.Public()), nil, x.Now(), true))
	default:
		x.Put(t.Context(), f.memberDoc(victim.name, "island", victim.key, x.Now()))
		if d, err := x.Get(key); err == nil { // adopts what may be void soon
			x.Set(t.Context(), key, d.GetValue(), 0)
		}
	}
}

func meet(x *isle, r *rand.Rand) {
	if peers := (peersOf{x}).Connected(); len(peers) > 0 {
		x.Sync(x.f.t.Context(), peers[r.IntN(len(peers))])
	}
}

// settle compares everybody with everybody until all roots are equal.
func (f *fleet) settle() {
	f.t.Helper()
	for range 5 {
		for _, x := range f.nodes {
			for _, y := range f.nodes {
				if x != y {
					x.sync(y)
				}
			}
		}
		if f.agreed() {
			return
		}
	}
	for _, x := range f.nodes {
		f.t.Logf("%s: %x, %d documents", x.name, x.Root(), x.index.totals().documents)
	}
	f.t.Fatal("islands differ after five rounds of comparisons")
}

func (f *fleet) agreed() bool {
	for _, x := range f.nodes {
		if !bytes.Equal(x.Root(), f.nodes[0].Root()) {
			return false
		}
	}
	return true
}

// TestPartition cuts nine islands into four and five for a minute of edits on both
// sides, with all loops running: nothing is lost that no later edit replaced.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 9)
		f.delay = 50 * time.Millisecond
		f.gossip()
		stop := f.run()
		latest := map[string]*replicapb.Document{}
		edit := func(x *isle, key, value string) {
			d := x.set(key, value)
			if trust.Newer(d, latest[key]) {
				latest[key] = d
			}
		}
		edit(f.nodes[0], "owner/before", "x")
		time.Sleep(5 * time.Second)
		f.cut(4)
		for second := range 60 {
			for i, x := range f.nodes {
				edit(x, fmt.Sprintf("rules/own-%d-%d", i, second%7), fmt.Sprint(second))
			}
			edit(f.nodes[second%4], "owner/shared", fmt.Sprint("west ", second))
			edit(f.nodes[4+second%5], "owner/shared", fmt.Sprint("east ", second))
			time.Sleep(time.Second)
		}
		if f.agreed() {
			t.Fatal("both sides agree during the cut: it cuts nothing")
		}
		f.cut(len(f.nodes))
		healed := time.Now()
		for !f.agreed() {
			if time.Since(healed) > 2*time.Minute {
				t.Fatal("two minutes after the cut islands differ")
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("all agree %v after the cut", time.Since(healed))
		for key, want := range latest {
			for _, x := range f.nodes {
				if d, err := x.Get(key); err != nil || d.GetTime() != want.GetTime() {
					t.Errorf("%s: %s is %v, want version %d", x.name, key, d.GetTime(), want.GetTime())
				}
			}
		}
		stop()
	})
}

// gossip delivers hints to everybody in reach, after the link's delay.
func (f *fleet) gossip() {
	for _, x := range f.nodes {
		tell := func(hint []byte) {
			for _, k := range (peersOf{x}).Connected() {
				time.AfterFunc(f.delay, func() { f.node(k).Heard(x.key.Public(), hint) })
			}
		}
		x.hints.Store(&tell)
	}
}

// run starts all loops; the function returned ends them.
func (f *fleet) run() (stop func()) {
	ctx, cancel := contextOf(f.t)
	done := make(chan error, len(f.nodes))
	for _, x := range f.nodes {
		go func() { done <- x.Run(ctx) }()
	}
	return func() {
		cancel()
		for range f.nodes {
			f.must(<-done)
		}
	}
}
