package enrol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// InviteOptions says who may come.
type InviteOptions struct {
	// Role is "island" where empty.
	Role string
	// Name that the new island gets; empty leaves it to who comes. It takes Uses of 1.
	Name   string
	Labels map[string]string
	// Uses is how many islands may come, 1 where 0.
	Uses int
	// Expires is how long the invitation is good, Config.InviteExpires where 0.
	Expires time.Duration
	// Bootstrap are the islands to knock at; empty takes what AuthorityOptions.Bootstrap gives.
	Bootstrap []trust.Bootstrap
}

// Invite makes an invitation: a token for who shall come, which is a secret and
// kept nowhere, and the document, already spread, by which islands know it.
func (a *Authority) Invite(ctx context.Context, o InviteOptions) (trust.Token, *replicapb.Document, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	signer, err := a.signer()
	if err != nil {
		return trust.Token{}, nil, fmt.Errorf("invite: %w", err)
	}
	if err := a.complete(&o); err != nil {
		return trust.Token{}, nil, fmt.Errorf("invite: %w", err)
	}
	guest, err := trust.NewKey()
	if err != nil {
		return trust.Token{}, nil, fmt.Errorf("invite: %w", err)
	}
	now := a.now()
	value, err := trust.EncodeInvite(trust.InviteValue{
		Role: o.Role, Labels: o.Labels, Name: o.Name, Uses: o.Uses,
		Expires: now.Add(o.Expires), Issuer: signer.Public(), Created: now,
	})
	if err != nil {
		return trust.Token{}, nil, fmt.Errorf("invite: %w", err)
	}
	token := trust.Token{
		Network: a.opts.Home.Network(), GuestSeed: [32]byte(guest.Seed()), Bootstrap: o.Bootstrap,
		Expires: now.Add(o.Expires), Role: o.Role,
	}
	// What this island prints it must be able to read: better refused here than there.
	if _, err := trust.ParseToken(token.Line()); err != nil {
		return trust.Token{}, nil, fmt.Errorf("invite: the token would be unreadable: %w", err)
	}
	doc := a.document(signer, trust.InviteDocument(guest.Public()), value)
	err = a.apply(ctx, change{
		actor: a.self(ctx), action: "invite", subject: guest.Public().String(),
		detail: fmt.Sprintf("role %s, name %q, labels %v, uses %d, expires %s", o.Role, o.Name, o.Labels, o.Uses, token.Expires.Format(time.RFC3339)),
		docs:   []*replicapb.Document{doc},
	})
	if err != nil {
		return trust.Token{}, nil, err
	}
	return token, doc, nil
}

func (a *Authority) complete(o *InviteOptions) error {
	if o.Role == "" {
		o.Role = trust.RoleIsland
	}
	if o.Uses == 0 {
		o.Uses = 1
	}
	if o.Expires == 0 {
		o.Expires = time.Duration(a.opts.Config.InviteExpires)
	}
	if len(o.Bootstrap) == 0 {
		o.Bootstrap = a.opts.Bootstrap()
	}
	var errs []error
	if o.Expires < minInvite || o.Expires > maxInvite {
		errs = append(errs, fmt.Errorf("expires: %s must be from %s to %s", o.Expires, minInvite, maxInvite))
	}
	if o.Name != "" && o.Uses != 1 {
		errs = append(errs, fmt.Errorf("name: %q is for one island, but uses is %d; leave the name out", o.Name, o.Uses))
	}
	if holder, taken := nameHolder(a.opts.Trust(), o.Name, trust.Key{}); taken {
		errs = append(errs, fmt.Errorf("name: %q is the name of %s; choose another, or revoke that island first", o.Name, holder.Key))
	}
	if len(o.Bootstrap) == 0 {
		errs = append(errs, errors.New("bootstrap: this island knows no address under which it can be reached; set mesh.announce, or start it first"))
	}
	return errors.Join(errs...)
}

// nameHolder finds who, other than self, goes by a name. Case is ignored: people
// would take one for the other.
func nameHolder(s *trust.State, name string, self trust.Key) (*trust.Member, bool) {
	if name == "" {
		return nil, false
	}
	for _, m := range s.Members() {
		if m.Key != self && (strings.EqualFold(m.GivenName, name) || strings.EqualFold(m.Name, name)) {
			return m, true
		}
	}
	return nil, false
}

// OpenInvites lists the invitations by which somebody can still come in.
func (a *Authority) OpenInvites() []*trust.Invite {
	return slices.DeleteFunc(a.opts.Trust().Invites(), func(i *trust.Invite) bool { return i.Check(a.now()) != nil })
}

// minEnding is how much of the end of an ID names an invitation.
const minEnding = 6

// findInvite takes an invitation's ID, the name that it gives, or the end of its ID.
func (a *Authority) findInvite(which string) (*trust.Invite, error) {
	if k, err := trust.ParseKey(which); err == nil {
		if i, ok := a.opts.Trust().Invite(k); ok {
			return i, nil
		}
	}
	var found []*trust.Invite
	for _, i := range a.OpenInvites() {
		if i.Name == which || len(which) >= minEnding && strings.HasSuffix(i.Key.String(), which) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, errors.New("no open invitation has that ID or gives that name; atoll invite --list shows all")
	}
	return nil, fmt.Errorf("%d open invitations are meant by it: %s and %s; give the ID of one", len(found), found[0].Key, found[1].Key)
}

// WithdrawInvite ends an invitation, found by its ID, the end of that, or the
// name that it gives. Who came by it stays.
func (a *Authority) WithdrawInvite(ctx context.Context, which string) (*trust.Invite, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	inv, err := a.withdraw(ctx, which)
	if err != nil {
		return nil, fmt.Errorf("withdraw invitation %.80s: %w", which, err)
	}
	return inv, nil
}

func (a *Authority) withdraw(ctx context.Context, which string) (*trust.Invite, error) {
	signer, err := a.signer()
	if err != nil {
		return nil, err
	}
	inv, err := a.findInvite(which)
	if err != nil {
		return nil, err
	}
	return inv, a.apply(ctx, change{
		actor: a.self(ctx), action: "invite-withdraw", subject: inv.Key.String(),
		detail: fmt.Sprintf("used %d of %d times", len(inv.UsedBy), inv.Uses),
		docs:   []*replicapb.Document{a.tombstone(signer, trust.InviteDocument(inv.Key))},
	})
}
