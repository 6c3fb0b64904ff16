package enrol

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// TestCompleteBelievesNothing changes a good answer in every way that a liar
// at the door may think of. Nothing may be left behind but the waiting key.
func TestCompleteBelievesNothing(t *testing.T) {
	w := newWorld(t)
	evil := newWorld(t)
	without := func(res *meshpb.JoinResponse, prefix string) {
		res.Documents = slices.DeleteFunc(res.GetDocuments(), func(d *replicapb.Document) bool { return strings.HasPrefix(d.GetKey(), prefix) })
	}
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, a *Applicant, res *meshpb.JoinResponse)
		want   string
	}{
		{"no documents", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) { res.Documents = nil }, "documents: 0"},
		{"no network", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) { without(res, "network/") }, "no network/main"},
		{"no signer", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) { without(res, "signer/") }, "makes this island's key"},
		{"no member document", func(_ *testing.T, a *Applicant, res *meshpb.JoinResponse) {
			without(res, trust.MemberDocument(a.node.Public()))
		}, "makes this island's key"},
		{"no certificate", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) { res.Certificate = nil }, "certificate"},
		{"certificate for another key", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) {
			res.Certificate = w.first().home.Certificate().Message()
		}, "is for"},
		{"certificate of an untrusted signer", func(t *testing.T, a *Applicant, res *meshpb.JoinResponse) {
			res.Certificate = trust.Issue(newKey(t), trust.Certificate{
				Network: w.founding.Network, Key: a.node.Public(), Name: "guest", Role: trust.RoleIsland,
				NotBefore: w.now(), NotAfter: w.now().Add(time.Hour),
			})
		}, "trusted no more"},
		{"certificate of another role", func(_ *testing.T, a *Applicant, res *meshpb.JoinResponse) {
			k, _ := w.first().home.Signer()
			res.Certificate = trust.Issue(k, trust.Certificate{
				Network: w.founding.Network, Key: a.node.Public(), Name: "guest", Role: trust.RoleAdmin,
				NotBefore: w.now(), NotAfter: w.now().Add(time.Hour),
			})
		}, "the member document for"},
		{"expired certificate", func(_ *testing.T, a *Applicant, res *meshpb.JoinResponse) {
			k, _ := w.first().home.Signer()
			res.Certificate = trust.Issue(k, trust.Certificate{
				Network: w.founding.Network, Key: a.node.Public(), Name: "guest", Role: trust.RoleIsland,
				NotBefore: w.now().Add(-2 * time.Hour), NotAfter: w.now().Add(-time.Hour),
			})
		}, "ended at"},
		{"another network", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) {
			res.Documents = evil.founding.Documents
		}, "signature is not"},
		{"a document of no trust", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) {
			d := trust.NewDocument(w.founding.Network, w.first().home.Node(), "rules/evil", []byte("x"), w.docs.Now(), false)
			res.Documents = append(res.Documents, d)
		}, "is not of trust"},
		{"a forged document", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) {
			res.Documents[1] = proto.Clone(res.Documents[1]).(*replicapb.Document)
			res.Documents[1].Signature[3] ^= 1
		}, "signature is not"},
		{"an empty document", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) {
			res.Documents = append(res.Documents, nil)
		}, "is not of trust"},
		{"too many documents", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) {
			res.Documents = slices.Repeat(res.Documents, maxJoinDocuments)
		}, "must be 1 to"},
		{"a self-made member", func(t *testing.T, a *Applicant, res *meshpb.JoinResponse) {
			without(res, "member/")
			text, err := trust.EncodeMember(trust.MemberValue{Name: "guest", Role: trust.RoleAdmin, Keys: []trust.MemberKey{{Key: a.node.Public()}}, Joined: w.now()})
			if err != nil {
				t.Fatal(err)
			}
			res.Documents = append(res.Documents, trust.NewDocument(w.founding.Network, a.node, trust.MemberDocument(a.node.Public()), text, w.docs.Now(), false))
		}, "is void"},
		{"a clock two hours on", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) { res.SignerTimeMs += 7_200_000 }, "2h0m0s behind"},
		{"a clock two hours back", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) { res.SignerTimeMs -= 7_200_000 }, "2h0m0s ahead"},
		{"a refusal and all the rest", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) { res.Refusal = "no\x1b[2J\nway" }, "no [2J way"},
		{"nothing", func(_ *testing.T, _ *Applicant, res *meshpb.JoinResponse) { proto.Reset(res) }, "documents: 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			token := w.invite(InviteOptions{})
			a := w.applicant(dir, token, "guest-"+strings.ReplaceAll(tc.name, " ", "-"))
			good := w.redeem(w.first(), token.Guest().Public(), a.Request())
			a.opts.Seed = func(context.Context, trust.NetworkID, []*replicapb.Document, []trust.Bootstrap) error {
				t.Error("unverified documents were kept")
				return nil
			}
			bad := proto.Clone(good).(*meshpb.JoinResponse)
			tc.change(t, a, bad)
			if j, err := a.Complete(t.Context(), bad); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("joined %+v, error %v, want %q", j, err, tc.want)
			}
			if a.opts.Home.Enrolled() {
				t.Error("the island is enrolled")
			}
			// The liar did no harm: the honest answer still works.
			if _, err := w.applicant(dir, token, a.opts.Name).Complete(t.Context(), good); err != nil {
				t.Errorf("the honest answer afterwards: %v", err)
			}
		})
	}
}

func TestJoinWithinClockTolerance(t *testing.T) {
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		w := newWorld(t)
		token := w.invite(InviteOptions{})
		a := w.applicant(t.TempDir(), token, "guest")
		a.opts.Now = func() time.Time { return w.now().Add(skew) }
		if _, err := a.Complete(t.Context(), w.redeem(w.first(), token.Guest().Public(), a.Request())); err != nil {
			t.Errorf("skew %s: %v", skew, err)
		}
	}
	w := newWorld(t)
	token := w.invite(InviteOptions{})
	a := w.applicant(t.TempDir(), token, "guest")
	a.opts.Now = func() time.Time { return w.now().Add(20 * time.Minute) }
	_, err := a.Complete(t.Context(), w.redeem(w.first(), token.Guest().Public(), a.Request()))
	if !errors.Is(err, ErrClock) || !strings.Contains(err.Error(), "timedatectl") {
		t.Errorf("20 minutes ahead: %v", err)
	}
}

func TestTokenOfAnotherRoleIsNoticed(t *testing.T) {
	w := newWorld(t)
	token := w.invite(InviteOptions{})
	token.Role = trust.RoleVantage // changed on its way to the guest
	a := w.applicant(t.TempDir(), token, "guest")
	if _, err := a.Complete(t.Context(), w.redeem(w.first(), token.Guest().Public(), a.Request())); err == nil || !strings.Contains(err.Error(), "role") {
		t.Errorf("error %v", err)
	}
}

func TestFailedSeedLeavesNoIsland(t *testing.T) {
	w := newWorld(t)
	token := w.invite(InviteOptions{})
	dir := t.TempDir()
	a := w.applicant(dir, token, "guest")
	a.opts.Seed = func(context.Context, trust.NetworkID, []*replicapb.Document, []trust.Bootstrap) error {
		return errors.New("disk full")
	}
	if _, err := a.Complete(t.Context(), w.redeem(w.first(), token.Guest().Public(), a.Request())); err == nil || a.opts.Home.Enrolled() {
		t.Fatalf("error %v, enrolled %v", err, a.opts.Home.Enrolled())
	}
	b := w.applicant(dir, token, "guest")
	if b.node.Public() != a.node.Public() {
		t.Error("the second attempt has another key")
	}
	if _, err := b.Complete(t.Context(), w.redeem(w.first(), token.Guest().Public(), b.Request())); err != nil {
		t.Error(err)
	}
}

// TestJoinIsWrittenDownFirst holds that there is no member without an entry for it.
func TestJoinIsWrittenDownFirst(t *testing.T) {
	w := newWorld(t)
	token := w.invite(InviteOptions{})
	dir := t.TempDir()
	var entry trust.AuditEntry
	attempt := func(fail error) (*Applicant, error) {
		a := w.applicant(dir, token, "guest")
		a.opts.Record = func(network trust.NetworkID, node trust.PrivateKey, e trust.AuditEntry) error {
			if a.opts.Home.Enrolled() || network != token.Network || node.Public() != a.node.Public() {
				t.Errorf("asked to record in %s by %s, enrolled %v", network.Short(), node.Public(), a.opts.Home.Enrolled())
			}
			entry = e
			return fail
		}
		_, err := a.Complete(t.Context(), w.redeem(w.first(), token.Guest().Public(), a.Request()))
		return a, err
	}
	if a, err := attempt(errors.New("disk full")); err == nil || a.opts.Home.Enrolled() {
		t.Errorf("without an entry: %v, enrolled %v", err, a.opts.Home.Enrolled())
	}
	if a, err := attempt(nil); err != nil || !a.opts.Home.Enrolled() {
		t.Errorf("with an entry: %v, enrolled %v", err, a.opts.Home.Enrolled())
	}
	if entry.Actor != "guest" || entry.Action != "join" || entry.TimeMs == 0 || !strings.Contains(entry.Detail, token.Guest().Public().String()) {
		t.Errorf("recorded %+v", entry)
	}
}

// TestAnswerFitsItsBounds holds that the answer of a large network stays under
// the join protocol's limit and is enough to begin with.
func TestAnswerFitsItsBounds(t *testing.T) {
	w := newWorld(t)
	signer, _ := w.first().home.Signer()
	var docs []*replicapb.Document
	for range 2500 {
		k := newKey(t).Public()
		text, err := trust.EncodeMember(trust.MemberValue{
			Name: "m" + strings.ToLower(k.Short()) + k.String()[20:40], Role: trust.RoleIsland, Joined: w.now(), Keys: []trust.MemberKey{{Key: k}},
			Labels: map[string]string{"site": strings.Repeat("x", 200)},
		})
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, trust.NewDocument(w.founding.Network, signer, trust.MemberDocument(k), text, w.docs.Now(), false))
	}
	if err := w.docs.Put(t.Context(), docs...); err != nil {
		t.Fatal(err)
	}
	token := w.invite(InviteOptions{})
	a := w.applicant(t.TempDir(), token, "guest")
	res := w.redeem(w.first(), token.Guest().Public(), a.Request())
	if n := proto.Size(res); n > 1<<20 {
		t.Errorf("the answer has %d bytes, more than 1 MiB", n)
	}
	if n := len(res.GetDocuments()); n < 1000 {
		t.Errorf("only %d documents were sent along", n)
	}
	if _, err := a.Complete(t.Context(), res); err != nil {
		t.Error(err)
	}
}
