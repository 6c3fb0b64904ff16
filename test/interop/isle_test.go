package interop

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/enrol"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long tests wait for what must happen on a busy machine.
const patience = 30 * time.Second

// isle is an island's mesh, replica and authority, put together as package
// island does it.
type isle struct {
	*mesh.Mesh
	t         testing.TB
	home      *trust.Home
	documents *replica.Replica
	authority *enrol.Authority
	audit     *trust.Audit
	reg       *prometheus.Registry

	eval    *trust.Evaluator
	state   atomic.Pointer[trust.State]
	running atomic.Pointer[mesh.Mesh]
}

func logger(t testing.TB, island string) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})).With("island", island)
}

func (i *isle) Permit(d *replicapb.Document) error { return i.state.Load().Permit(d) }

func (i *isle) Learn(docs []*replicapb.Document) {
	state, _ := i.eval.Evaluate(docs)
	i.state.Store(state)
	if m := i.running.Load(); m != nil {
		m.TrustChanged()
	}
}

func (i *isle) Connected() []trust.Key { return i.running.Load().Connected() }

func (i *isle) Conn(k trust.Key) (grpc.ClientConnInterface, error) {
	return i.running.Load().Conn(k, rpc.Normal)
}

func caller(ctx context.Context) (trust.Key, bool, bool) {
	c, ok := rpc.CallerFrom(ctx)
	return c.Key, c.Quarantined, ok
}

// open makes the island of a home that is about to be enrolled in a network.
func open(t testing.TB, name string, home *trust.Home, network trust.NetworkID) *isle {
	t.Helper()
	i := &isle{t: t, home: home, eval: trust.NewEvaluator(network), reg: prometheus.NewRegistry()}
	state, _ := i.eval.Evaluate(nil)
	i.state.Store(state)
	log := logger(t, name)
	var err error
	i.documents, err = replica.New(replica.Options{
		Config: replica.Default(), Path: filepath.Join(t.TempDir(), "documents.db"), Network: network,
		Author: home.Node, Signer: home.Signer, Rights: i, Peers: i, Caller: caller,
		Announce: func(ctx context.Context, hint []byte) { _ = i.Announce(ctx, hint) }, // documents are compared in any case
		Logger:   log, Registerer: i.reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	if i.audit, err = trust.OpenAudit(filepath.Join(t.TempDir(), "audit.jsonl"), network, home.Node); err != nil {
		t.Fatal(err)
	}
	i.authority, err = enrol.NewAuthority(enrol.AuthorityOptions{
		Home: home, Documents: i.documents, Trust: i.state.Load, Log: i.audit, Logger: log, Registerer: i.reg,
		Bootstrap: func() []trust.Bootstrap { return i.Bootstrap(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// run starts an enrolled island.
func (i *isle) run(name string) *isle {
	t := i.t
	t.Helper()
	config := mesh.Default()
	config.Port, config.Addresses, config.Discovery.MDNS = 0, []string{"127.0.0.1"}, false
	node, err := mesh.New(mesh.Options{
		Config: config, Identity: i.home.Node(), Network: i.home.Network(), Trust: i.state.Load,
		Certificate: func() *trustpb.Certificate { return i.home.Certificate().Message() },
		ReplicaRoot: i.documents.Root, Redeem: i.authority.Redeem, Dir: i.home.Dir(), Version: "atoll interop",
		Logger: logger(t, name), Registerer: i.reg,
	})
	if err != nil {
		t.Fatal(err)
	}
	i.Mesh = node
	i.running.Store(node)
	i.serve()
	node.OnAnnounce(i.documents.Heard)
	node.OnConnected(i.documents.Connected)

	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{i.documents.Run, node.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("run %s: %v", name, err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := errors.Join(i.documents.Close(), i.audit.Close()); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
	})
	select {
	case <-node.Ready():
	case <-time.After(patience):
		t.Fatalf("%s does not listen after %s", name, patience)
	}
	return i
}

// serve registers what package island serves to every member.
func (i *isle) serve() {
	membership := enrol.NewServer(i.authority, func(ctx context.Context) (trust.Key, bool) {
		k, _, ok := caller(ctx)
		return k, ok
	})
	err := i.RegisterService(&meshpb.Membership_ServiceDesc, membership, map[string]rpc.Rule{
		meshpb.Membership_Renew_FullMethodName:  {AnyMember: true, Class: rpc.Urgent, Quarantined: true, Idempotent: true},
		meshpb.Membership_Redeem_FullMethodName: {AnyMember: true, Class: rpc.Urgent},
		meshpb.Membership_Rekey_FullMethodName:  {AnyMember: true, Class: rpc.Urgent, Idempotent: true},
	})
	r := registrar{i.Mesh, &err}
	i.documents.Register(r)
	if err != nil {
		i.t.Fatal(err)
	}
}

type registrar struct {
	node *mesh.Mesh
	err  *error
}

func (r registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	*r.err = errors.Join(*r.err, r.node.RegisterService(desc, impl, map[string]rpc.Rule{
		replicapb.Replica_Sync_FullMethodName: {AnyMember: true, Class: rpc.Normal, Quarantined: true},
	}))
}

func newHome(t testing.TB) *trust.Home {
	t.Helper()
	home, err := trust.OpenHome(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return home
}

// found makes a network and runs its first island.
func found(t testing.TB) *isle {
	t.Helper()
	home := newHome(t)
	var i *isle
	_, err := enrol.Init(t.Context(), enrol.InitOptions{
		Home: home, Network: "reef", Island: "first", Labels: map[string]string{"region": "north"},
		Seed: func(ctx context.Context, network trust.NetworkID, docs []*replicapb.Document) error {
			i = open(t, "first", home, network)
			return i.documents.Put(ctx, docs...)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return i.run("first")
}

// join brings in a further island by token, as `atoll join` does.
func join(t testing.TB, at *isle, name string) *isle {
	t.Helper()
	token := at.invite(enrol.InviteOptions{})
	home := newHome(t)
	var i *isle
	applicant, err := enrol.NewApplicant(enrol.ApplicantOptions{
		Home: home, Token: token, Name: name,
		Seed: func(ctx context.Context, network trust.NetworkID, docs []*replicapb.Document, peers []trust.Bootstrap) error {
			i = open(t, name, home, network)
			return errors.Join(i.documents.Put(ctx, docs...), mesh.Remember(home.Dir(), append(peers, token.Bootstrap...)))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := mesh.Knock(t.Context(), token, applicant.Request(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := applicant.Complete(t.Context(), answer); err != nil {
		t.Fatal(err)
	}
	return i.run(name)
}

func (i *isle) invite(o enrol.InviteOptions) trust.Token {
	i.t.Helper()
	token, _, err := i.authority.Invite(i.t.Context(), o)
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

// metric sums a counter's series that carry a label of this value.
func (i *isle) metric(name, value string) (sum float64) {
	i.t.Helper()
	families, err := i.reg.Gather()
	if err != nil {
		i.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetValue() == value {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

func (i *isle) name() string { return i.home.Certificate().Name }

// eventually polls, for real sockets do not know virtual time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not so after %s: %s", patience, what)
		}
	}
}
