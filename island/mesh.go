package island

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"

	common "github.com/atoll-mesh/atoll/alert/global"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/enrol"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/mesh/witness"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// running is what a membership starts once it is built.
type running struct {
	mesh    *mesh.Mesh
	renewer *enrol.Renewer
	witness *witness.Witness
	common  *common.Evaluator
	alerts  sharedAlerts
	// share is nil for who does not aggregate with others.
	share func(context.Context) error
}

// build makes the mesh and what serves on it; nothing runs yet.
func (m *membership) build() (err error) {
	i := m.island
	lease, end := i.health.Lease()
	before := m.endHealth
	m.endHealth = func() { end(); before() }
	node, err := mesh.New(mesh.Options{
		Config: i.Config().Mesh, Identity: m.home.Node(), Network: m.home.Network(),
		Trust: m.state.Load, Certificate: func() *trustpb.Certificate { return m.home.Certificate().Message() },
		ReplicaRoot: m.documents.Root, Redeem: m.authority.Redeem, Dir: m.home.Dir(),
		Word: m.word, Hear: m.hear,
		Version: "atoll " + i.opts.Version, Logger: i.room("mesh"), Registerer: m.registry, Health: lease,
	})
	if err != nil {
		return err
	}
	m.run.mesh = node
	m.run.renewer, err = enrol.NewRenewer(enrol.RenewerOptions{
		Home: m.home, Trust: m.state.Load, Conns: m.conn, Local: m.authority, Changed: node.CertificateChanged,
		Logger: m.log, Registerer: m.registry, Health: lease,
	})
	if err != nil {
		return err
	}
	m.run.witness, err = witness.New(witness.Options{
		Config: i.Config().Witness, Self: m.home.Node().Public(), Members: m.watched,
		Probe: node.Look, Ask: m.askWitness, Publish: m.publish, Withdraw: m.withdraw, Caller: callerKey,
		Logger: i.room("witness"), Registerer: m.registry, Health: lease,
	})
	if err != nil {
		return err
	}
	if err := m.serve(node); err != nil {
		return fmt.Errorf("register the mesh's services: %w", err)
	}
	m.listen(node)
	if m.run.share, err = m.enterAggregation(lease); err != nil {
		return err
	}
	if err := m.buildCommon(lease); err != nil {
		return err
	}
	m.mesh.Store(node)
	return nil
}

// serve registers what other islands may call.
func (m *membership) serve(node *mesh.Mesh) error {
	membership := enrol.NewServer(m.authority, callerKey)
	return errors.Join(
		node.RegisterService(&meshpb.Membership_ServiceDesc, membership, map[string]rpc.Rule{
			meshpb.Membership_Renew_FullMethodName:  {AnyMember: true, Class: rpc.Urgent, Quarantined: true, Idempotent: true},
			meshpb.Membership_Redeem_FullMethodName: {AnyMember: true, Class: rpc.Urgent},
			meshpb.Membership_Rekey_FullMethodName:  {AnyMember: true, Class: rpc.Urgent, Idempotent: true},
		}),
		node.RegisterService(&meshpb.Witness_ServiceDesc, m.run.witness, map[string]rpc.Rule{
			meshpb.Witness_Look_FullMethodName: {AnyMember: true, Class: rpc.Urgent, Idempotent: true},
		}),
		m.serveDocuments(node),
		m.servePartials(node),
		m.serveQueries(node),
		m.serveCopies(node),
		m.serveVotes(node),
		m.serveRuns(node),
		m.serveEvidence(node),
		m.serveSearches(node),
	)
}

// registrar takes one service whose description its room keeps to itself.
type registrar struct {
	node  *mesh.Mesh
	rules map[string]rpc.Rule
	err   error
}

// RegisterService implements grpc.ServiceRegistrar.
func (r *registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	r.err = errors.Join(r.err, r.node.RegisterService(desc, impl, r.rules))
}

func (m *membership) serveDocuments(node *mesh.Mesh) error {
	r := &registrar{node: node, rules: map[string]rpc.Rule{
		replicapb.Replica_Sync_FullMethodName: {AnyMember: true, Class: rpc.Normal, Quarantined: true},
	}}
	m.documents.Register(r)
	return r.err
}

// listen hands what the mesh hears to those who act on it.
func (m *membership) listen(node *mesh.Mesh) {
	node.OnAnnounce(m.documents.Heard)
	node.OnConnected(func(peer trust.Key) {
		m.documents.Connected(peer)
		m.run.renewer.Wake()
		m.run.witness.Connected(peer)
		m.island.getRooms().replicate.Connected()
	})
	node.OnDisconnected(m.run.witness.Disconnected)
	m.listenForEvents(node)
}

// start runs everything; stop order is the reverse.
func (m *membership) start() {
	i := m.island
	i.steps.start("replica", m.documents.Run)
	i.steps.start("mesh", m.run.mesh.Run)
	i.steps.start("renewal", m.run.renewer.Run)
	i.steps.start("trust", m.follow)
	i.steps.start("witness", m.run.witness.Run)
	if m.run.share != nil {
		i.steps.start("share", m.run.share)
	}
	i.steps.start("shared", m.applyShared)
	i.steps.start("silences", m.shareSilences)
	i.steps.start("primary", m.runCommon)
	i.steps.start("copies", m.tellCopies)
	i.steps.start("tidings", m.tellDocuments)
}

// watched lists who the witness watches over.
func (m *membership) watched() []witness.Member {
	members := m.state.Load().Members()
	out := make([]witness.Member, len(members))
	for n, member := range members {
		out[n] = witness.Member{Key: member.Key, Name: member.Name, Region: member.Labels["region"]}
	}
	return out
}

func (m *membership) askWitness(ctx context.Context, via, target trust.Key) (*meshpb.LookResponse, error) {
	conn, err := m.run.mesh.Conn(via, rpc.Urgent)
	if err != nil {
		return nil, err
	}
	return meshpb.NewWitnessClient(conn).Look(ctx, &meshpb.LookRequest{Key: target.Bytes()})
}

// statementKey is the document that says what is wrong with an island.
func statementKey(target trust.Key) string { return "statement/" + target.String() }

func (m *membership) publish(ctx context.Context, s witness.Statement) error {
	text, err := witness.EncodeStatement(s)
	if err != nil {
		return err
	}
	_, err = m.documents.Set(ctx, statementKey(s.Target), text, 0)
	return err
}

func (m *membership) withdraw(ctx context.Context, target trust.Key) error {
	_, err := m.documents.Delete(ctx, statementKey(target), 0)
	if errors.Is(err, replica.ErrNotFound) {
		return nil
	}
	return err
}
