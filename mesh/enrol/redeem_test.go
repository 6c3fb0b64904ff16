package enrol

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

func (w *world) redeem(at *island, guest trust.Key, req *meshpb.JoinRequest) *meshpb.JoinResponse {
	w.t.Helper()
	res, err := at.authority.Redeem(w.t.Context(), guest, req)
	if err != nil {
		w.t.Fatal(err)
	}
	if res.GetRefusal() != "" && (res.GetCertificate() != nil || len(res.GetDocuments()) > 0) {
		w.t.Errorf("a refusal came with a certificate or %d documents", len(res.GetDocuments()))
	}
	return res
}

func newKey(t testing.TB) trust.PrivateKey {
	t.Helper()
	k, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestInviteRedeemComplete(t *testing.T) {
	w := newWorld(t)
	token := w.invite(InviteOptions{Labels: map[string]string{"region": "us"}})
	parsed, err := trust.ParseToken(token.Line())
	if err != nil {
		t.Fatal(err)
	}
	i := w.join(w.first(), parsed, "second")
	m, ok := w.docs.Trust().Member("second")
	if !ok || m.Role != trust.RoleIsland || m.Labels["region"] != "us" || m.Invite != token.Guest().Public() {
		t.Fatalf("member %+v, %v", m, ok)
	}
	if _, has := i.home.Signer(); has {
		t.Error("an island of role island has a signer key")
	}
	if err := w.docs.Trust().CheckCertificate(i.home.Certificate(), m.Key, w.now()); err != nil {
		t.Error(err)
	}
	want := "invite join"
	if got := strings.Join(w.first().log.actions(), " "); got != want {
		t.Errorf("audit log has %q, want %q", got, want)
	}
}

func TestAdminBringsASignerThatTheRootTrusts(t *testing.T) {
	w := newWorld(t)
	second := w.admin("second")
	k, ok := second.home.Signer()
	if !ok || !w.docs.Trust().IsSigner(k.Public()) {
		t.Fatalf("signer key there %v, trusted %v", ok, w.docs.Trust().IsSigner(k.Public()))
	}
	// Without the root, the key waits.
	token, _, err := second.authority.Invite(t.Context(), InviteOptions{Role: trust.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	third := w.join(second, token, "third")
	k, _ = third.home.Signer()
	if w.docs.Trust().IsSigner(k.Public()) {
		t.Error("a signer came to be without a root")
	}
	if _, _, err := third.authority.Invite(t.Context(), InviteOptions{}); !errors.Is(err, ErrNoSigner) {
		t.Errorf("invite without trust: %v, want ErrNoSigner", err)
	}
	if err := w.first().authority.AddSigner(t.Context(), "third", k.Public()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := third.authority.Invite(t.Context(), InviteOptions{}); err != nil {
		t.Errorf("invite with trust: %v", err)
	}
}

// TestRefusals holds every reason, and that no refusal costs a use.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.island("taken")
	gone := w.island("gone")
	left := w.island("left")
	if _, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: "gone", Reason: "stolen"}); err != nil {
		t.Fatal(err)
	}
	if err := Leave(t.Context(), left.leaving(nil)); err != nil {
		t.Fatal(err)
	}
	leftKey := gone.home.Node()
	for _, tc := range []struct {
		name   string
		invite InviteOptions
		change func(t *testing.T, a *Applicant, token trust.Token)
		req    func(req *meshpb.JoinRequest)
		want   string
	}{
		{name: "no name anywhere", req: func(r *meshpb.JoinRequest) { r.Name = "" }, want: "no name"},
		{name: "bad name", req: func(r *meshpb.JoinRequest) { r.Name = "no good~name" }, want: "name \"no good~name\""},
		{name: "long name", req: func(r *meshpb.JoinRequest) { r.Name = strings.Repeat("x", 1<<16) }, want: "name of more than"},
		{name: "taken name", req: func(r *meshpb.JoinRequest) { r.Name = "taken" }, want: "taken by the island"},
		{name: "taken name in another case", req: func(r *meshpb.JoinRequest) { r.Name = "TAKEN" }, want: "taken by the island"},
		{name: "another name than invited", invite: InviteOptions{Name: "mine"}, want: `for the name "mine"`},
		{name: "label not granted", req: func(r *meshpb.JoinRequest) { r.Labels = map[string]string{"team": "root"} }, want: "not in the invitation"},
		{name: "label of another value", invite: InviteOptions{Labels: map[string]string{"team": "a"}}, req: func(r *meshpb.JoinRequest) { r.Labels = map[string]string{"team": "b"} }, want: "not in the invitation"},
		{name: "old protocol", req: func(r *meshpb.JoinRequest) { r.Version = wire.Oldest - 1 }, want: "newer atoll"},
		{name: "no proof", req: func(r *meshpb.JoinRequest) { r.Proof = nil }, want: "not proven"},
		{name: "revoked key", change: func(_ *testing.T, a *Applicant, _ trust.Token) { a.node = gone.home.Node() }, want: "been revoked"},
		{name: "key of somebody who was revoked", change: func(_ *testing.T, a *Applicant, _ trust.Token) { a.node = leftKey }, want: "been revoked"},
		{name: "left key", change: func(_ *testing.T, a *Applicant, _ trust.Token) { a.node = left.oldNode }, want: "left the network"},
		{name: "a signer's key as node", change: func(_ *testing.T, a *Applicant, _ trust.Token) { a.node, _ = w.first().home.Signer() }, want: "must be its own"},
		{name: "the root as node", change: func(_ *testing.T, a *Applicant, _ trust.Token) { a.node, _ = w.first().home.Root() }, want: "must be its own"},
		{name: "the recovery key as node", change: func(_ *testing.T, a *Applicant, _ trust.Token) { a.node = w.founding.Recovery }, want: "must be its own"},
		{name: "another guest's key as node", change: func(t *testing.T, a *Applicant, _ trust.Token) {
			a.node = w.invite(InviteOptions{}).Guest()
		}, want: "belongs to an invitation"},
		{name: "the guest's own key as node", change: func(_ *testing.T, a *Applicant, token trust.Token) { a.node = token.Guest() }, want: "must differ"},
		{name: "signer key not asked for", change: func(t *testing.T, a *Applicant, _ trust.Token) {
			k := newKey(t)
			a.signer = &k
		}, want: "for role island"},
		{name: "a root as signer", invite: InviteOptions{Role: trust.RoleAdmin}, change: func(_ *testing.T, a *Applicant, _ trust.Token) {
			k, _ := w.first().home.Root()
			a.signer = &k
		}, want: "must be its own"},
		{name: "expired", invite: InviteOptions{Expires: time.Minute}, change: func(t *testing.T, _ *Applicant, _ trust.Token) {
			w.pass(2 * time.Minute)
		}, want: "expired at"},
		{name: "withdrawn", change: func(t *testing.T, _ *Applicant, token trust.Token) {
			if _, err := w.first().authority.WithdrawInvite(t.Context(), token.Guest().Public().String()); err != nil {
				t.Fatal(err)
			}
		}, want: "withdrawn"},
		{name: "used up", change: func(_ *testing.T, _ *Applicant, token trust.Token) { w.join(w.first(), token, "earlier") }, want: "used up: 1 of 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token := w.invite(tc.invite)
			a := w.applicant(t.TempDir(), token, "newcomer")
			if tc.change != nil {
				tc.change(t, a, token)
			}
			before := w.docs.Trust().Len()
			req := a.Request()
			if tc.req != nil {
				// What is changed is proven too, unless the proof is what is wrong.
				tc.req(req)
				if len(req.GetProof()) > 0 {
					proveJoin(token.Network, token.Guest(), a.node, a.signer, req)
				}
			}
			res := w.redeem(w.first(), token.Guest().Public(), req)
			if !strings.Contains(res.GetRefusal(), tc.want) {
				t.Fatalf("refusal %q, want %q", res.GetRefusal(), tc.want)
			}
			if _, err := a.Complete(t.Context(), res); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the guest is told %v", err)
			}
			if inv, ok := w.docs.Trust().Invite(token.Guest().Public()); ok && tc.name != "used up" && len(inv.UsedBy) > 0 {
				t.Errorf("a refusal cost a use: %v", inv.UsedBy)
			}
			if after := w.docs.Trust().Len(); after != before {
				t.Errorf("%d members before, %d after", before, after)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		token := w.invite(InviteOptions{})
		stranger := newKey(t)
		token.GuestSeed = [32]byte(stranger.Seed())
		a := w.applicant(t.TempDir(), token, "x")
		if res := w.redeem(w.first(), stranger.Public(), a.Request()); !strings.Contains(res.GetRefusal(), "not known here") {
			t.Errorf("refusal %q", res.GetRefusal())
		}
	})
	t.Run("nothing at all", func(t *testing.T) {
		if res := w.redeem(w.first(), trust.Key{}, nil); !strings.Contains(res.GetRefusal(), "no content") {
			t.Errorf("refusal %q", res.GetRefusal())
		}
	})
}

// TestProofsAreBound replays a request in every way that a proof must prevent.
func TestProofsAreBound(t *testing.T) {
	w := newWorld(t)
	token, other := w.invite(InviteOptions{Uses: 2}), w.invite(InviteOptions{Uses: 2})
	a := w.applicant(t.TempDir(), token, "honest")
	for name, change := range map[string]func(r *meshpb.JoinRequest) trust.Key{
		"by another guest": func(*meshpb.JoinRequest) trust.Key { return other.Guest().Public() },
		"for another name": func(r *meshpb.JoinRequest) trust.Key { r.Name = "thief"; return token.Guest().Public() },
		"with a version":   func(r *meshpb.JoinRequest) trust.Key { r.Version++; return token.Guest().Public() },
		"with a signer key": func(r *meshpb.JoinRequest) trust.Key {
			r.SignerKey = newKey(t).Public().Bytes()
			return token.Guest().Public()
		},
		"for another node": func(r *meshpb.JoinRequest) trust.Key {
			r.NodeKey = newKey(t).Public().Bytes()
			return token.Guest().Public()
		},
		"of a member without the token": func(r *meshpb.JoinRequest) trust.Key {
			// It has a node key of its own, and knows the guest's public key from the invitation.
			proveJoin(token.Network, newKey(t), a.node, nil, r)
			return token.Guest().Public()
		},
		"from another network": func(r *meshpb.JoinRequest) trust.Key {
			proveJoin(trust.NetworkOf(newKey(t).Public()), token.Guest(), a.node, nil, r)
			return token.Guest().Public()
		},
		"with half a proof": func(r *meshpb.JoinRequest) trust.Key {
			r.Proof = r.GetProof()[:64]
			return token.Guest().Public()
		},
	} {
		req := proto.Clone(a.Request()).(*meshpb.JoinRequest)
		guest := change(req)
		if res := w.redeem(w.first(), guest, req); !strings.Contains(res.GetRefusal(), "not proven") {
			t.Errorf("replayed %s: refusal %q", name, res.GetRefusal())
		}
	}
	if n := w.docs.Trust().Len(); n != 1 {
		t.Errorf("%d members, want the first alone", n)
	}
}

func TestSingleUseUnderConcurrency(t *testing.T) {
	w := newWorld(t)
	const guests, uses = 24, 3
	token := w.invite(InviteOptions{Uses: uses})
	reqs := make([]*meshpb.JoinRequest, guests)
	for i := range reqs {
		reqs[i] = w.applicant(t.TempDir(), token, "island-"+string(rune('a'+i))).Request()
	}
	var wg sync.WaitGroup
	admitted := make([]atomic.Int32, guests)
	for i, req := range reqs {
		for range 2 { // each asks twice at once
			wg.Go(func() {
				res, err := w.first().authority.Redeem(t.Context(), token.Guest().Public(), req)
				if err != nil {
					t.Error(err)
				} else if res.GetRefusal() == "" {
					admitted[i].Add(1)
				}
			})
		}
	}
	wg.Wait()
	n := 0
	for i := range admitted {
		switch admitted[i].Load() {
		case 2:
			n++
		case 1:
			t.Errorf("guest %d was let in by one of two equal requests only", i)
		}
	}
	inv, _ := w.docs.Trust().Invite(token.Guest().Public())
	if n != uses || len(inv.UsedBy) != uses || w.docs.Trust().Len() != uses+1 {
		t.Errorf("%d admitted, used by %d, %d members; want %d, %d, %d", n, len(inv.UsedBy), w.docs.Trust().Len(), uses, uses, uses+1)
	}
}

func TestAskingAgainCostsNothing(t *testing.T) {
	w := newWorld(t)
	token := w.invite(InviteOptions{Expires: time.Hour})
	dir := t.TempDir()
	first := w.redeem(w.first(), token.Guest().Public(), w.applicant(dir, token, "late").Request())
	// Killed before the answer came; it asks again long after the token's end.
	w.pass(48 * time.Hour)
	a := w.applicant(dir, token, "late")
	res := w.redeem(w.first(), token.Guest().Public(), a.Request())
	if res.GetRefusal() != "" || first.GetRefusal() != "" {
		t.Fatalf("refused: %q %q", first.GetRefusal(), res.GetRefusal())
	}
	if _, err := a.Complete(t.Context(), res); err != nil {
		t.Fatal(err)
	}
	if inv, _ := w.docs.Trust().Invite(token.Guest().Public()); len(inv.UsedBy) != 1 || w.docs.Trust().Len() != 2 {
		t.Errorf("used by %d, %d members; want 1, 2", len(inv.UsedBy), w.docs.Trust().Len())
	}
	// The same token from another machine is replayed in vain.
	b := w.applicant(t.TempDir(), token, "thief")
	if res := w.redeem(w.first(), token.Guest().Public(), b.Request()); !strings.Contains(res.GetRefusal(), "used up") {
		t.Errorf("refusal %q", res.GetRefusal())
	}
}

// TestSecondTokenAfterAHalfJoin holds that an island that lost its first answer
// may come in by another token under the name it asked for.
func TestSecondTokenAfterAHalfJoin(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	token := w.invite(InviteOptions{})
	w.redeem(w.first(), token.Guest().Public(), w.applicant(dir, token, "half").Request())
	next := w.invite(InviteOptions{Role: trust.RoleObserver})
	a := w.applicant(dir, next, "half")
	j, err := a.Complete(t.Context(), w.redeem(w.first(), next.Guest().Public(), a.Request()))
	if err != nil {
		t.Fatal(err)
	}
	if j.Member.Role != trust.RoleObserver || w.docs.Trust().Len() != 2 {
		t.Errorf("role %s, %d members; want observer, 2", j.Member.Role, w.docs.Trust().Len())
	}
}

func TestForwardToTheIssuer(t *testing.T) {
	w := newWorld(t)
	second, plain := w.admin("second"), w.island("plain")
	token, _, err := second.authority.Invite(t.Context(), InviteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []*island{w.first(), plain} {
		w.join(at, w.invite(InviteOptions{}), "via-"+at.name)
	}
	second.down.Store(true)
	a := w.applicant(t.TempDir(), token, "guest")
	res := w.redeem(plain, token.Guest().Public(), a.Request())
	if !strings.Contains(res.GetRefusal(), "made on island second") {
		t.Errorf("with the issuer down: %q", res.GetRefusal())
	}
	second.down.Store(false)
	if _, err := a.Complete(t.Context(), w.redeem(plain, token.Guest().Public(), a.Request())); err != nil {
		t.Error(err)
	}
	if second.calls.Load() != 1 {
		t.Errorf("the issuer was called %d times, want once", second.calls.Load())
	}
	// A request passed on to an island that did not make the invitation ends there.
	b := w.applicant(t.TempDir(), w.invite(InviteOptions{}), "loop")
	c := &call{from: plain, to: second}
	var out meshpb.JoinResponse
	err = c.Invoke(t.Context(), meshpb.Membership_Redeem_FullMethodName,
		&meshpb.RedeemRequest{GuestKey: b.opts.Token.Guest().Public().Bytes(), Request: b.Request()}, &out)
	if err != nil || !strings.Contains(out.GetRefusal(), "another signer key") {
		t.Errorf("passed on wrongly: %v %q", err, out.GetRefusal())
	}
	second.down.Store(true)
	if _, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: "second"}); err != nil {
		t.Fatal(err)
	}
	if res := w.redeem(plain, token.Guest().Public(), a.Request()); !strings.Contains(res.GetRefusal(), "trusted no more") {
		t.Errorf("with the issuer revoked: %q", res.GetRefusal())
	}
}

func TestNothingChangesWithoutAudit(t *testing.T) {
	w := newWorld(t)
	token := w.invite(InviteOptions{})
	w.first().log.fail = errors.New("disk full")
	a := w.applicant(t.TempDir(), token, "x")
	if _, err := w.first().authority.Redeem(t.Context(), token.Guest().Public(), a.Request()); err == nil {
		t.Error("admitted without an entry")
	}
	if _, _, err := w.first().authority.Invite(t.Context(), InviteOptions{}); err == nil {
		t.Error("invited without an entry")
	}
	if _, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: "first"}); err == nil {
		t.Error("revoked without an entry")
	}
	if n := w.docs.Trust().Len(); n != 1 || len(w.docs.Trust().Invites()) != 1 {
		t.Errorf("%d members, %d invitations; want 1, 1", n, len(w.docs.Trust().Invites()))
	}
	w.first().log.fail, w.docs.fail = nil, errors.New("replica is full")
	if _, _, err := w.first().authority.Invite(t.Context(), InviteOptions{}); err == nil {
		t.Error("invited without a document")
	}
	if got := w.first().log.actions(); got[len(got)-1] != "invite-failed" {
		t.Errorf("audit log ends with %q, want invite-failed", got[len(got)-1])
	}
}

func TestInviteRefusesWhatCannotWork(t *testing.T) {
	w := newWorld(t)
	for want, o := range map[string]InviteOptions{
		"for one island":     {Name: "x", Uses: 2},
		"is the name of":     {Name: "First"},
		"expires":            {Expires: time.Second},
		"role \"king\"":      {Role: "king"},
		"uses: -1":           {Uses: -1},
		"labels: name \"9\"": {Labels: map[string]string{"9": "x"}},
		"unreadable":         {Bootstrap: []trust.Bootstrap{{Key: newKey(t).Public(), Addresses: make([][]byte, 100)}}},
	} {
		if _, _, err := w.first().authority.Invite(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if n := len(w.docs.Trust().Invites()); n != 0 {
		t.Errorf("%d invitations were made", n)
	}
}
