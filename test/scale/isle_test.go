package scale

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// basePort is below the ports that the kernel gives to who dials.
const basePort = 10_000

func address(i int) [][]byte {
	return [][]byte{ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", basePort+i)).Bytes()}
}

// isle is an island without the rooms that collect and store.
type isle struct {
	w      *network
	number int
	key    trust.PrivateKey
	state  atomic.Pointer[trust.State]
	docs   *replica.Replica
	mesh   atomic.Pointer[mesh.Mesh]
	// Set while something is awaited.
	victim  atomic.Pointer[trust.Key]
	revoked atomic.Int64 // Unix ns
	heard   chan<- heard
	stop    []func()
	reg     *prometheus.Registry
}

// heard says that a document reached an island.
type heard struct {
	isle int
	key  string
	at   time.Time
}

// Permit implements replica.Rights.
func (i *isle) Permit(d *replicapb.Document) error { return i.state.Load().Permit(d) }

// Learn implements replica.Rights.
func (i *isle) Learn(docs []*replicapb.Document) {
	s := i.w.judge.state(docs)
	i.state.Store(s)
	if m := i.mesh.Load(); m != nil {
		m.TrustChanged()
	}
	if v := i.victim.Load(); v != nil && s.Standing(*v) == trust.Revoked {
		i.revoked.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// Connected implements replica.Peers.
func (i *isle) Connected() []trust.Key { return i.mesh.Load().Connected() }

// Conn implements replica.Peers.
func (i *isle) Conn(k trust.Key) (grpc.ClientConnInterface, error) {
	return i.mesh.Load().Conn(k, rpc.Normal)
}

func (i *isle) dir() string { return filepath.Join(i.w.dir, name(i.number)) }

// open makes an island and its documents.
func (w *network) open(n int, h chan<- heard) (*isle, error) {
	i := &isle{w: w, number: n, key: w.keys[n], heard: h}
	if err := os.MkdirAll(i.dir(), 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(i.dir(), "documents.db")
	if err := w.copyTemplate(path); err != nil {
		return nil, err
	}
	var err error
	i.docs, err = replica.New(replica.Options{
		Config: replica.Default(), Path: path, Network: w.id, Rights: i, Peers: i,
		Author: func() trust.PrivateKey { return i.key },
		Caller: func(ctx context.Context) (trust.Key, bool, bool) {
			c, ok := rpc.CallerFrom(ctx)
			return c.Key, c.Quarantined, ok
		},
		Quarantined: func(k trust.Key) bool { return i.mesh.Load().Quarantined(k) },
		RootOf:      func(k trust.Key) []byte { return i.mesh.Load().RootOf(k) },
		Announce:    func(ctx context.Context, hint []byte) { _ = i.mesh.Load().Announce(ctx, hint) },
		Registerer:  prometheus.NewRegistry(),
	})
	return i, err
}

// RegisterService implements grpc.ServiceRegistrar for the replica's service.
func (i *isle) RegisterService(desc *grpc.ServiceDesc, impl any) {
	err := i.mesh.Load().RegisterService(desc, impl, map[string]rpc.Rule{
		replicapb.Replica_Sync_FullMethodName: {AnyMember: true, Class: rpc.Normal, Quarantined: true},
	})
	if err != nil {
		i.w.t.Error(err)
	}
}

// run starts an island that knows where some others are; its end is what stop does.
func (i *isle) run(acquaintances int) error {
	if err := mesh.Remember(i.dir(), i.w.acquainted(i.number, acquaintances)); err != nil {
		return err
	}
	i.reg = prometheus.NewRegistry()
	certificate := i.w.certificate(i.number)
	m, err := mesh.New(mesh.Options{
		Config: i.config(acquaintances > 0 && acquaintances < len(i.w.keys)), Identity: i.key, Network: i.w.id, Trust: i.state.Load,
		Certificate: func() *trustpb.Certificate { return certificate }, ReplicaRoot: i.docs.Root,
		Redeem: func(context.Context, trust.Key, *meshpb.JoinRequest) (*meshpb.JoinResponse, error) {
			return nil, errors.New("nobody joins here")
		},
		Dir: i.dir(), Version: "atoll scale", Registerer: i.reg,
	})
	if err != nil {
		return err
	}
	i.mesh.Store(m)
	i.docs.Register(i)
	m.OnAnnounce(i.docs.Heard)
	m.OnConnected(i.docs.Connected)
	i.spawn("replica", i.docs.Run)
	failed := i.spawn("mesh", m.Run)
	i.watch()
	select {
	case <-m.Ready():
		return nil
	case err := <-failed:
		return fmt.Errorf("%s: %w", name(i.number), err)
	}
}

func (i *isle) config(dht bool) mesh.Config {
	c := mesh.Default()
	c.Port, c.Addresses, c.Transports = basePort+i.number, []string{"127.0.0.1"}, []string{"tcp"}
	c.Reach.Reachability = "public"
	c.Discovery.MDNS = false
	c.Discovery.Neighbours = 8
	// Who has all addresses does without. The DHT makes some 20 connections more for
	// five minutes; a process has no more than 20,000 files here, and both ends of
	// each are in this one.
	c.Discovery.DHT = dht
	return c
}

func (i *isle) spawn(what string, run func(context.Context) error) <-chan error {
	ctx, cancel := context.WithCancel(context.Background())
	ended, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(ended)
		if err := run(ctx); err != nil {
			i.w.t.Errorf("%s of %s: %v", what, name(i.number), err)
			failed <- err
		}
	}()
	i.stop = append(i.stop, func() { cancel(); <-ended })
	return failed
}

// watch reports what test documents arrive.
func (i *isle) watch() {
	events, cancel := i.docs.Watch("rules/")
	i.stop = append(i.stop, cancel)
	go func() {
		for e := range events {
			i.heard <- heard{i.number, e.Key, time.Now()}
		}
	}()
}

func (i *isle) close() {
	for n := len(i.stop) - 1; n >= 0; n-- {
		i.stop[n]()
	}
	if err := i.docs.Close(); err != nil {
		i.w.t.Errorf("close the documents of %s: %v", name(i.number), err)
	}
}

// forEach runs f for all islands, some at a time, and reports the first error.
func forEach(n, atOnce int, f func(i int) error) error {
	var wg sync.WaitGroup
	var first atomic.Pointer[error]
	slots := make(chan struct{}, atOnce)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f(i); err != nil {
				first.CompareAndSwap(nil, &err)
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return *err
	}
	return nil
}
