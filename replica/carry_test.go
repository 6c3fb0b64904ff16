package replica

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// parted is two islands that hold opposite words: a signer revoked the first one's
// member where the second listens, a root ended the signer where the first does.
func parted(t *testing.T) (f *fleet, thief trust.PrivateKey, here, there *isle) {
	t.Helper()
	f = bareFleet(t)
	thief = keyOf(t, "thief")
	raw, err := trust.EncodeSigner(trust.SignerValue{Name: "thief", Since: time.Now()})
	f.must(err)
	f.genesis = append(f.genesis, f.sign(f.root, trust.SignerDocument(thief.Public()), raw, past()))
	here, there = f.add("here", "island"), f.add("there", "island")
	for _, x := range f.nodes {
		f.must(x.Put(t.Context(), f.genesis...))
	}
	revoked, err := trust.EncodeRevoked(trust.RevokedValue{Reason: "hostile", At: time.Now()})
	f.must(err)
	f.must(there.Put(t.Context(), f.sign(thief, trust.RevokedDocument(here.key.Public()), revoked, there.Now())))
	f.must(here.Put(t.Context(),
		f.sign(f.root, trust.RevokedDocument(thief.Public()), revoked, here.Now()),
		trust.NewDocument(f.network, f.root, trust.SignerDocument(thief.Public()), nil, here.Now(), true)))
	if got := there.rights.standing(here.key.Public()); got != trust.Revoked {
		t.Fatalf("before: %s", got)
	}
	return f, thief, here, there
}

// TestWordIsPut has the root's word decide what a signer's is worth.
func TestWordIsPut(t *testing.T) {
	_, thief, here, there := parted(t)
	held, err := here.TrustHeld("")
	if err != nil {
		t.Fatal(err)
	}
	if d := here.Held(trust.SignerDocument(thief.Public())); d == nil || !d.GetDeleted() {
		t.Errorf("the tombstone is not among what is held: %v", d)
	}
	if here.Held("owner/nobody") != nil {
		t.Error("holds what there is not")
	}
	word := here.rights.state.Word(held)
	fresh, err := there.rights.state.Hear(word, there.Held, there.Horizon())
	if err != nil || len(fresh) != 2 {
		t.Fatalf("news: %v, %v", fresh, err)
	}
	if err := there.Put(t.Context(), fresh...); err != nil {
		t.Fatal(err)
	}
	if got := there.rights.standing(here.key.Public()); got != trust.MemberStanding {
		t.Errorf("afterwards: %s", got)
	}
}

// TestImport takes what is valid and newer, and says of all else why not.
func TestImport(t *testing.T) {
	f, thief, here, there := parted(t)
	held, err := here.TrustHeld("")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := trust.EncodeRevoked(trust.RevokedValue{At: time.Now()})
	f.must(err)
	old := f.memberDoc("forgotten", "island", keyOf(t, "forgotten"), hybrid(time.Now().Add(-100*24*time.Hour)))
	forged := proto.CloneOf(held[0])
	forged.Signature = make([]byte, len(forged.Signature))
	more := []*replicapb.Document{
		old, f.sign(here.key, "owner/x", []byte("a: b\n"), here.Now()),
		f.sign(thief, trust.RevokedDocument(there.key.Public()), raw, here.Now()),
	}
	got, err := there.Import(t.Context(), append(held, more...))
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]int{}
	for i, o := range got {
		outcomes[o.Outcome]++
		if refused := i >= len(held); (o.Outcome == Refused) != refused || (o.Err != nil) != refused {
			t.Errorf("%s: %s, %v", o.Key, o.Outcome, o.Err)
		}
	}
	if outcomes[Taken] != 2 || outcomes[Known] != len(held)-2 {
		t.Errorf("outcomes %v of %d", outcomes, len(held))
	}
	if got := there.rights.standing(here.key.Public()); got != trust.MemberStanding {
		t.Errorf("afterwards: %s", got)
	}
	if got, err := there.Import(t.Context(), []*replicapb.Document{forged}); err != nil || got[0].Outcome == Taken || got[0].Err == nil {
		t.Errorf("forged: %v, %v", got, err)
	}
	if err := there.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := there.Import(t.Context(), held); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
