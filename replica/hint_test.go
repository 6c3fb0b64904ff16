package replica

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// quiet leaves an hour between rounds of comparison, so that only hints can be the cause.
func quiet(t *testing.T, n int, test func(f *fleet)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, n)
		f.delay = 50 * time.Millisecond
		f.interval(time.Hour)
		f.settle()
		f.gossip()
		stop := f.run()
		time.Sleep(2 * time.Second) // what the comparisons brought is announced
		test(f)
		stop()
	})
}

// TestHints: a small document travels inside the hint, a large one is fetched from
// who announced it, and many at once by comparison.
func TestHints(t *testing.T) {
	quiet(t, 5, func(f *fleet) {
		f.nodes[0].set("rules/small", "x")
		time.Sleep(60 * time.Millisecond)
		for _, x := range f.nodes {
			if x.value("rules/small") != "x" {
				t.Errorf("%s: a small document is not there after one trip", x.name)
			}
		}
		large := make([]byte, 200<<10)
		_, err := f.nodes[0].Set(t.Context(), "rules/large", large, 0)
		f.must(err)
		time.Sleep(time.Second)
		for _, x := range f.nodes {
			if len(x.value("rules/large")) != len(large) {
				t.Errorf("%s: a large document is not there after a second", x.name)
			}
		}
		var docs []*replicapb.Document
		for n := range 500 {
			docs = append(docs, f.rule(f.nodes[1], n, 0, f.nodes[1].Now()))
		}
		f.must(f.nodes[1].Put(t.Context(), docs...))
		time.Sleep(10 * time.Second)
		if !f.agreed() {
			t.Error("500 documents are not everywhere after ten seconds")
		}
	})
}

// TestRevocationTravelsAtOnce, and voids what it has to, everywhere.
func TestRevocationTravelsAtOnce(t *testing.T) {
	quiet(t, 5, func(f *fleet) {
		f.nodes[4].set("rules/bad", "x")
		time.Sleep(time.Second)
		f.must(f.nodes[0].Put(t.Context(), f.revocation(f.nodes[4].key.Public(), f.nodes[0].Now())))
		time.Sleep(60 * time.Millisecond)
		for _, x := range f.nodes {
			if x.rights.standing(f.nodes[4].key.Public()) != trust.Revoked || x.value("rules/bad") != "" {
				t.Errorf("%s does not know after one trip", x.name)
			}
		}
	})
}

// TestHintBeforeRight: a document comes before the membership of its author did.
func TestHintBeforeRight(t *testing.T) {
	quiet(t, 2, func(f *fleet) {
		a, b := f.nodes[0], f.nodes[1]
		guest := keyOf(t, "guest")
		hints := a.hints.Swap(nil) // this one is lost
		f.must(a.Put(t.Context(), f.memberDoc("guest", "island", guest, a.Now())))
		time.Sleep(time.Second)
		a.hints.Store(hints)
		f.must(a.Put(t.Context(), f.sign(guest, "rules/of-guest", []byte("x"), a.Now())))
		time.Sleep(5 * time.Second)
		if b.value("rules/of-guest") != "x" {
			t.Error("the membership was not fetched because of the hint")
		}
	})
}

// TestHintsAfterACutHeals: whoever gets across first speaks for its side; the
// number of hints does not grow with the number of islands.
func TestHintsAfterACutHeals(t *testing.T) {
	quiet(t, 10, func(f *fleet) {
		f.cut(5)
		f.nodes[0].set("rules/west", "x")
		f.nodes[9].set("rules/east", "x")
		time.Sleep(5 * time.Second)
		f.cut(10)
		var count atomic.Int64
		for _, x := range f.nodes {
			inner := *x.hints.Load()
			counting := func(hint []byte) { count.Add(1); inner(hint) }
			x.hints.Store(&counting)
		}
		f.nodes[0].Connected(f.nodes[9].key.Public())
		f.nodes[9].Connected(f.nodes[0].key.Public())
		time.Sleep(5 * time.Second)
		sent := count.Load()
		if !f.agreed() || sent == 0 || sent > 4 {
			t.Errorf("agreed: %v, after %d hints; want at most 4", f.agreed(), sent)
		}
	})
}

func TestHintIsBounded(t *testing.T) {
	f := newFleet(t, 1)
	u := newRumours()
	var raw []byte
	for n := range 2 * maxTelling {
		d := f.sign(f.root, fmt.Sprintf("rules/%0199d", n), []byte("x"), past())
		u.tell(entryOf(d), d, sourceLocal)
	}
	h, _ := u.hint(time.Now().Add(time.Second))
	raw, err := proto.Marshal(h)
	f.must(err)
	if parsed, err := parseHint(raw); err != nil || !parsed.GetMore() || len(parsed.GetHeads()) == 0 {
		t.Errorf("hint of %d bytes: %v", len(raw), err)
	}
	if h, _ := u.hint(time.Now().Add(time.Second)); h != nil {
		t.Error("it is announced twice")
	}
	x := f.nodes[0]
	for range 300 {
		x.Heard(x.key.Public(), raw) // must not block though nobody listens
	}
	x.Heard(x.key.Public(), make([]byte, maxHint+1))
}

// TestInterruptedSync resumes: what came before the break is kept.
func TestInterruptedSync(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	var docs []*replicapb.Document
	for n := range 2000 {
		docs = append(docs, f.rule(a, n, 0, past()))
	}
	f.must(a.Put(t.Context(), docs...))
	ctx, cancel := contextOf(t)
	events, end := b.Watch("rules/")
	defer end()
	go func() {
		<-events
		cancel()
		b.hangUp()
	}()
	if _, err := b.Sync(ctx, a.key.Public()); err == nil {
		t.Fatal("the comparison was not interrupted: this shows nothing")
	}
	kept := len(b.Keys("rules/"))
	if kept == 0 || kept == 2000 {
		t.Fatalf("%d of 2000 documents are kept: this shows nothing", kept)
	}
	eventually(t, "a free place", func() bool {
		res, err := b.Sync(t.Context(), a.key.Public())
		return err == nil && res.Pulled == 2000-kept
	})
	if !f.agreed() {
		t.Error("roots differ")
	}
}
