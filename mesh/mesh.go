package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/mesh/book"
	"github.com/atoll-mesh/atoll/mesh/carrier"
	"github.com/atoll-mesh/atoll/mesh/discover"
	"github.com/atoll-mesh/atoll/mesh/gate"
	"github.com/atoll-mesh/atoll/mesh/gossip"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/join"
	"github.com/atoll-mesh/atoll/mesh/pulse"
	"github.com/atoll-mesh/atoll/mesh/reach"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/mesh/session"
	"github.com/atoll-mesh/atoll/mesh/traffic"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// Errors of calls, for errors.Is.
var (
	// ErrNotReady: Run has not begun to listen yet, or has ended.
	ErrNotReady = errors.New("the mesh is not running")
	// ErrNotMember: the key is not in the roster.
	ErrNotMember = errors.New("no member of this network")
	// ErrUnreachable: no connection could be made.
	ErrUnreachable = errors.New("unreachable")
	// ErrRefused: one of the two islands refuses the other.
	ErrRefused = errors.New("refused")
)

// Options is what a mesh is made of. Logger, Registerer and Health may be nil.
type Options struct {
	Config Config
	// Identity is the island's node key.
	Identity trust.PrivateKey
	Network  trust.NetworkID
	// Trust is the roster in force; it is read at New and at each TrustChanged.
	Trust func() *trust.State
	// Certificate is the newest of this island.
	Certificate func() *trustpb.Certificate
	// ReplicaRoot is the digest of all documents, for hellos.
	ReplicaRoot func() []byte
	// Redeem answers guests. A refusal belongs into the answer; an error is
	// trouble of this island, which the guest is not told in detail.
	Redeem func(ctx context.Context, guest trust.Key, req *meshpb.JoinRequest) (*meshpb.JoinResponse, error)
	// Word is what the roots said, by documents held here; Hear takes over what is
	// news of a word that somebody brought, whoever it is, and returns how much that
	// was. Where they are nil no word is brought or heard.
	Word func() []*replicapb.Document
	Hear func(ctx context.Context, from trust.Key, word []*replicapb.Document) (taken int, err error)
	// Dir is where the address book is kept; it must exist.
	Dir string
	// Version is told to others, for people: "atoll 1.2.3".
	Version    string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
}

func (o *Options) check() error {
	if err := o.Config.Validate(); err != nil {
		return err
	}
	switch {
	case o.Identity.IsZero():
		return errors.New("mesh: Identity is missing: join a network first")
	case o.Trust == nil, o.Certificate == nil, o.Redeem == nil:
		return errors.New("mesh: Trust, Certificate and Redeem must be given")
	case o.Dir == "":
		return errors.New("mesh: Dir is empty: the address book has no place")
	}
	if err := o.checkWord(); err != nil {
		return err
	}
	if o.ReplicaRoot == nil {
		o.ReplicaRoot = func() []byte { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = health.New(nil)
	}
	return nil
}

// Mesh is one island's place among the others. All methods are safe for
// concurrent use.
type Mesh struct {
	o     Options
	log   *slog.Logger
	m     *metrics
	alone *health.Handle
	// turned is set while others refuse this island.
	turned *health.Handle

	pressure   *gate.Pressure
	gate       *gate.Gate
	transports *gate.Transports
	door       *join.Door
	hearing    *join.Hearing
	sessions   *session.Sessions
	pulse      *pulse.Watch
	reach      *reach.Reach
	server     *rpc.Server
	clients    *rpc.Clients
	listener   *carrier.Listener
	book       *book.Book
	traffic    *traffic.Counter
	verdicts   verdicts
	appeals    appeals

	// Set before ready is closed.
	host     host.Host
	swarm    *swarm.Swarm
	gossip   *gossip.Gossip
	discover *discover.Discover

	ran      atomic.Bool
	relaying atomic.Bool // what hellos said last
	ready    chan struct{}
	events   events
	tasks    tasks
	double   chan struct{} // a peer has two connections

	mu     sync.Mutex
	roster map[trust.Key]*record // of members that something is known of
	hooks  hooks
}

// record is what this island remembers of a member beside its session.
type record struct {
	up        bool // Connected was told
	seen      time.Time
	lastError string
	// turnedAway has its words where it refuses this island.
	turnedAway string
	failures   int       // dials in a row that did not work
	secondTry  time.Time // when a second, TCP connection was tried last
	detour     bool      // another way is being made beside a silent one
}

type hooks struct {
	announce     []func(trust.Key, []byte)
	connected    []func(trust.Key)
	disconnected []func(trust.Key)
}

// New checks the options and reads the address book; it starts nothing.
func New(o Options) (*Mesh, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	key, err := ident.Private(o.Identity)
	if err != nil {
		return nil, err
	}
	m := &Mesh{
		o: o, log: o.Logger,
		pressure: gate.NewPressure(),
		traffic:  &traffic.Counter{},
		listener: carrier.NewListener(ident.Peer(o.Identity.Public())),
		ready:    make(chan struct{}),
		events:   newEvents(),
		double:   make(chan struct{}, 1),
		roster:   map[trust.Key]*record{},
		appeals:  appeals{of: map[trust.Key]*appeal{}},
	}
	m.m = newMetrics(o.Registerer, m)
	m.alone = o.Health.Declare(health.Warning{
		Code: "mesh-alone", Severity: health.SeverityWarning, Title: "No other island is reachable",
		Remedy: "see `atoll peers` for the reason of each; check this site's uplink and that UDP or TCP port 59443 gets through",
	})
	m.turned = o.Health.Declare(health.Warning{
		Code: "mesh-turned-away", Severity: health.SeverityWarning, Title: "Other islands refuse this one",
		Remedy: "see `atoll peers` for who does; an island that was revoked, or whose signer was, runs `atoll leave --force` and joins with a new token",
	})
	m.gate = gate.New(o.Trust(), m.pressure, m.turnedAway)
	m.door = join.NewDoor(o.Redeem, o.Logger, func(outcome string) { m.m.guests.WithLabelValues(outcome).Inc() })
	m.hearing = join.NewHearing(m.heedWord, o.Logger, func(outcome string) { m.m.words.WithLabelValues("in", outcome).Inc() })
	m.transports = gate.NewTransports(m.gate, m.door.Take, m.hearing.Take)
	m.pulse = pulse.New(pulse.Options{Probe: pulse.Probe, Received: m.received, Dead: m.dead,
		Probed: func(outcome string) { m.m.probes.WithLabelValues(outcome).Inc() }})
	if m.book, err = book.Open(filepath.Join(o.Dir, "peers.json")); err != nil {
		m.log.Warn("address book is begun anew", "err", err)
	}
	announce, err := o.Config.announced()
	if err != nil {
		return nil, err
	}
	m.reach, err = reach.New(reach.Options{
		Config: o.Config.Reach, Key: key, Announce: announce,
		Relays: m.relays, Permit: m.mayRelay, Name: m.peerName,
		OnChange: m.addressesChanged, OnNetwork: m.networkChanged,
		Logger: o.Logger, Registerer: o.Registerer,
	})
	if err != nil {
		return nil, err
	}
	m.sessions = session.New(session.Options{
		Network: o.Network, Self: o.Identity.Public(), State: m.gate.State,
		Certificate: o.Certificate, Root: o.ReplicaRoot, Relay: m.reach.Relaying, Software: o.Version,
		Open:   []protocol.ID{join.WordProtocol},
		Logger: o.Logger, Changed: m.standingChanged,
		Heard: m.heard,
		Met:   func(outcome string) { m.m.hellos.WithLabelValues(outcome).Inc() }, Now: time.Now,
	})
	return m, m.makeRPC()
}

func (m *Mesh) makeRPC() (err error) {
	if m.server, err = rpc.NewServer(rpc.ServerOptions{
		Identify: m.identify, Authorize: m.authorize, Limits: m.o.Config.RPC, Logger: m.log, Registerer: m.o.Registerer,
	}); err != nil {
		return err
	}
	if err = m.serveDiscovery(); err != nil {
		return err
	}
	m.clients, err = rpc.NewClients(rpc.ClientOptions{
		Dial: m.dialStream, Self: m.o.Identity.Public(), Name: m.name, Rule: m.server.Rule,
		Stalled: func(k trust.Key, _ rpc.Class) { m.stalled(k) },
		Limits:  m.o.Config.RPC, Logger: m.log, Registerer: m.o.Registerer,
	})
	return err
}

// RegisterService adds a gRPC service; each of its methods needs a rule under
// its full name. It must be called before Run.
func (m *Mesh) RegisterService(desc *grpc.ServiceDesc, impl any, rules map[string]rpc.Rule) error {
	return m.server.Register(desc, impl, rules)
}

// Conn is the way to call a member. It dials nothing by itself, need not be
// closed and outlives connections: what there is is used, and where there is
// nothing a call makes a connection.
func (m *Mesh) Conn(k trust.Key, class rpc.Class) (grpc.ClientConnInterface, error) {
	if m.gate.State().Standing(k) != trust.MemberStanding {
		return nil, fmt.Errorf("call %s: %w", k, ErrNotMember)
	}
	return m.clients.Conn(k, class), nil
}

// Speaks returns the protocol to speak with a member (wire.Version); 0 until it has
// said hello.
func (m *Mesh) Speaks(k trust.Key) uint32 {
	info, _ := m.sessions.Get(k)
	return info.Version
}

// Announce tells all members, soon, perhaps more than once or never.
func (m *Mesh) Announce(ctx context.Context, hint []byte) error {
	select {
	case <-m.ready:
		return m.gossip.Announce(ctx, hint)
	default:
		return fmt.Errorf("announce: %w", ErrNotReady)
	}
}

// OnAnnounce has f hear announcements of others, one after the other.
func (m *Mesh) OnAnnounce(f func(from trust.Key, hint []byte)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks.announce = append(m.hooks.announce, f)
}

// OnConnected has f told of each member that came into reach: connected, its
// certificate accepted. Calls come one after the other and should be short.
func (m *Mesh) OnConnected(f func(trust.Key)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks.connected = append(m.hooks.connected, f)
}

// OnDisconnected has f told of each member that OnConnected told of and whose
// last connection closed or certificate ended.
func (m *Mesh) OnDisconnected(f func(trust.Key)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hooks.disconnected = append(m.hooks.disconnected, f)
}

// Ready is closed when the island listens.
func (m *Mesh) Ready() <-chan struct{} { return m.ready }

// Addresses are what others should dial: for tokens and rosters.
func (m *Mesh) Addresses() []ma.Multiaddr {
	select {
	case <-m.ready:
		return m.host.Addrs()
	default:
		return nil
	}
}

// Seen is the public address from which most other islands see this one come, invalid
// while that is not known.
func (m *Mesh) Seen() netip.Addr {
	select {
	case <-m.ready:
		return m.reach.Seen()
	default:
		return netip.Addr{}
	}
}

// Knock is the guest's side of joining: it asks the islands that the token
// names to redeem it. log may be nil.
func Knock(ctx context.Context, token trust.Token, req *meshpb.JoinRequest, log *slog.Logger) (*meshpb.JoinResponse, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return join.Knock(ctx, token, req, log)
}

// Why a guest was not served, for errors.Is.
var (
	ErrKnockNobody  = join.ErrNobody
	ErrKnockUnknown = join.ErrUnknown
	ErrKnockRefused = join.ErrRefused
)

// rpcProtocol is the stream protocol that carries gRPC.
func (m *Mesh) rpcProtocol() protocol.ID {
	return protocol.ID("/atoll/" + m.o.Network.Short() + "/rpc/1")
}

func (m *Mesh) turnedAway(p peer.ID, a ma.Multiaddr, why gate.Refused) {
	m.m.refused.WithLabelValues(string(why)).Inc()
	m.log.Debug("connection turned away", "peer", p, "address", a, "reason", why)
}
