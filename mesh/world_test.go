package mesh

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long tests wait for what must happen on a busy machine.
const patience = 20 * time.Second

func key(name string) trust.PrivateKey {
	seed := sha256.Sum256([]byte("mesh test key " + name))
	k, err := trust.FromSeed(seed[:])
	if err != nil {
		panic(err)
	}
	return k
}

// world is a network's documents, which all its islands read.
type world struct {
	t       testing.TB
	network trust.NetworkID
	start   time.Time

	mu    sync.Mutex
	docs  map[string]*replicapb.Document
	clock uint64
	state atomic.Pointer[trust.State]
	all   []*island
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, network: trust.NetworkOf(key("root").Public()), start: time.Now().Add(-time.Hour), docs: map[string]*replicapb.Document{}}
	v, err := trust.NewNetwork("reef", key("root"), trust.Key{}, w.start)
	w.put("root", trust.NetworkDocument, must(t, err, func() ([]byte, error) { return trust.EncodeNetwork(v) }))
	w.put("root", trust.SignerDocument(key("signer").Public()), must(t, nil, func() ([]byte, error) {
		return trust.EncodeSigner(trust.SignerValue{Name: "first", Since: w.start})
	}))
	return w
}

func must(t testing.TB, err error, f func() ([]byte, error)) []byte {
	t.Helper()
	b, err2 := f()
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	return b
}

// put signs a document and evaluates all of them.
func (w *world) put(author, name string, value []byte) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	w.docs[name] = trust.NewDocument(w.network, key(author), name, value, trust.TimeOfDocument(w.start.Add(time.Duration(w.clock)*time.Second)), false)
	docs := make([]*replicapb.Document, 0, len(w.docs))
	for _, d := range w.docs {
		docs = append(docs, d)
	}
	state, refusals := trust.Evaluate(w.network, docs)
	for _, r := range refusals {
		w.t.Fatalf("document %s: %s", r.Document.GetKey(), r.Reason)
	}
	w.state.Store(state)
}

func (w *world) admit(names ...string) {
	w.t.Helper()
	for _, name := range names {
		k := key(name).Public()
		w.put("signer", trust.MemberDocument(k), must(w.t, nil, func() ([]byte, error) {
			return trust.EncodeMember(trust.MemberValue{Name: name, Role: trust.RoleIsland, Labels: map[string]string{"region": "north"},
				Keys: []trust.MemberKey{{Key: k}}, Joined: w.start})
		}))
	}
}

func (w *world) revoke(name, reason string) {
	w.t.Helper()
	w.put("signer", trust.RevokedDocument(key(name).Public()), must(w.t, nil, func() ([]byte, error) {
		return trust.EncodeRevoked(trust.RevokedValue{Name: name, Reason: reason, At: time.Now()})
	}))
}

func (w *world) invite(guest string) {
	w.t.Helper()
	w.put("signer", trust.InviteDocument(key(guest).Public()), must(w.t, nil, func() ([]byte, error) {
		return trust.EncodeInvite(trust.InviteValue{Role: trust.RoleIsland, Uses: 1, Expires: time.Now().Add(time.Hour),
			Issuer: key("signer").Public(), Created: time.Now()})
	}))
}

// certify returns a certificate that ends in life.
func (w *world) certify(name string, life time.Duration) *trustpb.Certificate {
	return trust.Issue(key("signer"), trust.Certificate{Network: w.network, Key: key(name).Public(), Name: name, Role: trust.RoleIsland,
		Serial: uint64(time.Now().UnixNano()), NotBefore: time.Now().Add(life - 72*time.Hour), NotAfter: time.Now().Add(life)})
}

// island is a mesh that runs.
type island struct {
	*Mesh
	name        string
	reg         *prometheus.Registry
	certificate atomic.Pointer[trustpb.Certificate]
	stop        func()
}

// prepare makes an island that does not run yet.
func (w *world) prepare(name string, change func(*Options)) *island {
	w.t.Helper()
	i := &island{name: name, reg: prometheus.NewPedanticRegistry()}
	i.certificate.Store(w.certify(name, 72*time.Hour))
	o := Options{
		Config: testConfig(), Identity: key(name), Network: w.network,
		Trust: w.state.Load, Certificate: i.certificate.Load,
		Redeem: func(context.Context, trust.Key, *meshpb.JoinRequest) (*meshpb.JoinResponse, error) {
			return &meshpb.JoinResponse{Refusal: "this test admits nobody"}, nil
		},
		Dir: w.t.TempDir(), Version: "atoll test", Logger: logger(w.t).With("island", name), Registerer: i.reg,
	}
	if change != nil {
		change(&o)
	}
	m, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	i.Mesh = m
	return i
}

func testConfig() Config {
	c := Default()
	c.Port, c.Addresses = 0, []string{"127.0.0.1"}
	c.Discovery.MDNS = false
	return c
}

func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// run starts an island and tells all others where it is.
func (w *world) run(i *island) *island {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run %s: %v", i.name, err)
		}
	})
	w.t.Cleanup(i.stop)
	select {
	case <-i.Ready():
	case err := <-done:
		done <- err
		w.t.Fatalf("run %s: %v", i.name, err)
	case <-time.After(patience):
		w.t.Fatalf("%s does not listen after %s", i.name, patience)
	}
	for _, other := range w.all {
		introduce(i, other)
		introduce(other, i)
	}
	w.all = append(w.all, i)
	return i
}

func (w *world) island(name string) *island {
	w.t.Helper()
	return w.run(w.prepare(name, nil))
}

func introduce(a, b *island) {
	a.host.Peerstore().AddAddrs(b.host.ID(), b.listening(), peerstore.PermanentAddrTTL)
}

// listening are the real addresses of an island.
func (i *island) listening() []ma.Multiaddr { return i.swarm.ListenAddresses() }

func (i *island) key() trust.Key { return i.o.Identity.Public() }

// islands admits and runs n of them.
func (w *world) islands(n int) []*island {
	w.t.Helper()
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("isle%02d", i)
	}
	w.admit(names...)
	out := make([]*island, n)
	for i := range out {
		out[i] = w.island(names[i])
	}
	return out
}

// connect makes from's connection to to.
func (w *world) connect(from, to *island) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := from.Connect(ctx, to.key()); err != nil {
		w.t.Fatalf("%s connects to %s: %v", from.name, to.name, err)
	}
	eventually(w.t, from.name+" and "+to.name+" are connected", func() bool {
		return from.inReach(to) && to.inReach(from)
	})
}

func (i *island) inReach(other *island) bool {
	for _, k := range i.Connected() {
		if k == other.key() {
			return true
		}
	}
	return false
}

func (i *island) status(t testing.TB, of string) PeerStatus {
	t.Helper()
	for _, s := range i.Peers() {
		if s.Name == of {
			return s
		}
	}
	t.Fatalf("%s does not list %s", i.name, of)
	return PeerStatus{}
}

// trustChanged tells all islands.
func (w *world) trustChanged() {
	for _, i := range w.all {
		i.TrustChanged()
	}
}

func (i *island) metric(t testing.TB, name, label, value string) (sum float64) {
	t.Helper()
	families, err := i.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == label && l.GetValue() == value {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return sum
}

// eventually polls, for real sockets do not know virtual time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not so after %s: %s", patience, what)
		}
	}
}

func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing came in %s", patience)
		panic("unreachable")
	}
}

func peerOf(name string) peer.ID { return ident.Peer(key(name).Public()) }
