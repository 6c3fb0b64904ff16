package enrol

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

func (w *world) author(key string) trust.Key {
	w.t.Helper()
	d, err := w.docs.Get(key)
	if err != nil {
		w.t.Fatal(err)
	}
	k, err := trust.KeyOf(d.GetAuthor())
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func TestRevokeAdoptsWhatStays(t *testing.T) {
	w := newWorld(t)
	bad := w.island("bad")
	bad.write("rules/shared", "a: 1")
	key := bad.home.Node().Public()
	res, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: "bad", Reason: "stolen laptop"})
	if err != nil {
		t.Fatal(err)
	}
	if w.standing(key) != trust.Revoked || !slices.Equal(res.Keys, []trust.Key{key}) || !slices.Equal(res.Adopted, []string{"rules/shared"}) {
		t.Errorf("standing %s, result %+v", w.standing(key), res)
	}
	if a := w.author("rules/shared"); a != w.first().home.Node().Public() {
		t.Errorf("rules/shared is by %s, want the first island", a)
	}
	if d, ok := w.docs.Trust().Revocation(key); !ok || d.Reason != "stolen laptop" || d.Name != "bad" {
		t.Errorf("revocation %+v", d)
	}
	forged := trust.NewDocument(bad.home.Network(), bad.home.Node(), "rules/shared", []byte("evil"), w.docs.Now(), false)
	if err := w.docs.Put(t.Context(), forged); err == nil {
		t.Error("a revoked island writes on")
	}
	if _, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: key.String()}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("revoking twice: %v", err)
	}
	for who, want := range map[string]string{"first": "atoll leave", "nobody": "no member"} {
		if _, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: who}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("revoke %s: %v, want %q", who, err, want)
		}
	}
}

func TestRevokeDropsWhatIsAskedFor(t *testing.T) {
	w := newWorld(t)
	a, b := w.island("a"), w.island("b")
	a.write("rules/a", "x")
	if res, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: "a", DropDocuments: true}); err != nil || len(res.Skipped) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := w.docs.Get("rules/a"); err == nil {
		t.Error("rules/a is still there")
	}
	b.write("rules/early", "x")
	since := w.now()
	w.pass(time.Hour)
	b.write("rules/late", "evil")
	if _, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: "b", Since: since.Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	_, early := w.docs.Get("rules/early")
	_, late := w.docs.Get("rules/late")
	if early != nil || late == nil {
		t.Errorf("before the theft: %v, want kept; after it: %v, want gone", early, late)
	}
}

func TestRevokeOfASigner(t *testing.T) {
	w := newWorld(t)
	bad, other := w.admin("bad"), w.admin("other")
	signer, _ := bad.home.Signer()
	token, _, err := bad.authority.Invite(t.Context(), InviteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	friend := w.join(bad, token, "friend")
	open, _, err := bad.authority.Invite(t.Context(), InviteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// An admin without the root revokes the island, and says what it could not do.
	res, err := other.authority.Revoke(t.Context(), RevokeOptions{Member: "bad"})
	if err != nil || !slices.Equal(res.Remaining, []trust.Key{signer.Public()}) {
		t.Fatalf("%+v, %v", res, err)
	}
	if !w.docs.Trust().IsSigner(signer.Public()) {
		t.Error("a signer was revoked without a root")
	}
	if _, err := other.authority.Revoke(t.Context(), RevokeOptions{Member: signer.Public().String()}); !errors.Is(err, ErrNoSigner) {
		t.Errorf("revoking a signer without a root: %v", err)
	}
	// The root does the rest; whom the signer admitted stays.
	if _, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: signer.Public().String()}); err != nil {
		t.Fatal(err)
	}
	s := w.docs.Trust()
	if s.IsSigner(signer.Public()) || s.Standing(friend.home.Node().Public()) != trust.MemberStanding {
		t.Errorf("signs %v, friend is %s", s.IsSigner(signer.Public()), s.Standing(friend.home.Node().Public()))
	}
	if _, ok := s.Invite(open.Guest().Public()); ok {
		t.Error("an invitation of the revoked signer is still good")
	}
}

func TestRemoveSignerKeepsMembers(t *testing.T) {
	w := newWorld(t)
	second := w.admin("second")
	token, _, err := second.authority.Invite(t.Context(), InviteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	third := w.join(second, token, "third")
	k, _ := second.home.Signer()
	if _, err := second.authority.RemoveSigner(t.Context(), k.Public()); !errors.Is(err, ErrNoSigner) {
		t.Errorf("without a root: %v", err)
	}
	own, _ := w.first().home.Signer()
	if _, err := w.first().authority.RemoveSigner(t.Context(), own.Public()); err == nil {
		t.Error("removed its own signer key")
	}
	if _, err := w.first().authority.RemoveSigner(t.Context(), k.Public()); err != nil {
		t.Fatal(err)
	}
	if w.docs.Trust().IsSigner(k.Public()) || w.standing(third.home.Node().Public()) != trust.MemberStanding {
		t.Errorf("signs %v, third is %s", w.docs.Trust().IsSigner(k.Public()), w.standing(third.home.Node().Public()))
	}
}

func TestRotateSigner(t *testing.T) {
	w := newWorld(t)
	member, token := w.island("member"), w.invite(InviteOptions{})
	old, _ := w.first().home.Signer()
	res, err := w.first().authority.RotateSigner(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now, _ := w.first().home.Signer()
	if now.Public() != res.New || !slices.Equal(res.Old, []trust.Key{old.Public()}) {
		t.Errorf("result %+v, on disk %s", res, now.Public())
	}
	s := w.docs.Trust()
	if !s.IsSigner(old.Public()) || !s.IsSigner(now.Public()) {
		t.Error("old and new are not trusted side by side")
	}
	if err := s.CheckCertificate(member.home.Certificate(), member.home.Node().Public(), w.now()); err != nil {
		t.Errorf("a certificate by the old key: %v", err)
	}
	w.join(w.first(), token, "guest")
	if _, err := w.first().authority.RemoveSigner(t.Context(), old.Public()); err != nil {
		t.Fatal(err)
	}
	if n := w.docs.Trust().Len(); n != 3 {
		t.Errorf("%d members after the old key is gone, want 3", n)
	}
}

func TestRotateRootSideBySideThenRetire(t *testing.T) {
	w := newWorld(t)
	second := w.admin("second")
	old, _ := w.first().home.Root()
	res, err := w.first().authority.RotateRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now, _ := w.first().home.Root()
	if s := w.docs.Trust(); now.Public() != res.New || !s.IsRoot(old.Public()) || !s.IsRoot(now.Public()) {
		t.Errorf("result %+v, roots %v", res, s.Roots())
	}
	if _, err := second.authority.RotateRoot(t.Context()); !errors.Is(err, ErrNoSigner) {
		t.Errorf("without a root: %v", err)
	}
	if _, err := w.first().authority.RetireRoots(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := w.docs.Trust()
	if !slices.Equal(s.Roots(), []trust.Key{now.Public()}) || len(s.Signers()) != 2 || s.Len() != 2 {
		t.Errorf("roots %v, %d signers, %d members; want the new one, 2, 2", s.Roots(), len(s.Signers()), s.Len())
	}
	w.admin("third") // the new root lets a signer in
	if err := w.first().home.SetRoot(old); err != nil {
		t.Fatal(err)
	}
	if _, err := w.first().authority.RotateRoot(t.Context()); !errors.Is(err, ErrNoSigner) {
		t.Errorf("with a retired root: %v", err)
	}
	for range 12 {
		// What no disk ever held is trusted for a while, but not without end.
		if err = w.first().home.SetRoot(now); err != nil {
			t.Fatal(err)
		}
		if _, err = w.first().authority.RotateRoot(t.Context()); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "retire") {
		t.Errorf("one root too many: %v", err)
	}
}

func TestRecoverLostRoot(t *testing.T) {
	w := newWorld(t)
	second := w.admin("second")
	if err := w.first().home.DropRoot(); err != nil {
		t.Fatal(err)
	}
	typed, err := ParseRecovery(strings.ToLower(FormatRecovery(w.founding.Recovery)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.authority.RecoverRoot(t.Context(), RecoverOptions{Recovery: newKey(t)}); err == nil || !strings.Contains(err.Error(), "never was") {
		t.Errorf("with any key: %v", err)
	}
	res, err := second.authority.RecoverRoot(t.Context(), RecoverOptions{Recovery: typed})
	if err != nil {
		t.Fatal(err)
	}
	s := w.docs.Trust()
	if !s.IsRoot(res.New) || len(s.Roots()) != 2 || len(s.Signers()) != 2 || s.Len() != 2 {
		t.Errorf("roots %v, %d signers, %d members; want 2, 2, 2", s.Roots(), len(s.Signers()), s.Len())
	}
	if _, err := second.authority.RetireRoots(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := w.docs.Trust(); !slices.Equal(s.Roots(), []trust.Key{res.New}) || len(s.Signers()) != 2 {
		t.Errorf("roots %v, %d signers; want the new one, 2", s.Roots(), len(s.Signers()))
	}
	next, err := second.authority.RotateRecovery(t.Context())
	if err != nil || w.docs.Trust().Recovery() != next.Public() {
		t.Errorf("recovery %s, %v", w.docs.Trust().Recovery(), err)
	}
	if _, err := second.authority.RecoverRoot(t.Context(), RecoverOptions{Recovery: typed}); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("with the old recovery key: %v", err)
	}
}

// TestRecoverStolenRoot lets a thief do the worst first: a chain of his own with
// a recovery key of his own, a signer of his, and the true signers gone.
func TestRecoverStolenRoot(t *testing.T) {
	w := newWorld(t)
	w.island("member")
	stolen, _ := w.first().home.Root()
	signer, _ := w.first().home.Signer()
	before := w.now()
	w.pass(time.Hour)
	v, _ := w.docs.Trust().NetworkValue()
	thief, thiefSigner := newKey(t), newKey(t)
	v, err := trust.ExtendChain(v, []trust.Key{thief.Public()}, newKey(t).Public(), stolen, w.now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := trust.EncodeNetwork(v)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(by trust.PrivateKey, key string, value []byte, gone bool) *replicapb.Document {
		return trust.NewDocument(w.founding.Network, by, key, value, w.docs.Now(), gone)
	}
	evil, err := trust.EncodeSigner(trust.SignerValue{Name: "thief", Since: w.now()})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*replicapb.Document{
		sign(stolen, trust.SignerDocument(thiefSigner.Public()), evil, false),
		sign(stolen, trust.SignerDocument(signer.Public()), nil, true),
		sign(thief, trust.NetworkDocument, text, false),
	} {
		if err := w.docs.Put(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if w.docs.Trust().IsSigner(signer.Public()) || w.docs.Trust().Len() != 0 {
		t.Fatal("the thief did no harm: this test shows nothing")
	}
	o := RecoverOptions{Recovery: w.founding.Recovery, Stolen: true, Since: before.Add(time.Minute)}
	res, err := w.first().authority.RecoverRoot(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s := w.docs.Trust()
	if !slices.Equal(s.Roots(), []trust.Key{res.New}) || !s.IsSigner(signer.Public()) || s.IsSigner(thiefSigner.Public()) || s.Len() != 2 {
		t.Errorf("roots %v, own signer %v, thief's signer %v, %d members", s.Roots(), s.IsSigner(signer.Public()), s.IsSigner(thiefSigner.Public()), s.Len())
	}
	if err := w.docs.Put(t.Context(), sign(thief, trust.NetworkDocument, text, false)); err == nil {
		t.Error("the thief's chain came back")
	}
}

func TestRotateNodeIsBounded(t *testing.T) {
	w := newWorld(t)
	i := w.island("second")
	i.write("rules/mine", "a: 1")
	rotate := func() error {
		_, err := RotateNode(t.Context(), RotateOptions{Home: i.home, Trust: w.docs.Trust, Conns: i.conns, Log: i.log, Now: w.now})
		return err
	}
	for range maxOverlapping {
		if err := rotate(); err != nil {
			t.Fatal(err)
		}
	}
	if err := rotate(); err == nil || !strings.Contains(err.Error(), "still good; wait until") {
		t.Errorf("one key too many: %v", err)
	}
	for range 2 * maxMemberKeys {
		w.pass(25 * time.Hour)
		if err := rotate(); err != nil {
			t.Fatal(err)
		}
		if err := i.authority.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	m, ok := w.docs.Trust().Member("second")
	if !ok || m.Key != i.home.Node().Public() || w.docs.Trust().Len() != 2 {
		t.Errorf("member %+v, %d members; want 2 with no ghost of an old key", m, w.docs.Trust().Len())
	}
	if n := len(w.docs.List("member/")); n > maxMemberKeys+1 {
		t.Errorf("%d member documents for two members, want at most %d", n, maxMemberKeys+1)
	}
	if a := w.author("rules/mine"); a != m.Key {
		t.Errorf("rules/mine is by %s, want the present key", a)
	}
}

func TestRekeyRefusals(t *testing.T) {
	w := newWorld(t)
	i := w.island("second")
	old := i.home.Node()
	taken, token := w.island("third").home.Node(), w.invite(InviteOptions{})
	rekey := func(who trust.Key, req *meshpb.RekeyRequest) error {
		_, err := w.first().authority.Rekey(t.Context(), who, req)
		return err
	}
	next := newKey(t)
	good := proveRekey(w.founding.Network, old.Public(), next)
	for name, err := range map[string]error{
		"nothing":               rekey(old.Public(), nil),
		"by a stranger":         rekey(newKey(t).Public(), good),
		"replayed by another":   rekey(taken.Public(), good),
		"without the new key":   rekey(old.Public(), &meshpb.RekeyRequest{NewKey: next.Public().Bytes(), Proof: make([]byte, 64)}),
		"to a member's key":     rekey(old.Public(), proveRekey(w.founding.Network, old.Public(), taken)),
		"to a guest's key":      rekey(old.Public(), proveRekey(w.founding.Network, old.Public(), token.Guest())),
		"to the recovery key":   rekey(old.Public(), proveRekey(w.founding.Network, old.Public(), w.founding.Recovery)),
		"of another network":    rekey(old.Public(), proveRekey(trust.NetworkOf(next.Public()), old.Public(), next)),
		"without a new key too": rekey(old.Public(), &meshpb.RekeyRequest{}),
	} {
		if !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v, want ErrDenied", name, err)
		}
	}
	if err := rekey(old.Public(), good); err != nil {
		t.Fatal(err)
	}
	if err := rekey(old.Public(), good); err != nil {
		t.Errorf("asked again: %v", err)
	}
	if err := rekey(old.Public(), proveRekey(w.founding.Network, old.Public(), newKey(t))); !errors.Is(err, ErrDenied) {
		t.Errorf("the old key names another successor: %v", err)
	}
	w.pass(25 * time.Hour)
	if _, err := w.first().authority.Renew(t.Context(), old.Public()); !errors.Is(err, ErrDenied) {
		t.Errorf("renewal for a key past its end: %v", err)
	}
}

func TestLeave(t *testing.T) {
	w := newWorld(t)
	i := w.island("second")
	i.write("rules/mine", "a: 1")
	key := i.home.Node().Public()
	unheard := func(context.Context) error { return errors.New("nobody is connected") }
	if err := Leave(t.Context(), i.leaving(unheard)); !errors.Is(err, ErrUnheard) || !i.home.Enrolled() {
		t.Fatalf("unheard: %v, enrolled %v", err, i.home.Enrolled())
	}
	heard := false
	if err := Leave(t.Context(), i.leaving(func(context.Context) error { heard = true; return nil })); err != nil {
		t.Fatal(err)
	}
	if !heard || i.home.Enrolled() || w.standing(key) != trust.Left {
		t.Errorf("heard %v, enrolled %v, standing %s", heard, i.home.Enrolled(), w.standing(key))
	}
	if _, err := w.docs.Get("rules/mine"); err != nil {
		t.Errorf("what it wrote: %v", err)
	}
	res, err := w.first().authority.AdoptLeft(t.Context(), "second")
	if err != nil || !slices.Contains(res.Adopted, "rules/mine") || w.author("rules/mine") != w.first().home.Node().Public() {
		t.Errorf("adopted %+v, %v", res, err)
	}
	if err := Leave(t.Context(), i.leaving(nil)); !errors.Is(err, trust.ErrNotEnrolled) {
		t.Errorf("leaving twice: %v", err)
	}
}

func TestLeaveKeepsTheNetworkAlive(t *testing.T) {
	w := newWorld(t)
	first := w.first()
	second := w.island("second")
	if err := Leave(t.Context(), first.leaving(nil)); err == nil || !strings.Contains(err.Error(), "root key") {
		t.Errorf("with the root: %v", err)
	}
	if err := first.home.DropRoot(); err != nil {
		t.Fatal(err)
	}
	if err := Leave(t.Context(), first.leaving(nil)); err == nil || !strings.Contains(err.Error(), "only signer key") {
		t.Errorf("with the only signer: %v", err)
	}
	if err := Leave(t.Context(), second.leaving(nil)); err != nil {
		t.Errorf("a plain island: %v", err)
	}
	// The last one to go has nobody to tell.
	if err := Leave(t.Context(), first.leaving(func(context.Context) error { return errors.New("nobody") })); err != nil {
		t.Errorf("the last island: %v", err)
	}
}

func TestAuditNamesWhoAsked(t *testing.T) {
	w := newWorld(t)
	if _, _, err := w.first().authority.Invite(WithActor(t.Context(), "alice"), InviteOptions{}); err != nil {
		t.Fatal(err)
	}
	if e := w.first().log.entries[0]; e.Actor != "alice on first" || e.Action != "invite" || e.TimeMs == 0 {
		t.Errorf("entry %+v", e)
	}
}
