package replica

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rights is what an island does with trust.State.
type rights struct {
	network trust.NetworkID
	mu      sync.Mutex
	state   *trust.State
	learned int
}

func (g *rights) Learn(docs []*replicapb.Document) {
	s, _ := trust.Evaluate(g.network, docs)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state = s
	g.learned++
}

func (g *rights) Permit(d *replicapb.Document) error {
	g.mu.Lock()
	s := g.state
	g.mu.Unlock()
	return s.Permit(d)
}

// fleet is some islands of one network in one process.
type fleet struct {
	t       testing.TB
	network trust.NetworkID
	root    trust.PrivateKey
	signer  trust.PrivateKey
	genesis []*replicapb.Document
	nodes   []*isle
	delay   time.Duration
	traffic traffic

	mu   sync.Mutex
	side map[trust.Key]int // islands of different sides do not reach each other
}

type isle struct {
	*Replica
	f       *fleet
	name    string
	key     trust.PrivateKey
	rights  *rights
	health  *health.List
	path    string
	skew    time.Duration
	lis     *wireListener
	srv     *grpc.Server
	hints   atomic.Pointer[func(hint []byte)]
	standby bool // in quarantine

	mu    sync.Mutex
	conns map[trust.Key]*grpc.ClientConn
}

// keyOf makes the same key for the same name every time.
func keyOf(t testing.TB, name string) trust.PrivateKey {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	k, err := trust.FromSeed(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newFleet(t testing.TB, n int) *fleet {
	t.Helper()
	f := bareFleet(t)
	for i := range n {
		f.add(fmt.Sprintf("island%d", i), "island")
	}
	for _, x := range f.nodes {
		f.must(x.Put(t.Context(), f.genesis...))
	}
	return f
}

func bareFleet(t testing.TB) *fleet {
	f := &fleet{t: t, root: keyOf(t, "root"), signer: keyOf(t, "signer"), side: map[trust.Key]int{}}
	f.network = trust.NetworkOf(f.root.Public())
	v, err := trust.NewNetwork("test", f.root, trust.Key{}, time.Now().Add(time.Second))
	f.must(err)
	raw, err := trust.EncodeNetwork(v)
	f.must(err)
	f.genesis = append(f.genesis, f.sign(f.root, trust.NetworkDocument, raw, past()))
	raw, err = trust.EncodeSigner(trust.SignerValue{Name: "signer", Since: time.Now()})
	f.must(err)
	f.genesis = append(f.genesis, f.sign(f.root, trust.SignerDocument(f.signer.Public()), raw, past()))
	return f
}

// past is a document time before everything that tests write.
func past() uint64 { return hybrid(time.Now().Add(-time.Hour)) }

func (f *fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) sign(by trust.PrivateKey, key string, value []byte, time uint64) *replicapb.Document {
	return trust.NewDocument(f.network, by, key, value, time, false)
}

func (f *fleet) memberDoc(name, role string, key trust.PrivateKey, at uint64) *replicapb.Document {
	raw, err := trust.EncodeMember(trust.MemberValue{Name: name, Role: role, Keys: []trust.MemberKey{{Key: key.Public()}}, Joined: time.Now()})
	f.must(err)
	return f.sign(f.signer, trust.MemberDocument(key.Public()), raw, at)
}

func (f *fleet) revocation(of trust.Key, at uint64) *replicapb.Document {
	raw, err := trust.EncodeRevoked(trust.RevokedValue{Reason: "test", At: time.Now()})
	f.must(err)
	return f.sign(f.signer, trust.RevokedDocument(of), raw, at)
}

// add makes an island whose membership is among f.genesis.
func (f *fleet) add(name, role string, change ...func(*Options)) *isle {
	f.t.Helper()
	x := &isle{f: f, name: name, key: keyOf(f.t, name), path: filepath.Join(f.t.TempDir(), "replica.db"), conns: map[trust.Key]*grpc.ClientConn{}}
	f.genesis = append(f.genesis, f.memberDoc(name, role, x.key, past()))
	x.open(change...)
	f.nodes = append(f.nodes, x)
	f.t.Cleanup(x.stop)
	return x
}

func (x *isle) options() Options {
	x.rights = &rights{network: x.f.network}
	x.health = health.New(nil)
	return Options{
		Config: Default(), Path: x.path, Network: x.f.network, Author: func() trust.PrivateKey { return x.key },
		Rights: x.rights, Peers: peersOf{x}, Caller: x.caller, Health: x.health,
		Announce: func(_ context.Context, hint []byte) {
			if h := x.hints.Load(); h != nil {
				(*h)(hint)
			}
		},
		wall: func() time.Time { return time.Now().Add(x.skew) },
		bolt: boltOptions{noSync: true},
	}
}

func (x *isle) open(change ...func(*Options)) {
	x.f.t.Helper()
	o := x.options()
	for _, c := range change {
		c(&o)
	}
	r, err := New(o)
	x.f.must(err)
	x.Replica = r
	x.lis, x.srv = newWireListener(), grpc.NewServer()
	r.Register(x.srv)
	go x.srv.Serve(x.lis)
}

func (x *isle) stop() {
	x.hangUp()
	x.srv.Stop()
	x.Close()
}

func (x *isle) hangUp() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.conns {
		c.Close()
	}
	clear(x.conns)
}

func (x *isle) caller(ctx context.Context) (trust.Key, bool, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return trust.Key{}, false, false
	}
	key, err := trust.ParseKey(p.Addr.String())
	if err != nil {
		return trust.Key{}, false, false
	}
	other := x.f.node(key)
	return key, other != nil && other.standby, other != nil
}

func (f *fleet) node(key trust.Key) *isle {
	i := slices.IndexFunc(f.nodes, func(x *isle) bool { return x.key.Public() == key })
	if i < 0 {
		return nil
	}
	return f.nodes[i]
}

func (f *fleet) reach(a, b trust.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.side[a] == f.side[b]
}

// cut puts the islands from i on to the other side; len(nodes) heals the cut.
func (f *fleet) cut(i int) {
	f.mu.Lock()
	for j, x := range f.nodes {
		f.side[x.key.Public()] = 0
		if j >= i {
			f.side[x.key.Public()] = 1
		}
	}
	f.mu.Unlock()
	for _, x := range f.nodes {
		x.hangUp()
	}
}

func (p peersOf) Connected() (out []trust.Key) {
	x := p.isle
	for _, y := range x.f.nodes {
		if y != x && x.f.reach(x.key.Public(), y.key.Public()) {
			out = append(out, y.key.Public())
		}
	}
	return out
}

// peersOf is the node's Peers.
type peersOf struct{ *isle }

func (p peersOf) Conn(to trust.Key) (grpc.ClientConnInterface, error) {
	x := p.isle
	y := x.f.node(to)
	if y == nil || !x.f.reach(x.key.Public(), to) {
		return nil, errors.New("not connected")
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.conns[to]; c != nil {
		return c, nil
	}
	c, err := grpc.NewClient("passthrough:///"+y.name, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(y.accept(x.key.Public().String())))
	if err == nil {
		x.conns[to] = c
	}
	return c, err
}

func (x *isle) accept(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		return x.lis.dial(ctx, from, x.f.delay, &x.f.traffic)
	}
}

func (x *isle) sync(y *isle) SyncResult {
	x.f.t.Helper()
	res, err := x.Sync(x.f.t.Context(), y.key.Public())
	x.f.must(err)
	return res
}

func (x *isle) set(key, value string) *replicapb.Document {
	x.f.t.Helper()
	d, err := x.Set(x.f.t.Context(), key, []byte(value), 0)
	x.f.must(err)
	return d
}

func (x *isle) value(key string) string {
	d, err := x.Get(key)
	if err != nil {
		return ""
	}
	return string(d.GetValue())
}

// warned reports whether a health warning holds.
func (x *isle) warned(code string) bool {
	return slices.ContainsFunc(x.health.Active(), func(a health.Active) bool { return a.Code == code })
}

// eventually polls until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("within 20 s not seen: %s", what)
		}
		<-tick.C
	}
}

func contextOf(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func (g *rights) standing(k trust.Key) trust.Standing {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.Standing(k)
}
