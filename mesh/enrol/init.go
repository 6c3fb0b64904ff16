package enrol

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// InitOptions says what network to make, and where.
type InitOptions struct {
	Home *trust.Home
	// Network is the name of the network, for people.
	Network string
	// Island is the name of the first island.
	Island string
	Labels map[string]string
	// CertificateLifetime is Default's where 0.
	CertificateLifetime time.Duration
	// Seed keeps the documents where the island will find them when it starts. It
	// is called before Home.Enrol, so that there never is an island without them.
	Seed func(ctx context.Context, network trust.NetworkID, docs []*replicapb.Document) error
	// Record keeps an entry in the island's audit log; nil keeps none.
	Record Recorder
	// Now is time.Now where nil.
	Now func() time.Time
}

// Founding is a new network.
type Founding struct {
	Network trust.NetworkID
	// Recovery signs a new root when the root is lost. It is kept nowhere: print it
	// once, with FormatRecovery.
	Recovery trust.PrivateKey
	Node     trust.Key
	Signer   trust.Key
	Root     trust.Key
	// Documents are what was given to Seed: the first of every network.
	Documents []*replicapb.Document
}

type founders struct{ root, recovery, signer, node trust.PrivateKey }

// Init makes a network with this island as its first member, who can admit
// others. Nothing needs to run. On an error there is no network.
func Init(ctx context.Context, o InitOptions) (*Founding, error) {
	if o.Home.Enrolled() {
		return nil, fmt.Errorf("make network %s: this island is in network %s already; run atoll leave first", o.Network, o.Home.Network().Short())
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CertificateLifetime == 0 {
		o.CertificateLifetime = time.Duration(Default().CertificateLifetime)
	}
	var keys founders
	for _, k := range []*trust.PrivateKey{&keys.root, &keys.recovery, &keys.signer, &keys.node} {
		var err error
		if *k, err = trust.NewKey(); err != nil {
			return nil, fmt.Errorf("make network %s: %w", o.Network, err)
		}
	}
	f, err := found(ctx, o, keys)
	if err != nil {
		return nil, fmt.Errorf("make network %s: %w", o.Network, err)
	}
	return f, nil
}

func found(ctx context.Context, o InitOptions, keys founders) (*Founding, error) {
	now := o.Now().Round(0).UTC().Truncate(time.Millisecond)
	f := &Founding{
		Network: trust.NetworkOf(keys.root.Public()), Recovery: keys.recovery,
		Node: keys.node.Public(), Signer: keys.signer.Public(), Root: keys.root.Public(),
	}
	var err error
	if f.Documents, err = firstDocuments(o, keys, now); err != nil {
		return nil, err
	}
	certificate, err := trust.OpenCertificate(trust.Issue(keys.signer, trust.Certificate{
		Network: f.Network, Key: f.Node, Name: o.Island, Role: trust.RoleAdmin, Labels: o.Labels,
		Serial: trust.TimeOfDocument(now), NotBefore: now, NotAfter: now.Add(o.CertificateLifetime),
	}))
	if err != nil {
		return nil, err
	}
	// What Evaluate refuses here every island would refuse.
	if state, refusals := trust.Evaluate(f.Network, f.Documents); len(refusals) > 0 {
		return nil, fmt.Errorf("BUG: document %s: %s", refusals[0].Document.GetKey(), refusals[0].Reason)
	} else if err := state.CheckCertificate(certificate, f.Node, now); err != nil {
		return nil, err
	}
	if o.Seed != nil {
		if err := o.Seed(ctx, f.Network, f.Documents); err != nil {
			return nil, fmt.Errorf("keep first documents: %w", err)
		}
	}
	err = o.Record.record(f.Network, keys.node, trust.AuditEntry{
		TimeMs: now.UnixMilli(), Actor: o.Island, Action: "init", Subject: auditText(o.Network),
		Detail: fmt.Sprintf("root key %s, signer key %s, key %s", f.Root, f.Signer, f.Node),
	})
	if err != nil {
		return nil, err
	}
	err = o.Home.Enrol(trust.Enrolment{
		Network: f.Network, Node: keys.node, Signer: &keys.signer, Root: &keys.root, Certificate: certificate,
	})
	return f, err
}

func firstDocuments(o InitOptions, keys founders, now time.Time) ([]*replicapb.Document, error) {
	v, networkErr := trust.NewNetwork(o.Network, keys.root, keys.recovery.Public(), now)
	if networkErr != nil {
		return nil, networkErr
	}
	network, networkErr := trust.EncodeNetwork(v)
	signer, signerErr := trust.EncodeSigner(trust.SignerValue{Name: o.Island, Since: now})
	member, memberErr := trust.EncodeMember(trust.MemberValue{
		Name: o.Island, Role: trust.RoleAdmin, Labels: o.Labels, Keys: []trust.MemberKey{{Key: keys.node.Public()}}, Joined: now,
	})
	if err := errors.Join(networkErr, signerErr, memberErr); err != nil {
		return nil, err
	}
	tick := trust.TimeOfDocument(now)
	document := func(by trust.PrivateKey, key string, value []byte) *replicapb.Document {
		tick++
		return trust.NewDocument(v.ID, by, key, value, tick, false)
	}
	return []*replicapb.Document{
		document(keys.root, trust.NetworkDocument, network),
		document(keys.root, trust.SignerDocument(keys.signer.Public()), signer),
		document(keys.signer, trust.MemberDocument(keys.node.Public()), member),
		document(keys.signer, trust.PolicyDocument, policy.Default()),
	}, nil
}
