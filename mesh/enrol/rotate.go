package enrol

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// RotateOptions is what changing this island's node key takes. Home, Trust and
// Log are required.
type RotateOptions struct {
	Home  *trust.Home
	Trust func() *trust.State
	// Conns reaches other islands; Local signs here where this island holds a signer key.
	Conns Conns
	Local *Authority
	Log   Log
	// Now is time.Now where nil.
	Now func() time.Time
}

// NodeRotation says which key follows which. The old one stays good until its
// time, see trust.Member.
type NodeRotation struct{ Old, New trust.Key }

// RotateNode gives this island a new node key: it is kept on disk first, made
// known second and takes over third. Cut short anywhere, it is called again and
// goes on with the same key; both keys are good meanwhile. What uses the node
// key, the mesh above all, is to be restarted afterwards.
func RotateNode(ctx context.Context, o RotateOptions) (NodeRotation, error) {
	if o.Home == nil || o.Trust == nil || o.Log == nil {
		return NodeRotation{}, errors.New("BUG: enrol.RotateNode: Home, Trust and Log are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r, err := rotateNode(ctx, o)
	if err != nil {
		return r, fmt.Errorf("rotate node key: %w", err)
	}
	return r, nil
}

func rotateNode(ctx context.Context, o RotateOptions) (NodeRotation, error) {
	old := o.Home.Node()
	if old.IsZero() {
		return NodeRotation{}, trust.ErrNotEnrolled
	}
	next, err := stagedNode(o)
	if err != nil {
		return NodeRotation{}, err
	}
	res := NodeRotation{Old: old.Public(), New: next.Public()}
	reg := registrar{home: o.Home, trust: o.Trust, conns: o.Conns, local: o.Local}
	req := proveRekey(o.Home.Network(), res.Old, next)
	certificate, err := reg.certificate(ctx, res.New, ask{
		here: func(ctx context.Context, a *Authority) (*trustpb.Certificate, error) {
			return a.Rekey(ctx, res.Old, req)
		},
		there: func(ctx context.Context, m meshpb.MembershipClient) (*trustpb.Certificate, error) {
			answer, err := m.Rekey(ctx, req)
			return answer.GetCertificate(), err
		},
	})
	if err != nil {
		return res, err
	}
	// The key that kept the log so far names the one that goes on with it.
	for _, e := range []trust.AuditEntry{
		{TimeMs: o.Now().UnixMilli(), Actor: certificate.Name, Action: "rotate", Subject: "node key", Detail: fmt.Sprintf("%s replaces %s", res.New, res.Old)},
		{TimeMs: o.Now().UnixMilli(), Actor: res.Old.String(), Action: trust.AuditNewKey, Subject: res.New.String()},
	} {
		if _, err := o.Log.Append(e); err != nil {
			return res, fmt.Errorf("write audit log: %w", err)
		}
	}
	return res, o.Home.PromoteNode(certificate)
}

// stagedNode finds the key of an attempt that was cut short, or makes one.
func stagedNode(o RotateOptions) (trust.PrivateKey, error) {
	if k, ok := o.Home.NextNode(); ok {
		switch o.Trust().Standing(k.Public()) {
		case trust.Unknown, trust.MemberStanding:
			return k, nil
		}
		// A key that the network does not want is no use to anybody.
	}
	k, err := trust.NewKey()
	if err != nil {
		return k, err
	}
	return k, o.Home.StageNode(k)
}

// adoptOwn signs with the present node key what this island's earlier ones
// signed: a member document lists only so many keys, and what a key signed goes
// with it.
func (a *Authority) adoptOwn(ctx context.Context) error {
	m, ok := a.opts.Trust().MemberByKey(a.opts.Home.Node().Public())
	if !ok || m.Key != a.opts.Home.Node().Public() || len(m.PreviousKeys) == 0 {
		return nil
	}
	authors := map[trust.Key]bool{}
	for _, k := range m.PreviousKeys {
		authors[k.Key] = true
	}
	_, _, err := a.adopt(ctx, m.Name, authors, func(d *replicapb.Document) error {
		if trust.IsTrustKind(d.GetKey()) {
			return errors.New("is of trust, and not this island's to sign")
		}
		return nil
	})
	return err
}
