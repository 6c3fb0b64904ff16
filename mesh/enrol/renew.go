package enrol

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// Renew gives a member a new certificate for one of its keys; who must have been
// proven. Asked again within a minute it gives the same one.
func (a *Authority) Renew(_ context.Context, who trust.Key) (*trustpb.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	signer, err := a.signer()
	if err != nil {
		return nil, fmt.Errorf("renew certificate: %w", err)
	}
	m, err := a.standing(who)
	if err != nil {
		return nil, fmt.Errorf("renew certificate: %w", err)
	}
	if c, ok := a.recent(signer, m, who); ok {
		return c, nil
	}
	err = a.record(change{actor: m.Name, action: "renew", subject: m.Name, detail: "key " + who.String()})
	if err != nil {
		return nil, err
	}
	return a.certify(signer, m, who), nil
}

// standing finds the member that who speaks for now.
func (a *Authority) standing(who trust.Key) (*trust.Member, error) {
	state := a.opts.Trust()
	m, ok := state.MemberByKey(who)
	if !ok {
		return nil, fmt.Errorf("%w: key %s is %s in network %s, not a member", ErrDenied, who, state.Standing(who), state.Network().Short())
	}
	for _, previous := range m.PreviousKeys {
		if previous.Key == who && !a.now().Before(previous.Until) {
			return nil, fmt.Errorf("%w: key %s was replaced by %s and ended at %s", ErrDenied, who, m.Key, previous.Until.Format(time.RFC3339))
		}
	}
	return m, nil
}

func (a *Authority) recent(signer trust.PrivateKey, m *trust.Member, who trust.Key) (*trustpb.Certificate, bool) {
	last, ok := a.issued[who]
	age := a.now().Sub(last.at)
	if !ok || age < 0 || age > reissueAfter || !bytes.Equal(last.message.GetSigner(), signer.Public().Bytes()) {
		return nil, false
	}
	same := last.member.GivenName == m.GivenName && last.member.Role == m.Role && maps.Equal(last.member.Labels, m.Labels)
	return last.message, same
}

const (
	// maxMemberKeys is what a member document may list, the current key included.
	maxMemberKeys = 16
	// maxOverlapping is how many replaced keys of one member may be good at once.
	maxOverlapping = 4
)

// Rekey makes the new key of the request the node key of the member who, which
// must have been proven. The old key stays good for Config.RekeyOverlap. Asked
// again with the same key it only gives a new certificate.
func (a *Authority) Rekey(ctx context.Context, who trust.Key, req *meshpb.RekeyRequest) (*trustpb.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	signer, err := a.signer()
	if err != nil {
		return nil, fmt.Errorf("replace node key: %w", err)
	}
	m, err := a.standing(who)
	if err != nil {
		return nil, fmt.Errorf("replace node key: %w", err)
	}
	next, err := checkRekeyProof(a.opts.Home.Network(), who, req)
	if err != nil {
		return nil, fmt.Errorf("replace node key: %w: %w", ErrDenied, err)
	}
	if next != m.Key {
		if m, err = a.rekey(ctx, signer, m, who, next); err != nil {
			return nil, fmt.Errorf("replace node key: %w", err)
		}
	}
	return a.certify(signer, m, next), nil
}

func (a *Authority) rekey(ctx context.Context, signer trust.PrivateKey, m *trust.Member, who, next trust.Key) (*trust.Member, error) {
	state, now := a.opts.Trust(), a.now()
	good := 0
	for _, previous := range m.PreviousKeys {
		if previous.Until.After(now) {
			good++
		}
	}
	switch {
	case who != m.Key:
		return nil, fmt.Errorf("%w: key %s was replaced by %s already; only that one may be replaced", ErrDenied, who, m.Key)
	case state.Standing(next) != trust.Unknown || state.IsSigner(next) || state.IsRoot(next) || state.Recovery() == next:
		return nil, fmt.Errorf("%w: new_key %s already means something else in this network; a node key must be its own", ErrDenied, next)
	case good >= maxOverlapping:
		return nil, fmt.Errorf("%w: %d replaced keys of %s are still good; wait until %s", ErrDenied, good, m.Name, m.PreviousKeys[good-1].Until.Format(time.RFC3339))
	}
	keys := append([]trust.MemberKey{{Key: next}, {Key: who, Until: now.Add(time.Duration(a.opts.Config.RekeyOverlap))}}, m.PreviousKeys...)
	var forgotten []trust.MemberKey
	if len(keys) > maxMemberKeys {
		keys, forgotten = keys[:maxMemberKeys], keys[maxMemberKeys:]
	}
	text, err := trust.EncodeMember(trust.MemberValue{
		Name: m.GivenName, Role: m.Role, Labels: m.Labels, Keys: slices.Clip(keys),
		Joined: m.Joined, Invite: m.Invite, Addresses: m.Addresses,
	})
	if err != nil {
		return nil, err
	}
	docs := []*replicapb.Document{a.document(signer, trust.MemberDocument(next), text)}
	for _, k := range forgotten {
		// The documents of keys that nobody lists any more would pile up.
		docs = append(docs, a.tombstone(signer, trust.MemberDocument(k.Key)))
	}
	err = a.apply(ctx, change{
		actor: m.Name, action: "rekey", subject: m.Name, docs: docs,
		detail: fmt.Sprintf("node key %s replaces %s, which is good until %s", next, who, keys[1].Until.Format(time.RFC3339)),
	})
	if err != nil {
		return nil, err
	}
	fresh, ok := a.opts.Trust().MemberByKey(next)
	if !ok {
		return nil, fmt.Errorf("BUG: %s was written as %s's key and is not", next, m.Name)
	}
	return fresh, nil
}
