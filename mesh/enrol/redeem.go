package enrol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// refusal is a guest's "no": text says why, and what to do about it.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// forwardTimeout leaves time to answer within the guest's own 10 s.
const forwardTimeout = 7 * time.Second

// Redeem answers a guest, whose key the caller has proven. What is wrong with
// the request is in the answer's refusal, in words; an error is this island's
// own trouble. An invitation of another signer is passed on to its island: only
// one island counts the uses of one invitation.
func (a *Authority) Redeem(ctx context.Context, guest trust.Key, req *meshpb.JoinRequest) (*meshpb.JoinResponse, error) {
	if inv, ok := a.opts.Trust().Invite(guest); ok && !a.mine(inv.Issuer) {
		return a.forward(ctx, inv, req)
	}
	return a.redeemHere(ctx, guest, req)
}

func (a *Authority) mine(issuer trust.Key) bool {
	k, ok := a.opts.Home.Signer()
	return ok && k.Public() == issuer
}

func (a *Authority) redeemHere(ctx context.Context, guest trust.Key, req *meshpb.JoinRequest) (*meshpb.JoinResponse, error) {
	res, again, err := a.redeem(ctx, guest, req)
	var no *refusal
	switch {
	case errors.As(err, &no):
		a.metrics.redeemed.WithLabelValues("refused").Inc()
		a.opts.Logger.Warn("guest refused", "guest", guest, "reason", no.text)
		return &meshpb.JoinResponse{Refusal: no.text, SignerTimeMs: a.now().UnixMilli()}, nil
	case err != nil:
		a.metrics.redeemed.WithLabelValues("failed").Inc()
		return nil, err
	case again:
		a.metrics.redeemed.WithLabelValues("again").Inc()
	default:
		a.metrics.redeemed.WithLabelValues("admitted").Inc()
	}
	return res, nil
}

// redeem is one step for all who come at once: between judging a request and
// counting it nothing else happens.
func (a *Authority) redeem(ctx context.Context, guest trust.Key, req *meshpb.JoinRequest) (*meshpb.JoinResponse, bool, error) {
	if req == nil || len(req.GetName()) > maxRequestText || len(req.GetLabels()) > trust.MaxLabels {
		return nil, false, refuse("the request has no content, a name of more than %d bytes, or more than %d labels", maxRequestText, trust.MaxLabels)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	j, err := a.judge(guest, req)
	if err != nil {
		return nil, false, err
	}
	signer, err := a.signer()
	if err != nil {
		return nil, false, fmt.Errorf("redeem invitation: %w", err)
	}
	member, again := a.opts.Trust().MemberByKey(j.node)
	again = again && j.counted && member.Invite == guest
	if !again {
		if member, err = a.admit(ctx, signer, j); err != nil {
			return nil, false, fmt.Errorf("redeem invitation: %w", err)
		}
	}
	docs, err := a.essentials(member)
	if err != nil {
		return nil, false, fmt.Errorf("redeem invitation: %w", err)
	}
	certificate, ok := a.recent(signer, member, member.Key)
	if !ok {
		if again {
			err = a.record(change{actor: member.Name, action: "join-again", subject: member.Name, detail: "key " + member.Key.String()})
		}
		if err != nil {
			return nil, false, err
		}
		certificate = a.certify(signer, member, member.Key)
	}
	return &meshpb.JoinResponse{
		Certificate: certificate, Documents: docs,
		Peers: bootstrapMessages(a.opts.Bootstrap()), SignerTimeMs: a.now().UnixMilli(),
	}, again, nil
}

const maxRequestText = 256

// judgement is a request that may be granted.
type judgement struct {
	guest, node, signer trust.Key
	invite              *trust.Invite
	name                string
	// counted is set where the invitation knows the node key already.
	counted bool
}

// judge says what a request asks for, or refuses it.
func (a *Authority) judge(guest trust.Key, req *meshpb.JoinRequest) (judgement, error) {
	state := a.opts.Trust()
	inv, ok := state.Invite(guest)
	switch {
	case !ok:
		return judgement{}, a.unknown(guest)
	case !a.mine(inv.Issuer):
		return judgement{}, refuse("the invitation was made with another signer key, %s; knock at that island, or ask for a new invitation here", inv.Issuer)
	case req.GetVersion() < wire.Oldest:
		return judgement{}, refuse("the new island speaks protocol %d, this network needs %d or later; install a newer atoll and use the same token again",
			req.GetVersion(), wire.Oldest)
	}
	j := judgement{guest: guest, invite: inv}
	var err error
	if j.node, j.signer, err = checkJoinProof(a.opts.Home.Network(), guest, req); err != nil {
		return j, refuse("the request is not proven: %v; remove what an earlier attempt left in the data directory and join again", err)
	}
	if err := checkFreeKeys(state, j); err != nil {
		return j, err
	}
	j.counted = slices.Contains(inv.UsedBy, j.node)
	if !j.counted {
		if err := a.checkOpen(inv); err != nil {
			return j, err
		}
	}
	return j, a.checkWishes(&j, req)
}

// unknown tells a withdrawn invitation from one never heard of.
func (a *Authority) unknown(guest trust.Key) error {
	if len(a.opts.Documents.History(trust.InviteDocument(guest))) > 0 {
		return refuse("the invitation was withdrawn, or the key that made it is trusted no more; ask for a new token")
	}
	return refuse("the invitation is not known here; if it was made within the last minute try again, else ask for a new token")
}

// checkFreeKeys refuses keys that already mean something else.
func checkFreeKeys(s *trust.State, j judgement) error {
	switch standing := s.Standing(j.node); standing {
	case trust.Revoked, trust.Left:
		return refuse("this island's key %s has %s the network; run atoll leave here, which makes a new key, and join again", j.node, departed(standing))
	case trust.Guest:
		return refuse("node_key %s belongs to an invitation; a node key must be its own", j.node)
	case trust.MemberStanding:
		if m, ok := s.MemberByKey(j.node); ok && m.Key != j.node {
			return refuse("this island's key %s was replaced by %s; use the data directory that has the new key", j.node, m.Key)
		}
	}
	if s.IsSigner(j.node) || s.IsRoot(j.node) || s.Recovery() == j.node {
		return refuse("node_key %s is a signer's, root's or recovery key; a node key must be its own", j.node)
	}
	if j.signer.IsZero() {
		return nil
	}
	if j.invite.Role != trust.RoleAdmin {
		return refuse("a signer key was offered, but the invitation is for role %s; ask for one with --role %s", j.invite.Role, trust.RoleAdmin)
	}
	if s.IsRoot(j.signer) || s.Recovery() == j.signer || s.Standing(j.signer) != trust.Unknown {
		return refuse("signer_key %s already means something else in this network; a signer key must be its own", j.signer)
	}
	return nil
}

func departed(s trust.Standing) string {
	if s == trust.Left {
		return "left"
	}
	return "been revoked from"
}

func (a *Authority) checkOpen(inv *trust.Invite) error {
	switch {
	case len(inv.UsedBy) >= inv.Uses:
		by := inv.UsedBy[len(inv.UsedBy)-1]
		return refuse("the invitation has been used up: %d of %d, last by the island with key %s; ask for a new token", len(inv.UsedBy), inv.Uses, by)
	case a.now().After(inv.Expires):
		return refuse("the invitation expired at %s, now is %s; ask for a new token", inv.Expires.Format(time.RFC3339), a.now().Format(time.RFC3339))
	}
	return nil
}

// checkWishes settles the name, and holds the labels to what was granted:
// policies give rights by labels, so nobody may choose his own.
func (a *Authority) checkWishes(j *judgement, req *meshpb.JoinRequest) error {
	inv := j.invite
	for k, v := range req.GetLabels() {
		if granted, ok := inv.Labels[k]; !ok || granted != v {
			return refuse("label %.64q=%.64q is not in the invitation; join without it, or ask for a token made with --label", k, v)
		}
	}
	j.name = req.GetName()
	switch {
	case j.name == "":
		j.name = inv.Name
	case inv.Name != "" && j.name != inv.Name:
		return refuse("the invitation is for the name %q, not %q; join without a name, or ask for another token", inv.Name, j.name)
	}
	if j.name == "" {
		return refuse("the new island has no name and the invitation gives none; join with --name")
	}
	if err := trust.CheckName(j.name); err != nil {
		return refuse("%v; join with another --name", err)
	}
	if holder, taken := nameHolder(a.opts.Trust(), j.name, j.node); taken {
		return refuse("the name %q is taken by the island with key %s, joined %s; join with another --name, or have that island revoked if it is gone",
			j.name, holder.Key, holder.Joined.Format(time.RFC3339))
	}
	return nil
}

// admit counts the use first and makes the member second: cut short between the
// two, the same guest is let in when it asks again, and nobody else.
func (a *Authority) admit(ctx context.Context, signer trust.PrivateKey, j judgement) (*trust.Member, error) {
	now := a.now()
	used := j.invite.InviteValue
	if !j.counted {
		used.UsedBy = append(slices.Clone(used.UsedBy), j.node)
	}
	joined := now
	if m, ok := a.opts.Trust().MemberByKey(j.node); ok {
		joined = m.Joined
	}
	inviteText, err := trust.EncodeInvite(used)
	if err != nil {
		return nil, err
	}
	memberText, err := trust.EncodeMember(trust.MemberValue{
		Name: j.name, Role: used.Role, Labels: used.Labels, Keys: []trust.MemberKey{{Key: j.node}}, Joined: joined, Invite: j.guest,
	})
	if err != nil {
		return nil, err
	}
	count := a.document(signer, trust.InviteDocument(j.guest), inviteText)
	docs := []*replicapb.Document{a.document(signer, trust.MemberDocument(j.node), memberText)}
	detail := fmt.Sprintf("role %s, labels %v, key %s, use %d of %d", used.Role, used.Labels, j.node, len(used.UsedBy), used.Uses)
	if !j.signer.IsZero() {
		text, err := trust.EncodeSigner(trust.SignerValue{Name: j.name, Since: now})
		if err != nil {
			return nil, err
		}
		if root, err := a.root(); err == nil {
			docs = append(docs, a.document(root, trust.SignerDocument(j.signer), text))
			detail += ", signer key " + j.signer.String()
		} else {
			detail += ", signer key " + j.signer.String() + " waits for a root"
		}
	}
	err = a.apply(ctx, change{actor: "guest " + j.guest.String(), action: "join", subject: j.name, detail: detail, first: count, docs: docs})
	if err != nil {
		return nil, err
	}
	m, ok := a.opts.Trust().MemberByKey(j.node)
	if !ok {
		return nil, fmt.Errorf("BUG: %s was written as a member and is none", j.node)
	}
	return m, nil
}

// forward asks the island that made the invitation.
func (a *Authority) forward(ctx context.Context, inv *trust.Invite, req *meshpb.JoinRequest) (*meshpb.JoinResponse, error) {
	issuer, err := a.issuerOf(inv)
	if err != nil {
		return a.unreachable(err), nil
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	res, err := a.ask(ctx, issuer, &meshpb.RedeemRequest{GuestKey: inv.Key.Bytes(), Request: req})
	if err != nil {
		return a.unreachable(fmt.Errorf("the invitation was made on island %s, which does not answer from here (%s); start it, knock at it directly, or ask for a token made on another island",
			issuer.Name, status.Convert(err).Message())), nil
	}
	a.metrics.forwarded.WithLabelValues("answered").Inc()
	if res.GetRefusal() == "" {
		err = a.record(change{actor: issuer.Name, action: "join-forwarded", subject: inv.Key.String(), detail: "admitted by the island that made the invitation"})
	}
	return res, err
}

func (a *Authority) ask(ctx context.Context, issuer *trust.Member, req *meshpb.RedeemRequest) (*meshpb.JoinResponse, error) {
	if a.opts.Conns == nil {
		return nil, status.Error(codes.Unavailable, "no connections to other islands")
	}
	var conn grpc.ClientConnInterface
	conn, err := a.opts.Conns(ctx, issuer.Key)
	if err != nil {
		return nil, err
	}
	return meshpb.NewMembershipClient(conn).Redeem(ctx, req)
}

func (a *Authority) issuerOf(inv *trust.Invite) (*trust.Member, error) {
	state := a.opts.Trust()
	for _, s := range state.Signers() {
		if s.Key != inv.Issuer {
			continue
		}
		if m, ok := state.Member(s.Name); ok && m.Key != a.opts.Home.Node().Public() {
			return m, nil
		}
		return nil, fmt.Errorf("the invitation was made on island %s, which is not in the network any more; ask for a new token", s.Name)
	}
	return nil, errors.New("the invitation was made with a signer key that is trusted no more; ask for a new token")
}

func (a *Authority) unreachable(err error) *meshpb.JoinResponse {
	a.metrics.forwarded.WithLabelValues("unreachable").Inc()
	return &meshpb.JoinResponse{Refusal: err.Error(), SignerTimeMs: a.now().UnixMilli()}
}
