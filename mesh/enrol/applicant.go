package enrol

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// ErrJoined is in the error of joining a network that this island is in already.
var ErrJoined = errors.New("this island is in that network already")

// ErrRefused is in every error of a guest that the network does not want.
var ErrRefused = errors.New("the network refused")

// ErrClock is in every error that comes of clocks that differ too much.
var ErrClock = errors.New("the clocks differ")

// ApplicantOptions is what joining takes. Home, Token and Seed are required.
type ApplicantOptions struct {
	Home  *trust.Home
	Token trust.Token
	// Name that this island would like; empty takes the invitation's.
	Name   string
	Labels map[string]string
	// Seed keeps verified documents, and islands to connect to first, where the
	// island will find them when it starts. It is called before Home.Enrol and
	// again when a join that was cut short is repeated.
	Seed func(ctx context.Context, network trust.NetworkID, docs []*replicapb.Document, peers []trust.Bootstrap) error
	// Record keeps an entry in the island's audit log; nil keeps none.
	Record Recorder
	// Now is time.Now where nil.
	Now func() time.Time
}

// Recorder writes an entry, signed by node, into the audit log that an island
// will have in network. It is called before the island is enrolled, and again
// where that was cut short.
type Recorder func(network trust.NetworkID, node trust.PrivateKey, e trust.AuditEntry) error

func (r Recorder) record(network trust.NetworkID, node trust.PrivateKey, e trust.AuditEntry) error {
	if r == nil {
		return nil
	}
	if err := r(network, node, e); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	return nil
}

// Applicant is the guest's side of joining. Its keys are on disk before anybody
// hears of them, so that a join that was cut short goes on with the same ones.
type Applicant struct {
	opts   ApplicantOptions
	node   trust.PrivateKey
	signer *trust.PrivateKey
}

// Joined is a membership.
type Joined struct {
	Network     trust.NetworkID
	NetworkName string
	Member      *trust.Member
	// Signer is the key of an island of role admin; SignerTrusted is unset while no
	// root has said that it may sign.
	Signer        trust.Key
	SignerTrusted bool
	Documents     []*replicapb.Document
	// Peers are islands to connect to first.
	Peers []trust.Bootstrap
}

// NewApplicant makes or finds the keys for a join.
func NewApplicant(o ApplicantOptions) (*Applicant, error) {
	if o.Home == nil || o.Seed == nil || o.Token.Network.IsZero() {
		return nil, errors.New("BUG: enrol.NewApplicant: Home, Token and Seed are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Applicant{opts: o}
	if o.Home.Enrolled() {
		if o.Home.Network() != o.Token.Network {
			return nil, fmt.Errorf("join network %s: this island is in network %s; run atoll leave first", o.Token.Network.Short(), o.Home.Network().Short())
		}
		// Cut short after the last step: only tidying up was left to do.
		return nil, errors.Join(fmt.Errorf("join network %s: %w", o.Token.Network.Short(), ErrJoined), a.tidy())
	}
	var err error
	if a.node, err = findOrMake(a.path("node")); err != nil {
		return nil, fmt.Errorf("join network %s: %w", o.Token.Network.Short(), err)
	}
	if o.Token.Role == trust.RoleAdmin {
		k, err := findOrMake(a.path("signer"))
		if err != nil {
			return nil, fmt.Errorf("join network %s: %w", o.Token.Network.Short(), err)
		}
		a.signer = &k
	}
	return a, nil
}

// path is of a key that waits for its membership. It names the network, so that
// what was begun with one is not ended with another.
func (a *Applicant) path(what string) string {
	return filepath.Join(a.opts.Home.Dir(), fmt.Sprintf("joining-%s-%s.pem", a.opts.Token.Network.Short(), what))
}

func findOrMake(path string) (trust.PrivateKey, error) {
	k, err := trust.LoadKey(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if k, err = trust.NewKey(); err != nil {
		return k, err
	}
	return k, trust.SaveKey(path, k)
}

func (a *Applicant) tidy() error {
	var errs []error
	for _, what := range []string{"node", "signer"} {
		if err := os.Remove(a.path(what)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove key that is kept elsewhere now: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Request is what to say to the island at the door.
func (a *Applicant) Request() *meshpb.JoinRequest {
	req := &meshpb.JoinRequest{
		NodeKey: a.node.Public().Bytes(), Name: a.opts.Name, Labels: a.opts.Labels, Version: wire.Version,
	}
	if a.signer != nil {
		req.SignerKey = a.signer.Public().Bytes()
	}
	proveJoin(a.opts.Token.Network, a.opts.Token.Guest(), a.node, a.signer, req)
	return req
}

// Complete checks the answer from top to bottom and makes this island a member,
// wholly or not at all. An error that is ErrRefused or ErrClock needs a person;
// after any other the same token may be used again.
func (a *Applicant) Complete(ctx context.Context, res *meshpb.JoinResponse) (*Joined, error) {
	j, err := a.complete(ctx, res)
	if err != nil {
		return nil, fmt.Errorf("join network %s: %w", a.opts.Token.Network.Short(), err)
	}
	return j, nil
}

func (a *Applicant) complete(ctx context.Context, res *meshpb.JoinResponse) (*Joined, error) {
	if err := a.checkClock(res.GetSignerTimeMs()); err != nil {
		return nil, err
	}
	if no := res.GetRefusal(); no != "" {
		return nil, fmt.Errorf("%w: %s", ErrRefused, printable(no))
	}
	certificate, j, err := a.verify(res)
	if err != nil {
		return nil, fmt.Errorf("check the answer: %w", err)
	}
	if err := a.opts.Seed(ctx, j.Network, j.Documents, j.Peers); err != nil {
		return nil, fmt.Errorf("keep documents: %w", err)
	}
	m := j.Member
	err = a.opts.Record.record(j.Network, a.node, trust.AuditEntry{
		TimeMs: a.opts.Now().UnixMilli(), Actor: m.Name, Action: "join", Subject: auditText(j.NetworkName),
		Detail: fmt.Sprintf("role %s, key %s, invitation %s, admitted by signer %s", m.Role, m.Key, m.Invite, m.Signer),
	})
	if err != nil {
		return nil, err
	}
	err = a.opts.Home.Enrol(trust.Enrolment{Network: j.Network, Node: a.node, Signer: a.signer, Certificate: certificate})
	if err != nil {
		return nil, err
	}
	return j, a.tidy()
}

// checkClock speaks of the clock before anything else does: whatever else is
// wrong with an answer that seems to come from another time, this is why.
func (a *Applicant) checkClock(theirsMs int64) error {
	if theirsMs == 0 {
		return nil
	}
	skew := a.opts.Now().Sub(time.UnixMilli(theirsMs))
	side := "ahead of"
	if skew < 0 {
		skew, side = -skew, "behind"
	}
	if skew <= trust.ClockTolerance {
		return nil
	}
	return fmt.Errorf("%w: this machine's is %s %s the network's, at most %s is allowed; set it (timedatectl set-ntp true) and join again with the same token",
		ErrClock, skew.Round(time.Second), side, trust.ClockTolerance)
}

const (
	// maxJoinDocuments bounds the signatures that an answer can make us verify.
	maxJoinDocuments = 10_000
	maxRefusal       = 2000
	maxPeers         = 64
)

func (a *Applicant) verify(res *meshpb.JoinResponse) (*trust.Certificate, *Joined, error) {
	network := a.opts.Token.Network
	if n := len(res.GetDocuments()); n == 0 || n > maxJoinDocuments {
		return nil, nil, fmt.Errorf("documents: %d of them, must be 1 to %d", n, maxJoinDocuments)
	}
	for _, d := range res.GetDocuments() {
		if !trust.IsTrustKind(d.GetKey()) {
			return nil, nil, fmt.Errorf("document %.80q: is not of trust; it comes later, from peers", d.GetKey())
		}
		if err := trust.VerifyDocument(network, d); err != nil {
			return nil, nil, err
		}
	}
	state, refusals := trust.Evaluate(network, res.GetDocuments())
	if _, ok := state.NetworkValue(); !ok {
		return nil, nil, fmt.Errorf("no %s whose chain of roots begins with the token's network%s", trust.NetworkDocument, because(refusals))
	}
	m, ok := state.MemberByKey(a.node.Public())
	if !ok || m.Key != a.node.Public() {
		return nil, nil, fmt.Errorf("no valid document makes this island's key %s a member (it is %s)%s", a.node.Public(), state.Standing(a.node.Public()), because(refusals))
	}
	certificate, err := a.verifyCertificate(state, m, res.GetCertificate())
	if err != nil {
		return nil, nil, err
	}
	if role := a.opts.Token.Role; role != "" && m.Role != role {
		return nil, nil, fmt.Errorf("role: %s was given, the token is for %s", m.Role, role)
	}
	j := &Joined{
		Network: network, NetworkName: state.NetworkName(), Member: m,
		Documents: valid(res.GetDocuments(), refusals), Peers: bootstraps(res.GetPeers()),
	}
	if a.signer != nil {
		j.Signer = a.signer.Public()
		j.SignerTrusted = state.IsSigner(j.Signer)
	}
	return certificate, j, nil
}

func (a *Applicant) verifyCertificate(state *trust.State, m *trust.Member, message *trustpb.Certificate) (*trust.Certificate, error) {
	c, err := trust.OpenCertificate(message)
	if err != nil {
		return nil, err
	}
	if err := state.CheckCertificate(c, a.node.Public(), a.opts.Now()); err != nil {
		return nil, err
	}
	if c.Name != m.GivenName || c.Role != m.Role {
		return nil, fmt.Errorf("certificate: is for %s of role %s, the member document for %s of role %s", c.Name, c.Role, m.GivenName, m.Role)
	}
	return c, nil
}

func because(refusals []trust.Refusal) string {
	if len(refusals) == 0 {
		return ""
	}
	return fmt.Sprintf("; document %s is void: %s", refusals[0].Document.GetKey(), refusals[0].Reason)
}

// valid leaves out what is void already: only the rest is worth keeping.
func valid(docs []*replicapb.Document, refusals []trust.Refusal) []*replicapb.Document {
	void := make(map[*replicapb.Document]bool, len(refusals))
	for _, r := range refusals {
		void[r.Document] = true
	}
	out := make([]*replicapb.Document, 0, len(docs))
	for _, d := range docs {
		if !void[d] {
			out = append(out, d)
		}
	}
	return out
}

// bootstraps passes over what cannot be: peers only save time, their keys are
// checked against the roster before they are dialled.
func bootstraps(messages []*trustpb.Bootstrap) []trust.Bootstrap {
	var out []trust.Bootstrap
	for _, m := range messages[:min(len(messages), maxPeers)] {
		if k, err := trust.KeyOf(m.GetKey()); err == nil && len(m.GetAddresses()) <= trust.MaxAddresses {
			out = append(out, trust.Bootstrap{Key: k, Addresses: m.GetAddresses()})
		}
	}
	return out
}
