package enrol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// RevokeOptions says who goes, and what of theirs stays.
type RevokeOptions struct {
	// Member is a name as atoll peers shows it, or the peer ID of any node or signer key.
	Member string
	Reason string
	// DropDocuments lets all documents go that the revoked keys signed. Without
	// it this island signs them again as its own.
	DropDocuments bool
	// Since, where not zero, is when the key was stolen: documents of a later time go.
	Since time.Time
}

// Revocation says what was done.
type Revocation struct {
	Adoption
	// Keys are revoked now.
	Keys []trust.Key
	// Remaining are signer keys of the island that only a root may revoke, and
	// this island has none: until then they can admit others.
	Remaining []trust.Key
}

// target is who goes: a member, signer keys, or both.
type target struct {
	name    string
	node    trust.Key // current node key, or zero
	signers []trust.Key
	authors map[trust.Key]bool
}

// Revoke ends a membership for good. The revocation cannot be taken back; who
// may return is invited again, under a new key.
func (a *Authority) Revoke(ctx context.Context, o RevokeOptions) (Revocation, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	res := Revocation{}
	by, err := a.signerOrRoot()
	if err != nil {
		return res, fmt.Errorf("revoke %s: %w", o.Member, err)
	}
	t, err := a.target(o.Member)
	if err != nil {
		return res, fmt.Errorf("revoke %s: %w", o.Member, err)
	}
	docs, err := a.revocations(t, by, o, &res)
	if err != nil {
		return res, fmt.Errorf("revoke %s: %w", o.Member, err)
	}
	if len(docs) == 0 {
		return res, fmt.Errorf("revoke %s: %w: only a root revokes signer keys", o.Member, ErrNoSigner)
	}
	saved, adoption, adoptErr := a.adopt(ctx, t.name, t.authors, a.worthKeeping(t, o))
	res.Adoption = adoption
	// Documents that could not be saved are no reason to let a thief stay.
	err = a.apply(ctx, change{
		actor: a.self(ctx), action: "revoke", subject: t.name, docs: docs,
		detail: fmt.Sprintf("reason %q, keys %v, documents kept %d, dropped %d", o.Reason, res.Keys, len(res.Adopted), len(res.Skipped)),
	})
	if err == nil {
		err = a.restore(ctx, saved)
	}
	return res, errors.Join(err, adoptErr)
}

func (a *Authority) target(member string) (target, error) {
	state := a.opts.Trust()
	t := target{name: member, authors: map[trust.Key]bool{}}
	m, ok := state.Member(member)
	key, keyErr := trust.ParseKey(member)
	if !ok && keyErr == nil {
		m, ok = state.MemberByKey(key)
	}
	switch {
	case ok:
		t.name, t.node = m.Name, m.Key
		t.authors = a.keysOf(m.Key)
		for _, s := range state.Signers() {
			// Of two with one given name only the first goes by it alone: a signer's
			// name means that one.
			if s.Name == m.GivenName && m.Name == m.GivenName {
				t.signers = append(t.signers, s.Key)
			}
		}
	case keyErr == nil && state.IsSigner(key):
		t.signers = []trust.Key{key}
	case keyErr == nil && state.Standing(key) == trust.Revoked:
		return t, errors.New("that key is revoked already")
	case keyErr == nil:
		t.node = key
		t.authors = a.keysOf(key)
	default:
		return t, errors.New("no member goes by that name; atoll peers lists them, or give a peer ID")
	}
	for _, s := range t.signers {
		t.authors[s] = true
	}
	if own, ok := a.opts.Home.Signer(); t.authors[a.opts.Home.Node().Public()] || ok && t.authors[own.Public()] {
		return t, errors.New("that is this island itself; run atoll leave here, or revoke it from another island")
	}
	return t, nil
}

// revocations signs what can be signed here and notes what cannot.
func (a *Authority) revocations(t target, by trust.PrivateKey, o RevokeOptions, res *Revocation) ([]*replicapb.Document, error) {
	text, err := trust.EncodeRevoked(trust.RevokedValue{Name: givenName(t.name), Reason: o.Reason, At: a.now()})
	if err != nil {
		return nil, err
	}
	var docs []*replicapb.Document
	if !t.node.IsZero() {
		docs = append(docs, a.document(by, trust.RevokedDocument(t.node), text))
		res.Keys = append(res.Keys, t.node)
	}
	root, err := a.root()
	for _, s := range t.signers {
		if err != nil {
			res.Remaining = append(res.Remaining, s)
			delete(t.authors, s)
			continue
		}
		docs = append(docs, a.document(root, trust.RevokedDocument(s), text), a.tombstone(root, trust.SignerDocument(s)))
		res.Keys = append(res.Keys, s)
	}
	return docs, nil
}

// givenName is what a document may hold: shown names may carry a '~'.
func givenName(name string) string {
	if trust.CheckName(name) != nil {
		return ""
	}
	return name
}

// worthKeeping never keeps invitations of a revoked signer: whoever has its key
// may have their tokens.
func (a *Authority) worthKeeping(t target, o RevokeOptions) func(*replicapb.Document) error {
	keep := keepAll
	if o.DropDocuments {
		keep = keepNone
	}
	own := trust.MemberDocument(a.opts.Home.Node().Public())
	return func(d *replicapb.Document) error {
		kind, _, _ := trust.ParseDocumentKey(d.GetKey())
		switch {
		case d.GetKey() == own:
			return nil // whoever admitted this island, it stays
		case kind == trust.KindInvite:
			return errors.New("invitations go with the key that made them")
		case d.GetKey() == trust.LeftDocument(t.node):
			return errors.New("the island is revoked, that it left means nothing")
		case !o.Since.IsZero() && trust.DocumentTime(d.GetTime()).After(o.Since):
			return fmt.Errorf("written at %s, after the key was stolen", trust.DocumentTime(d.GetTime()).Format(time.RFC3339))
		}
		return keep(d)
	}
}

// restore puts again what the revoked overwrote between adoption and revocation.
func (a *Authority) restore(ctx context.Context, saved []*replicapb.Document) error {
	var again []*replicapb.Document
	for _, d := range saved {
		now, err := a.opts.Documents.Get(d.GetKey())
		if err == nil && bytes.Equal(now.GetSignature(), d.GetSignature()) {
			continue
		}
		if err == nil && a.opts.Trust().Permit(now) == nil {
			continue // somebody with the right wrote a newer one
		}
		author, err := trust.KeyOf(d.GetAuthor())
		if err != nil {
			continue
		}
		fresh, err := a.resign(d, author)
		if err != nil {
			return fmt.Errorf("restore %s: %w", d.GetKey(), err)
		}
		again = append(again, fresh)
	}
	if len(again) == 0 {
		return nil
	}
	if err := a.opts.Documents.Put(ctx, again...); err != nil {
		return fmt.Errorf("restore %d documents: %w", len(again), err)
	}
	return nil
}
