package enrol

import (
	"context"
	"errors"
	"fmt"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// AddSigner lets an island of role admin admit others with the signer key that
// it made. It takes the root key.
func (a *Authority) AddSigner(ctx context.Context, member string, key trust.Key) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	root, err := a.root()
	if err != nil {
		return fmt.Errorf("add signer: %w", err)
	}
	state := a.opts.Trust()
	m, ok := state.Member(member)
	switch {
	case !ok:
		return fmt.Errorf("add signer: no member is called %q; atoll peers lists them", member)
	case m.Name != m.GivenName:
		return fmt.Errorf("add signer: %s shares its name with another island; have one of them join again under another name", m.Name)
	case m.Role != trust.RoleAdmin:
		return fmt.Errorf("add signer: %s has role %s; only %s may admit others", m.Name, m.Role, trust.RoleAdmin)
	case key.IsZero() || state.IsRoot(key) || state.Recovery() == key || state.Standing(key) != trust.Unknown:
		return fmt.Errorf("add signer: key %s already means something else in this network; a signer key must be its own", key)
	}
	doc, err := a.signerDocument(root, m.GivenName, key)
	if err != nil {
		return fmt.Errorf("add signer: %w", err)
	}
	return a.apply(ctx, change{actor: a.self(ctx), action: "signer-add", subject: m.Name, detail: "key " + key.String(), docs: []*replicapb.Document{doc}})
}

func (a *Authority) signerDocument(root trust.PrivateKey, name string, key trust.Key) (*replicapb.Document, error) {
	text, err := trust.EncodeSigner(trust.SignerValue{Name: name, Since: a.now()})
	if err != nil {
		return nil, err
	}
	return a.document(root, trust.SignerDocument(key), text), nil
}

// RemoveSigner ends the right of a signer key that nobody stole; for a stolen
// one there is Revoke. What it signed is signed again by this island's signer
// key, but for its invitations: two islands must never count the uses of one.
// Certificates that it issued are renewed by their holders at once. It takes
// the root key.
func (a *Authority) RemoveSigner(ctx context.Context, key trust.Key) (Adoption, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	root, err := a.root()
	if err != nil {
		return Adoption{}, fmt.Errorf("remove signer: %w", err)
	}
	own, err := a.signer()
	switch {
	case err != nil:
		return Adoption{}, fmt.Errorf("remove signer: what it signed must be signed again: %w", err)
	case own.Public() == key:
		return Adoption{}, errors.New("remove signer: that is this island's own key; rotate it first, or remove it from another island")
	case !a.opts.Trust().IsSigner(key):
		return Adoption{}, fmt.Errorf("remove signer: %s is not a signer's key", key)
	}
	_, res, err := a.adopt(ctx, key.String(), map[trust.Key]bool{key: true}, noInvites)
	if err != nil {
		return res, fmt.Errorf("remove signer: %w", err)
	}
	return res, a.apply(ctx, change{
		actor: a.self(ctx), action: "signer-remove", subject: key.String(),
		docs: []*replicapb.Document{a.tombstone(root, trust.SignerDocument(key))},
	})
}

func noInvites(d *replicapb.Document) error {
	if kind, _, _ := trust.ParseDocumentKey(d.GetKey()); kind == trust.KindInvite {
		return errors.New("invitations go with the key that made them")
	}
	return nil
}

// SignerRotation says which keys are trusted side by side.
type SignerRotation struct {
	Adoption
	New trust.Key
	// Old are this island's earlier signer keys. Certificates by them are good
	// until RemoveSigner.
	Old []trust.Key
}

// RotateSigner gives this island a new signer key, trusted beside the old one
// until that is removed. It takes the root key. Cut short, it is simply called
// again: then a key that nobody holds is among the old ones.
func (a *Authority) RotateSigner(ctx context.Context) (SignerRotation, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	res := SignerRotation{}
	root, err := a.root()
	if err != nil {
		return res, fmt.Errorf("rotate signer key: %w", err)
	}
	if _, err := a.signer(); err != nil {
		return res, fmt.Errorf("rotate signer key: %w", err)
	}
	m, ok := a.opts.Trust().MemberByKey(a.opts.Home.Node().Public())
	if !ok {
		return res, errors.New("rotate signer key: this island is no member")
	}
	next, err := trust.NewKey()
	if err != nil {
		return res, fmt.Errorf("rotate signer key: %w", err)
	}
	doc, err := a.signerDocument(root, m.GivenName, next.Public())
	if err != nil {
		return res, fmt.Errorf("rotate signer key: %w", err)
	}
	res.New = next.Public()
	// Trusted first, kept second: the key on disk is at all times one that may sign.
	err = a.apply(ctx, change{actor: a.self(ctx), action: "signer-rotate", subject: m.Name, detail: "key " + res.New.String(), docs: []*replicapb.Document{doc}})
	if err != nil {
		return res, err
	}
	if err := a.opts.Home.SetSigner(next); err != nil {
		return res, fmt.Errorf("rotate signer key: %w", err)
	}
	res.Old, res.Adoption, err = a.inherit(ctx)
	return res, err
}

// Resume finishes what a kill cut short in RotateSigner or after RotateNode: it
// signs again with this island's present keys what its earlier ones signed. It
// is called when an island starts and after its member document changed, and
// does nothing where there is nothing to do.
func (a *Authority) Resume(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.adoptOwn(ctx)
	if _, noSigner := a.signer(); noSigner != nil {
		return err
	}
	_, _, inheritErr := a.inherit(ctx)
	return errors.Join(err, inheritErr)
}

// inherit signs with the present signer key what this island's earlier ones
// signed; invitations too, since it was always this island that counted them.
func (a *Authority) inherit(ctx context.Context) ([]trust.Key, Adoption, error) {
	own, err := a.signer()
	if err != nil {
		return nil, Adoption{}, err
	}
	state := a.opts.Trust()
	m, ok := state.MemberByKey(a.opts.Home.Node().Public())
	if !ok || m.Name != m.GivenName {
		return nil, Adoption{}, nil
	}
	var old []trust.Key
	authors := map[trust.Key]bool{}
	for _, s := range state.Signers() {
		if s.Name == m.GivenName && s.Key != own.Public() {
			old, authors[s.Key] = append(old, s.Key), true
		}
	}
	if len(old) == 0 {
		return nil, Adoption{}, nil
	}
	_, res, err := a.adopt(ctx, m.Name, authors, noInvites)
	if err != nil {
		return old, res, err
	}
	return old, res, a.takeInvites(ctx, own, authors)
}

func (a *Authority) takeInvites(ctx context.Context, own trust.PrivateKey, issuers map[trust.Key]bool) error {
	var docs []*replicapb.Document
	for _, inv := range a.opts.Trust().Invites() {
		if !issuers[inv.Issuer] {
			continue
		}
		v := inv.InviteValue
		v.Issuer = own.Public()
		text, err := trust.EncodeInvite(v)
		if err != nil {
			return fmt.Errorf("take over invitation %s: %w", inv.Key, err)
		}
		docs = append(docs, a.document(own, trust.InviteDocument(inv.Key), text))
	}
	if len(docs) == 0 {
		return nil
	}
	return a.apply(ctx, change{actor: a.self(ctx), action: "adopt", subject: "invitations", detail: fmt.Sprintf("%d invitations", len(docs)), docs: docs})
}
