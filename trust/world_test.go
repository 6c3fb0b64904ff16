package trust

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// epoch is when the tests' network was made.
var epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// testKey is the same key for the same name in every run.
func testKey(name string) PrivateKey {
	seed := sha256.Sum256([]byte("test key " + name))
	k, err := FromSeed(seed[:])
	if err != nil {
		panic(err)
	}
	return k
}

func pub(name string) Key { return testKey(name).Public() }

func at(minutes int) time.Time { return epoch.Add(time.Duration(minutes) * time.Minute) }

// world makes documents of a network whose founder's root is "root".
type world struct {
	tb      testing.TB
	network NetworkID
}

func newWorld(tb testing.TB) *world { return &world{tb: tb, network: NetworkOf(pub("root"))} }

// doc signs value as author's version of minute.
func (w *world) doc(author, key string, value []byte, minute int) *replicapb.Document {
	return NewDocument(w.network, testKey(author), key, value, TimeOfDocument(at(minute)), false)
}

func (w *world) deleted(author, key string, minute int) *replicapb.Document {
	return NewDocument(w.network, testKey(author), key, nil, TimeOfDocument(at(minute)), true)
}

func must[T any](tb testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func (w *world) bytes(b []byte, err error) []byte { w.tb.Helper(); return must[[]byte](w.tb)(b, err) }

func (w *world) founded() NetworkValue {
	w.tb.Helper()
	return must[NetworkValue](w.tb)(NewNetwork("reef", testKey("root"), pub("recovery"), epoch))
}

func (w *world) networkDoc(author string, v NetworkValue, minute int) *replicapb.Document {
	w.tb.Helper()
	return w.doc(author, NetworkDocument, w.bytes(EncodeNetwork(v)), minute)
}

func (w *world) signer(author, signer string, minute int) *replicapb.Document {
	w.tb.Helper()
	return w.doc(author, SignerDocument(pub(signer)), w.bytes(EncodeSigner(SignerValue{Name: "isle-" + signer, Since: at(minute)})), minute)
}

func (w *world) memberValue(name, role string, joined int, keys ...string) MemberValue {
	v := MemberValue{Name: name, Role: role, Labels: map[string]string{"region": "north"}, Joined: at(joined)}
	for i, k := range keys {
		mk := MemberKey{Key: pub(k)}
		if i > 0 {
			mk.Until = at(joined + 1000)
		}
		v.Keys = append(v.Keys, mk)
	}
	return v
}

func (w *world) memberDoc(author string, v MemberValue, minute int) *replicapb.Document {
	w.tb.Helper()
	return w.doc(author, MemberDocument(v.Keys[0].Key), w.bytes(EncodeMember(v)), minute)
}

// member is an island named as its key.
func (w *world) member(author, name string, minute int) *replicapb.Document {
	w.tb.Helper()
	return w.memberDoc(author, w.memberValue(name, RoleIsland, minute, name), minute)
}

func (w *world) revoked(author, whose string, minute int) *replicapb.Document {
	w.tb.Helper()
	return w.doc(author, RevokedDocument(pub(whose)), w.bytes(EncodeRevoked(RevokedValue{Reason: "stolen", At: at(minute)})), minute)
}

func (w *world) left(author, who string, minute int) *replicapb.Document {
	w.tb.Helper()
	return w.doc(author, LeftDocument(pub(who)), w.bytes(EncodeLeft(LeftValue{At: at(minute)})), minute)
}

func (w *world) inviteValue(issuer string) InviteValue {
	return InviteValue{Role: RoleIsland, Uses: 1, Expires: at(60), Issuer: pub(issuer), Created: at(1)}
}

func (w *world) invite(author, guest string, minute int) *replicapb.Document {
	w.tb.Helper()
	return w.doc(author, InviteDocument(pub(guest)), w.bytes(EncodeInvite(w.inviteValue(author))), minute)
}

// reef is a network with two signers, three members and an invitation.
func (w *world) reef() []*replicapb.Document {
	w.tb.Helper()
	return []*replicapb.Document{
		w.networkDoc("root", w.founded(), 0),
		w.signer("root", "s1", 1), w.signer("root", "s2", 1),
		w.member("s1", "anegada", 2), w.member("s1", "bonaire", 3), w.member("s2", "curacao", 4),
		w.invite("s1", "guest", 5),
	}
}

func (w *world) state(docs ...*replicapb.Document) *State {
	w.tb.Helper()
	s, refusals := Evaluate(w.network, docs)
	for _, r := range refusals {
		w.tb.Fatalf("refused %s: %s", r.Document.GetKey(), r.Reason)
	}
	return s
}

// names joins the members' names.
func names(s *State) string {
	var all []string
	for _, m := range s.Members() {
		all = append(all, m.Name)
	}
	return strings.Join(all, " ")
}

// show writes everything that a state answers, for comparisons.
func show(s *State) string {
	var b strings.Builder
	fmt.Fprintln(&b, s.NetworkName(), s.Roots(), s.Recovery(), s.Signers(), s.PolicyIsDefault(), len(s.info.Chain))
	for _, m := range s.Members() {
		fmt.Fprintf(&b, "%+v\n", *m)
	}
	fmt.Fprintln(&b, s.Departed())
	for _, i := range s.Invites() {
		fmt.Fprintf(&b, "%+v\n", *i)
	}
	for _, name := range everybody {
		m, _ := s.MemberByKey(pub(name))
		fmt.Fprintln(&b, name, s.Standing(pub(name)), m != nil)
	}
	return b.String()
}

// everybody are the names of keys that tests use.
var everybody = []string{
	"root", "root2", "recovery", "s1", "s2", "s3", "guest",
	"anegada", "bonaire", "curacao", "anegada2", "anegada3", "stranger",
}

// wantError wants an error that is target (if given) and contains text.
func wantError(t *testing.T, err, target error, text string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("no error, want one with %q", text)
	case target != nil && !errors.Is(err, target):
		t.Errorf("%v: is no %q", err, target)
	case !strings.Contains(err.Error(), text):
		t.Errorf("error %q: want it to contain %q", err, text)
	}
}
