package replica

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// TestRevocationUndoes: what a revoked island wrote is void, what it overwrote comes
// back, what was adopted stays.
func TestRevocationUndoes(t *testing.T) {
	f := newFleet(t, 3)
	a, b, c := f.nodes[0], f.nodes[1], f.nodes[2]
	a.set("rules/vandalised", "good")
	a.set("rules/erased", "good")
	f.settle()
	b.set("rules/vandalised", "bad")
	b.set("rules/own", "of b")
	b.set("rules/adopted", "of b")
	_, err := b.Delete(t.Context(), "rules/erased", 0)
	f.must(err)
	f.settle()
	if a.value("rules/vandalised") != "bad" || a.value("rules/erased") != "" {
		t.Fatal("the edits did not arrive: what follows shows nothing")
	}
	a.set("rules/adopted", a.value("rules/adopted"))
	f.must(a.Put(t.Context(), f.revocation(b.key.Public(), a.Now())))
	f.settle()
	for _, x := range []*isle{a, c, b} {
		if x.value("rules/vandalised") != "good" || x.value("rules/erased") != "good" || x.value("rules/own") != "" || x.value("rules/adopted") != "of b" {
			t.Errorf("%s: %q %q %q %q", x.name, x.value("rules/vandalised"), x.value("rules/erased"), x.value("rules/own"), x.value("rules/adopted"))
		}
		v, err := x.Versions("rules/own")
		f.must(err)
		if len(v) != 1 || !v[0].Void || v[0].Reason == "" {
			t.Errorf("%s: history of a void document %+v, want one version with a reason", x.name, v)
		}
	}
	if !b.warned("replica-own-documents-void") || a.warned("replica-own-documents-void") {
		t.Error("the author of void documents, and nobody else, should be warned")
	}
	if _, err := b.Set(t.Context(), "rules/later", []byte("x"), 0); !errors.Is(err, ErrRefused) {
		t.Errorf("a revoked island writes: %v", err)
	}
}

// TestRightComesBack: what was void while a right was gone is in force again.
func TestRightComesBack(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	b.set("rules/of-b", "x")
	f.settle()
	member := trust.MemberDocument(b.key.Public())
	f.must(a.Put(t.Context(), trust.NewDocument(f.network, f.signer, member, nil, a.Now(), true)))
	if a.value("rules/of-b") != "" {
		t.Fatal("the document of one who is no member is in force")
	}
	f.must(a.Put(t.Context(), f.memberDoc(b.name, "island", b.key, a.Now())))
	if a.value("rules/of-b") != "x" {
		t.Error("the right came back, the document did not")
	}
	f.settle()
}

// TestTrustFirst: in one batch, in the worst order, each right is learned before
// what hangs on it is judged.
func TestTrustFirst(t *testing.T) {
	f := bareFleet(t)
	a := f.add("a", "island")
	docs := append(slices.Clone(f.genesis), f.sign(a.key, "rules/x", []byte("v"), past()))
	slices.Reverse(docs)
	f.must(a.Put(t.Context(), docs...))
	if a.value("rules/x") != "v" {
		t.Error("the document is not in force")
	}
}

// TestForeignTrustIsNotStored: a member's document of trust neither replaces a
// genuine one nor is learned from.
func TestForeignTrustIsNotStored(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	key := trust.MemberDocument(b.key.Public())
	learned := a.rights.learned
	err := a.Put(t.Context(), trust.NewDocument(f.network, b.key, key, nil, a.Now(), true),
		f.sign(b.key, trust.PolicyDocument, []byte("permit (principal, action, resource);"), a.Now()))
	if !errors.Is(err, ErrRefused) {
		t.Errorf("put: %v, want refused", err)
	}
	if _, err := a.Get(key); err != nil || a.rights.learned != learned {
		t.Errorf("genuine document: %v; learned %d times, want none", err, a.rights.learned-learned)
	}
}

// TestRefusalsAreRemembered: comparisons do not move again and again what one side
// does not take over, until rights change.
func TestRefusalsAreRemembered(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	guest := keyOf(t, "guest")
	member := f.memberDoc("guest", "island", guest, a.Now())
	f.must(a.Put(t.Context(), member))
	f.must(a.Put(t.Context(), f.sign(guest, "rules/of-guest", []byte("x"), a.Now())))
	moved := func() float64 {
		return testutil.ToFloat64(b.m.syncDocs.WithLabelValues("in")) + testutil.ToFloat64(a.m.syncDocs.WithLabelValues("in"))
	}
	b.o.Rights = denying{b.rights, "rules/of-guest"}
	b.sync(a)
	before := moved()
	for range 3 {
		b.sync(a)
		a.sync(b)
	}
	if got := moved() - before; got > 1 {
		t.Errorf("%v documents moved by further comparisons, want none but the first offer", got)
	}
	b.o.Rights = b.rights
	f.must(b.Put(t.Context(), f.memberDoc("other", "island", keyOf(t, "other"), b.Now())))
	f.settle()
	if b.value("rules/of-guest") != "x" {
		t.Error("after rights changed the document was not fetched")
	}
}

// denying refuses one more document.
type denying struct {
	Rights
	key string
}

func (d denying) Permit(doc *replicapb.Document) error {
	if doc.GetKey() == d.key {
		return errors.New("denied by the test")
	}
	return d.Rights.Permit(doc)
}

// TestQuarantine: an island in quarantine gets and gives documents of trust only.
func TestQuarantine(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	a.set("rules/of-a", "x")
	b.set("rules/of-b", "x")
	f.must(a.Put(t.Context(), f.memberDoc("new", "island", keyOf(t, "new"), a.Now())))
	b.standby = true
	b.sync(a)
	if b.value("rules/of-a") != "" || a.value("rules/of-b") != "" {
		t.Error("documents moved to or from an island in quarantine")
	}
	if _, err := b.Get(trust.MemberDocument(keyOf(t, "new").Public())); err != nil {
		t.Errorf("documents of trust did not: %v", err)
	}
	b.standby = false
	f.settle()
}

// TestStranger is not served.
func TestStranger(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	a.o.Caller = func(context.Context) (trust.Key, bool, bool) { return trust.Key{}, false, false }
	if _, err := b.Sync(t.Context(), a.key.Public()); err == nil {
		t.Error("a stranger was served")
	}
}
