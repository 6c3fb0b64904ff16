package mesh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// replayed is the document of which the traitor holds an older version.
const replayed = "owner/replayed"

// maxAnnounced is the largest announcement that an island lets go out.
const maxAnnounced = 8 << 10

// traitor is a member that keeps to the protocol and to nothing else: whatever is
// signed by anybody it takes for good, keeps, announces and offers to others.
type traitor struct {
	home  *trust.Home
	state atomic.Pointer[trust.State]
	docs  *replica.Replica
	mesh  *mesh.Mesh
}

// Permit implements replica.Rights.
func (*traitor) Permit(*replicapb.Document) error { return nil }

// Learn implements replica.Rights; the roster is the one it had at the start.
func (tr *traitor) Learn(docs []*replicapb.Document) {
	if tr.state.Load() == nil {
		s, _ := trust.Evaluate(tr.home.Network(), docs)
		tr.state.Store(s)
	}
}

// Connected implements replica.Peers.
func (tr *traitor) Connected() []trust.Key { return tr.mesh.Connected() }

// Conn implements replica.Peers.
func (tr *traitor) Conn(k trust.Key) (grpc.ClientConnInterface, error) {
	return tr.mesh.Conn(k, rpc.Normal)
}

// RegisterService implements grpc.ServiceRegistrar for the replica's service.
func (tr *traitor) RegisterService(desc *grpc.ServiceDesc, impl any) {
	rules := map[string]rpc.Rule{replicapb.Replica_Sync_FullMethodName: {AnyMember: true, Class: rpc.Normal, Quarantined: true}}
	if err := tr.mesh.RegisterService(desc, impl, rules); err != nil {
		panic(err)
	}
}

// newTraitor comes with what an island that has stopped left on its disk, and runs
// until the test ends. What is in services is called before it runs.
func newTraitor(t *testing.T, data string, services ...func(*mesh.Mesh) error) *traitor {
	t.Helper()
	return newTraitorOver(t, data, mesh.Default().Transports, services...)
}

// newTraitorOver is newTraitor with the transports that it speaks.
func newTraitorOver(t *testing.T, data string, transports []string, services ...func(*mesh.Mesh) error) *traitor {
	t.Helper()
	tr := &traitor{}
	var err error
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tr.home, err = trust.OpenHome(filepath.Join(data, "mesh"))
	ok(err)
	tr.docs, err = replica.New(replica.Options{
		Config: replica.Default(), Path: filepath.Join(data, "replica", "documents.db"), Network: tr.home.Network(),
		Rights: tr, Peers: tr, Author: tr.home.Node,
		Caller: func(ctx context.Context) (trust.Key, bool, bool) {
			c, ok := rpc.CallerFrom(ctx)
			return c.Key, c.Quarantined, ok
		},
		Announce:   func(ctx context.Context, hint []byte) { _ = tr.mesh.Announce(ctx, hint) }, // a lost one is offered again
		Registerer: prometheus.NewRegistry(),
	})
	ok(err)
	t.Cleanup(func() { _ = tr.docs.Close() })
	config := mesh.Default()
	config.Discovery.MDNS = false
	config.Transports = transports
	tr.mesh, err = mesh.New(mesh.Options{
		Config: config, Identity: tr.home.Node(), Network: tr.home.Network(), Trust: tr.state.Load,
		Certificate: func() *trustpb.Certificate { return tr.home.Certificate().Message() }, ReplicaRoot: tr.docs.Root,
		Redeem: func(context.Context, trust.Key, *meshpb.JoinRequest) (*meshpb.JoinResponse, error) {
			return nil, errors.New("a traitor admits nobody")
		},
		Dir: tr.home.Dir(), Version: "traitor", Registerer: prometheus.NewRegistry(),
	})
	ok(err)
	tr.docs.Register(tr)
	for _, register := range services {
		ok(register(tr.mesh))
	}
	tr.mesh.OnConnected(tr.docs.Connected)
	for _, run := range []func(context.Context) error{tr.mesh.Run, tr.docs.Run} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	return tr
}

// forge spreads documents that a member has no right to write, by every way there
// is: its own replica takes, announces and offers them, and each is pushed by hand.
func (a attack) forge(t *testing.T, got *loot) {
	tr := newTraitor(t, a.Data)
	target, err := trust.ParseKey(a.Target)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the traitor is connected", func() error {
		for _, k := range tr.Connected() {
			if k == target {
				return nil
			}
		}
		return errors.New("it is not")
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, d := range tr.forgeries(t, target) {
		got.Tried++
		outcome, stored := tr.push(ctx, t, target, d)
		got.Outcomes = append(got.Outcomes, name+": "+outcome)
		if stored {
			got.Allowed = append(got.Allowed, name)
		}
		hint, err := proto.Marshal(&replicapb.Hint{Documents: []*replicapb.Document{d}})
		if err == nil && len(hint) <= maxAnnounced {
			err = tr.mesh.Announce(ctx, hint)
		}
		if err != nil {
			t.Errorf("announce %s: %v", name, err)
		}
		// It has lower standards, but for signatures.
		if err := tr.docs.Put(ctx, d); err == nil {
			got.Offered++
		}
	}
	res, err := tr.docs.Sync(ctx, target)
	got.Outcomes = append(got.Outcomes, fmt.Sprintf("compared: %+v %v", res, err))
	if res.Pushed > 0 {
		got.Allowed = append(got.Allowed, fmt.Sprintf("%d documents by comparison", res.Pushed))
	}
	wait(t, 2*time.Second) // for what was announced to be there
}

// forgeries are documents that nobody may believe.
func (tr *traitor) forgeries(t *testing.T, target trust.Key) map[string]*replicapb.Document {
	network, self, now := tr.home.Network(), tr.home.Node(), trust.TimeOfDocument(time.Now())
	text := func(value []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	key, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	guest := key.Public()
	mine := func(key string, value []byte) *replicapb.Document {
		return trust.NewDocument(network, self, key, value, now, false)
	}
	by := func(author trust.Key, d *replicapb.Document) *replicapb.Document {
		d.Author = author.Bytes()
		return d
	}
	member := trust.MemberValue{Name: "traitor", Role: trust.RoleAdmin, Keys: []trust.MemberKey{{Key: self.Public()}}, Joined: time.Now().UTC().Truncate(time.Millisecond)}
	held, err := tr.docs.Get(replayed)
	if err != nil {
		t.Fatal(err)
	}
	older := tr.docs.History(replayed)
	if len(older) == 0 {
		t.Fatalf("the traitor holds no older version of %s", replayed)
	}
	changed := proto.CloneOf(held)
	changed.Value, changed.Time = []byte("team: traitor\n"), now
	networkNow, err := tr.docs.Get(trust.NetworkDocument)
	if err != nil {
		t.Fatal(err)
	}
	signer := tr.state.Load().Signers()[0].Key
	memberText := text(trust.EncodeMember(member))
	return map[string]*replicapb.Document{
		"itself as an admin":                mine(trust.MemberDocument(self.Public()), memberText),
		"itself as an admin, as the signer": by(signer, mine(trust.MemberDocument(self.Public()), memberText)),
		"another member":                    mine(trust.MemberDocument(guest), text(trust.EncodeMember(trust.MemberValue{Name: "friend", Role: trust.RoleIsland, Keys: []trust.MemberKey{{Key: guest}}, Joined: member.Joined}))),
		"itself as a signer":                mine(trust.SignerDocument(self.Public()), text(trust.EncodeSigner(trust.SignerValue{Name: "traitor", Since: member.Joined}))),
		"a revocation":                      mine(trust.RevokedDocument(target), text(trust.EncodeRevoked(trust.RevokedValue{Name: "target", Reason: "malice", At: member.Joined}))),
		"an invitation": mine(trust.InviteDocument(guest), text(trust.EncodeInvite(trust.InviteValue{Role: trust.RoleAdmin, Uses: 9,
			Expires: member.Joined.Add(time.Hour), Issuer: self.Public(), Created: member.Joined}))),
		"a policy":               mine(trust.PolicyDocument, []byte("permit (principal, action, resource);\n")),
		"the chain of roots":     mine(trust.NetworkDocument, networkNow.GetValue()),
		"a kind nobody gave it":  mine("secret/plan", []byte("a: b\n")),
		"the farewell of others": mine("left/"+target.String(), text(trust.EncodeLeft(trust.LeftValue{At: member.Joined}))),
		"a value changed":        changed,
		"by another member":      by(target, mine("owner/forged", []byte("team: traitor\n"))),
		"an older version":       older[len(older)-1],
		"of next week":           trust.NewDocument(network, self, "owner/future", []byte("team: traitor\n"), trust.TimeOfDocument(time.Now().Add(7*24*time.Hour)), false),
		"too large":              mine("owner/large", bytes.Repeat([]byte("a"), trust.MaxDocumentValue+1)),
	}
}

// push offers one document within a comparison, without asking first.
func (tr *traitor) push(ctx context.Context, t *testing.T, to trust.Key, d *replicapb.Document) (outcome string, stored bool) {
	t.Helper()
	conn, err := tr.Conn(to)
	if err != nil {
		t.Fatal(err)
	}
	s, err := replicapb.NewReplicaClient(conn).Sync(ctx)
	if err != nil {
		return err.Error(), false
	}
	defer func() { _ = s.CloseSend() }()
	raw, err := proto.Marshal(&replicapb.Documents{Documents: []*replicapb.Document{d}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&replicapb.SyncRequest{Request: &replicapb.SyncRequest_Push{Push: &replicapb.Batch{Plain: raw}}}); err != nil {
		return err.Error(), false
	}
	res, err := s.Recv()
	if err != nil {
		if code := status.Code(err); code != codes.InvalidArgument && code != codes.ResourceExhausted {
			t.Errorf("pushing a document ended with %v", err)
		}
		return err.Error(), false
	}
	n := res.GetStored()
	return fmt.Sprintf("stored %d, known %d, refused %d", n.GetStored(), n.GetKnown(), len(n.GetRefused())/8), n.GetStored() > 0
}
