package reach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"
)

// Options are what New needs.
type Options struct {
	Config Config
	// Key is the island's libp2p key: dial-backs are made under it.
	Key crypto.PrivKey
	// Announce are addresses that the operator says lead here; they take the place
	// of public addresses of interfaces.
	Announce []ma.Multiaddr
	// Relays returns the members that offer to relay now, best from their hellos.
	Relays func() []Candidate
	// Permit says whether a member may be relayed by this island.
	Permit func(peer.ID) bool
	// Name returns what people call a peer; nil for its ID.
	Name func(peer.ID) string
	// OnChange is told when reachability, relaying or the advertised addresses
	// changed, OnNetwork when the machine's network did (after backoffs have been
	// cleared). Both are called from goroutines of this package and must not wait.
	OnChange, OnNetwork func()
	Logger              *slog.Logger
	Registerer          prometheus.Registerer
}

// Reach knows how this island and its peers are reached.
type Reach struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	book    *book
	probe   *prober
	punch   *puncher
	relays  *client

	host atomic.Pointer[host.Host]
	// circuits is set when the host is made.
	circuits atomic.Pointer[relayTransport]
	now      atomic.Pointer[decision]
	serve    atomic.Bool

	kick         chan struct{}
	forgetRelays atomic.Bool
	renewRelays  atomic.Bool
	sightKick    chan struct{}
	sightAgain   atomic.Bool
}

// New checks the options; it starts nothing. The host is made with HostOptions,
// then given to Bind, then Run may begin.
func New(o Options) (*Reach, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	if o.Key == nil || o.Relays == nil || o.Permit == nil {
		return nil, errors.New("reach: Key, Relays and Permit must be given")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnChange == nil {
		o.OnChange = func() {}
	}
	if o.OnNetwork == nil {
		o.OnNetwork = func() {}
	}
	r := &Reach{opts: o, log: o.Logger, metrics: newMetrics(o.Registerer), book: newBook(), kick: make(chan struct{}, 1), sightKick: make(chan struct{}, 1)}
	r.now.Store(&decision{reach: network.ReachabilityUnknown, why: "not decided yet", drop: map[string]bool{}})
	r.metrics.setReachability(network.ReachabilityUnknown)
	r.probe = &prober{log: o.Logger, metrics: r.metrics, key: o.Key, wanted: r.wantedProbes, learnt: func() { poke(r.kick) },
		kick: make(chan struct{}, 1), verdicts: map[string]*verdict{}}
	r.punch = &puncher{enabled: o.Config.Punch, addrs: r.punchAddrs, log: o.Logger, metrics: r.metrics,
		kick: make(chan struct{}, 1), rows: map[peer.ID]*row{}}
	r.relays = &client{relays: o.Relays, log: o.Logger, metrics: r.metrics,
		kick: make(chan struct{}, 1), changed: o.OnChange, refused: map[peer.ID]refusal{}, held: map[peer.ID]*Reservation{}}
	return r, nil
}

// HostOptions are what the libp2p host must be made with: circuits can be dialled
// and accepted, the advertised addresses are chosen here, and libp2p's own
// AutoNAT v1, which would take 17 s, is silenced by a forced answer that Run
// overrules. The host must not be given EnableAutoRelay, EnableRelayService,
// EnableHolePunching, EnableAutoNATv2, EnableNATService or another AddrsFactory.
func (r *Reach) HostOptions() []libp2p.Option {
	return []libp2p.Option{
		libp2p.DisableRelay(), // ours takes its place
		libp2p.Transport(r.makeCircuits),
		libp2p.ForceReachabilityPrivate(),
		libp2p.AddrsFactory(func(addrs []ma.Multiaddr) []ma.Multiaddr {
			// libp2p has circuits only in the addresses of hosts that it holds for private.
			return r.now.Load().advertise(unique(append(slices.Clone(addrs), r.relays.circuits()...)), r.opts.Announce)
		}),
	}
}

func (r *Reach) makeCircuits(u transport.Upgrader, h host.Host) (transport.Transport, error) {
	c, err := newRelayTransport(u, h)
	if err != nil {
		return nil, err
	}
	r.circuits.Store(c)
	return c, nil
}

// Bind gives the host, before Run, and has it accept relayed connections.
func (r *Reach) Bind(h host.Host) error {
	c := r.circuits.Load()
	if c == nil {
		return errors.New("reach: the host was not made with HostOptions")
	}
	if err := h.Network().Listen(ma.StringCast("/p2p-circuit")); err != nil {
		return fmt.Errorf("listen for relayed connections: %w", err)
	}
	c.Start()
	r.host.Store(&h)
	return nil
}

func (r *Reach) bound() host.Host {
	if h := r.host.Load(); h != nil {
		return *h
	}
	return nil
}

// Reachability returns what is believed now, and why, in words.
func (r *Reach) Reachability() (network.Reachability, string) {
	d := r.now.Load()
	return d.reach, d.why
}

// Relaying reports whether this island relays for members now: what its hello says.
func (r *Reach) Relaying() bool { return r.serve.Load() }

// Reservations lists the slots held at relays, the oldest first.
func (r *Reach) Reservations() []Reservation { return r.relays.list() }

// Reserved reports whether a peer is a relay that keeps a slot for this island:
// its connection must not be closed as idle.
func (r *Reach) Reserved(p peer.ID) bool { return r.relays.holds(p) }

// NAT names the NAT before this island: "unknown", "none", "cone" or "symmetric".
func (r *Reach) NAT() string { return r.ownNAT().String() }

// Observed notes under which address a peer sees this island over a connection:
// what its hello says. What identify says is heard without being told.
func (r *Reach) Observed(c network.Conn, addr ma.Multiaddr) {
	h := r.bound()
	if h == nil || c == nil || Relayed(c) || addr == nil {
		return
	}
	if r.book.add(c.RemotePeer(), c.RemoteMultiaddr(), c.LocalMultiaddr(), addr, r.listenPorts(), time.Now()) {
		poke(r.kick)
	}
}

// RelaysChanged says that what Options.Relays or Permit return may be different
// now: a roster, hello or reservation event.
func (r *Reach) RelaysChanged() {
	r.forgetRelays.Store(true)
	poke(r.relays.kick)
}

// PunchNow tries to get a direct path to a peer at once, or to all relayed peers
// when the id is empty.
func (r *Reach) PunchNow(id peer.ID) { r.punch.again(id) }

// PunchAnew ends the wait for a further attempt to get a direct path to a peer,
// where earlier ones failed.
func (r *Reach) PunchAnew(id peer.ID) { r.punch.anew(id) }

// NetworkChanged makes this island find everything out anew: who sees it where,
// which relays still know it, which paths can be direct. Run calls it by itself
// when addresses or routes of the machine change, or it woke from sleep.
func (r *Reach) NetworkChanged(why string) {
	h := r.bound()
	if h == nil {
		return
	}
	r.log.Info("network changed", "why", why)
	r.metrics.changes.Inc()
	r.book.forget()
	r.closeOrphans(h)
	for _, p := range h.Peerstore().PeersWithAddrs() {
		ClearBackoff(h, p)
		r.metrics.backoffs.Inc()
	}
	r.renewRelays.Store(true)
	r.forgetRelays.Store(true)
	poke(r.relays.kick)
	r.probe.forget()
	r.sightAgain.Store(true)
	poke(r.sightKick)
	r.punch.again("")
	poke(r.kick)
	r.opts.OnNetwork()
}

// closeOrphans ends connections from addresses that the machine no longer has:
// they would be found dead only by timeouts.
func (r *Reach) closeOrphans(h host.Host) {
	have := localIPs()
	if have == nil {
		return
	}
	for _, c := range h.Network().Conns() {
		e, ok := endpointOf(c.LocalMultiaddr())
		if ok && !have[e.ip] && e.ip != "0.0.0.0" && e.ip != "::" {
			c.Close()
		}
	}
}

// ClearBackoff lets a peer be dialled at once though dialling it failed before.
func ClearBackoff(h host.Host, p peer.ID) {
	if s, ok := h.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(p)
	}
}

// Run decides, relays, reserves, probes and punches until ctx ends.
func (r *Reach) Run(ctx context.Context) error {
	h := r.bound()
	if h == nil {
		return errors.New("reach: Bind must be called before Run")
	}
	ids, ok := h.(interface{ IDService() identify.IDService })
	if !ok {
		return errors.New("reach: the host has no identify service")
	}
	bus := h.EventBus()
	sub, err := bus.Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerConnectednessChanged),
		new(event.EvtPeerProtocolsUpdated), new(event.EvtLocalAddressesUpdated),
	}, eventbus.Name("atoll reach"), eventbus.BufSize(256))
	if err != nil {
		return fmt.Errorf("listen to the host's events: %w", err)
	}
	defer sub.Close()
	said, err := bus.Emitter(new(event.EvtLocalReachabilityChanged), eventbus.Stateful)
	if err != nil {
		return fmt.Errorf("tell the host of reachability: %w", err)
	}
	defer said.Close()
	if r.relays.emit, err = bus.Emitter(new(event.EvtAutoRelayAddrsUpdated), eventbus.Stateful); err != nil {
		return fmt.Errorf("tell the host of relays: %w", err)
	}
	defer r.relays.emit.Close()
	r.relays.host, r.punch.host, r.punch.ids = h, h, ids.IDService()
	srv := &service{host: h, permit: r.opts.Permit, rate: int(r.opts.Config.RelayRate), metrics: r.metrics.relay}
	defer func() { _ = srv.set(false) }() // only starting it can go wrong

	r.decide(srv, said) // before anybody is asked
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { watch(ctx, r.NetworkChanged) })
	wg.Go(func() { r.keepRelays(ctx) })
	if r.opts.Config.Punch {
		wg.Go(func() { r.sight(ctx) })
	}
	wg.Go(func() { r.punch.run(ctx) })
	wg.Go(func() {
		if err := r.probe.run(ctx, h); err != nil {
			r.log.Warn("reachability is not probed", "err", err)
		}
	})
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-sub.Out():
			r.hear(e)
			continue
		case <-r.kick:
		}
		r.decide(srv, said)
	}
}

func (r *Reach) hear(e any) {
	switch e := e.(type) {
	case event.EvtPeerIdentificationCompleted:
		r.Observed(e.Conn, e.ObservedAddr)
		if Relayed(e.Conn) {
			poke(r.punch.kick)
		}
		poke(r.relays.kick)
		poke(r.probe.kick)
	case event.EvtPeerConnectednessChanged:
		if e.Connectedness == network.Connected || r.relays.holds(e.Peer) {
			poke(r.relays.kick)
			poke(r.punch.kick)
		}
	case event.EvtPeerProtocolsUpdated:
		poke(r.relays.kick)
		if slices.Contains(e.Added, holepunch.Protocol) { // it knows an address of its own now
			r.punch.again(e.Peer)
		}
	case event.EvtLocalAddressesUpdated:
		poke(r.kick)
	}
}

// decide draws the conclusion from what is known now and acts on it.
func (r *Reach) decide(srv *service, said event.Emitter) {
	d := decide(r.evidence())
	old := r.now.Swap(&d)
	changed := old.reach != d.reach
	if changed {
		r.log.Info("reachability", "is", word(d.reach), "why", d.why)
		r.metrics.setReachability(d.reach)
	}
	moved := !slices.EqualFunc(old.add, d.add, ma.Multiaddr.Equal) || len(old.drop) != len(d.drop)
	if changed || moved {
		// Also where only addresses moved: the host then asks the AddrsFactory again
		// and pushes what it answers to all peers.
		_ = said.Emit(event.EvtLocalReachabilityChanged{Reachability: d.reach})
	}
	serve := r.opts.Config.Relay == On || r.opts.Config.Relay == Auto && d.reach == network.ReachabilityPublic
	if serve != r.serve.Load() {
		if err := srv.set(serve); err != nil {
			r.log.Warn("relaying could not begin", "err", err)
			serve = false
		}
		changed = r.serve.Swap(serve) != serve || changed
	}
	if changed || moved {
		poke(r.relays.kick)
		r.opts.OnChange()
	}
}

// keepRelays runs the client's rounds.
func (r *Reach) keepRelays(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.relays.kick:
		}
		want := r.opts.Config.Reservations
		if r.now.Load().reach == network.ReachabilityPublic {
			want = min(want, spares)
		}
		next := r.relays.round(ctx, want, r.forgetRelays.Swap(false), r.renewRelays.Swap(false), time.Now())
		poke(r.sightKick)
		timer.Reset(time.Until(next))
	}
}

func (r *Reach) evidence() evidence {
	own := r.own()
	now := time.Now()
	return evidence{
		config: r.opts.Config.Reachability, announce: r.opts.Announce, own: own,
		observed: r.book.addrs(now), nats: r.book.nats(own, now), verdicts: r.probe.known(),
	}
}

func (r *Reach) wantedProbes() []ma.Multiaddr {
	if r.opts.Config.Reachability != Auto {
		return nil
	}
	return r.evidence().probes()
}

// own are the addresses of interfaces that the host listens on.
func (r *Reach) own() []ma.Multiaddr {
	addrs, err := r.bound().Network().InterfaceListenAddresses()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(addrs), relayed)
}

// punchAddrs are where peers should punch towards: what they see of us first,
// then what we have. Private addresses are among them, since sites may be joined
// by private networks with NATs of their own.
func (r *Reach) punchAddrs() []ma.Multiaddr {
	const limit = 16 // the library's message holds 4 KiB
	out := append(r.book.addrs(time.Now()), r.opts.Announce...)
	out = usable(unique(append(out, r.own()...)))
	if len(out) > limit {
		out = out[:limit]
	}
	return out
}

func (r *Reach) listenPorts() map[family]map[string]bool {
	out := map[family]map[string]bool{}
	for _, a := range r.own() {
		if e, ok := endpointOf(a); ok {
			if out[e.family()] == nil {
				out[e.family()] = map[string]bool{}
			}
			out[e.family()][e.port] = true
		}
	}
	return out
}

// ownNAT is the worst kind found on any transport.
func (r *Reach) ownNAT() nat {
	worst := natUnknown
	for _, n := range r.book.nats(r.own(), time.Now()) {
		worst = max(worst, n)
	}
	return worst
}

func (r *Reach) name(p peer.ID) string {
	if r.opts.Name != nil {
		if n := r.opts.Name(p); n != "" {
			return n
		}
	}
	return p.ShortString()
}
