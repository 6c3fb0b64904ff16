package discover

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/mesh/ident"
)

// ErrNoMember is returned for keys that are not in the roster.
var ErrNoMember = errors.New("not a member of this network")

var (
	errNoAddress = errors.New("no address is known")
	// errLost is no fault of who was looked for.
	errLost = errors.New("no address is known, and nobody to ask for it is connected")
)

// Options are what New needs.
type Options struct {
	Config Config
	Host   host.Host
	// Network is the short form of the network's id: it names the DHT's protocol and
	// the service on the local network. At most 8 characters of it are used there.
	Network string
	// Region of this island; members of other regions are chosen on purpose.
	Region string
	// Members returns the roster without self. It is asked at every change and must
	// not be expensive.
	Members func() []Member
	// Addrs returns where a member may be, as far as the roster and earlier
	// connections tell. It must not call this package. nil for nowhere.
	Addrs func(peer.ID) []ma.Multiaddr
	// Keep names connections that must not be closed as idle though nobody here chose
	// them: to relays of ours. nil for none.
	Keep func(peer.ID) bool
	// Ask asks a connected member where another one is; nil asks nobody.
	Ask func(ctx context.Context, whom, about peer.ID) ([]ma.Multiaddr, error)
	// Server makes this island answer the DHT's questions always; otherwise it does
	// while the host says that it is publicly reachable.
	Server     bool
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Discover finds members and keeps neighbours connected.
type Discover struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	seed    maphash.Seed
	fixed   []Static
	find    *finder
	kick    chan struct{}

	mu      sync.Mutex
	members map[peer.ID]Member
	wanted  map[peer.ID]bool
	targets map[peer.ID]*target
	used    map[peer.ID]time.Time
	whois   map[int]peer.ID // index in fixed → key that answered
	fresh   bool            // members are to be read again
	roused  bool            // waits are to be forgotten
}

// New checks the options; it starts nothing.
func New(o Options) (*Discover, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	if o.Host == nil || o.Members == nil || o.Network == "" {
		return nil, errors.New("discover: Host, Network and Members must be given")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Addrs == nil {
		o.Addrs = func(peer.ID) []ma.Multiaddr { return nil }
	}
	if o.Keep == nil {
		o.Keep = func(peer.ID) bool { return false }
	}
	d := &Discover{opts: o, log: o.Logger, metrics: newMetrics(o.Registerer), seed: maphash.MakeSeed(),
		kick: make(chan struct{}, 1), members: map[peer.ID]Member{}, wanted: map[peer.ID]bool{},
		targets: map[peer.ID]*target{}, used: map[peer.ID]time.Time{}, whois: map[int]peer.ID{}, fresh: true}
	for _, s := range o.Config.Static {
		parsed, err := ParseStatic(s)
		if err != nil {
			return nil, err // Validate has looked already
		}
		d.fixed = append(d.fixed, parsed)
	}
	d.find = &finder{d: d, wake: make(chan struct{}, 1)}
	d.readMembers()
	return d, nil
}

// MembersChanged says that the roster or its addresses may be different now.
func (d *Discover) MembersChanged() {
	d.mu.Lock()
	d.fresh = true
	d.mu.Unlock()
	poke(d.kick)
}

// NetworkChanged forgets all waits after failed dials, and asks the local network
// and the DHT anew.
func (d *Discover) NetworkChanged() {
	d.mu.Lock()
	d.roused = true
	d.mu.Unlock()
	d.find.renew()
	poke(d.kick)
}

// Reachable says that one member can be dialled again (it got a relay, said
// hello to somebody, announced an address): its wait after failures ends.
func (d *Discover) Reachable(p peer.ID) {
	d.mu.Lock()
	if t := d.targets[p]; t != nil && !t.dialing {
		t.next = yield(d.opts.Host.ID(), p, time.Now())
	}
	d.mu.Unlock()
	poke(d.kick)
}

// found says that the DHT can be asked now: who was not found before is looked
// for again.
func (d *Discover) found() {
	d.mu.Lock()
	for _, t := range d.targets {
		if t.lost && !t.dialing {
			t.next = time.Time{}
		}
	}
	d.mu.Unlock()
	poke(d.kick)
}

// Used says that a connection served somebody just now: it stays for at least
// Config.IdleFor.
func (d *Discover) Used(p peer.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, member := d.members[p]; member {
		d.used[p] = time.Now()
	}
}

// IsMember reports whether the roster has the key, as of the last change.
func (d *Discover) IsMember(p peer.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.members[p]
	return ok
}

// Neighbours returns who is chosen to stay connected.
func (d *Discover) Neighbours() []peer.ID {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]peer.ID, 0, len(d.wanted))
	for p := range d.wanted {
		out = append(out, p)
	}
	return out
}

// Status is what the keeper knows about one member.
type Status struct {
	Chosen   bool
	Failures int       // dials in a row
	Last     string    // why the last one failed
	Next     time.Time // of the next dial; zero where none is due
}

// Status of a member.
func (d *Discover) Status(p peer.ID) Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{Chosen: d.wanted[p]}
	if t := d.targets[p]; t != nil {
		s.Failures, s.Last, s.Next = t.failures, t.last, t.next
	}
	return s
}

// Dial connects to a member on demand, by every address known, then by what the
// DHT says. A connection that is there already is enough.
func (d *Discover) Dial(ctx context.Context, p peer.ID) error {
	d.mu.Lock()
	fresh := d.fresh
	d.mu.Unlock()
	if fresh {
		d.readMembers()
	}
	if !d.IsMember(p) {
		return fmt.Errorf("dial %s: %w", p, ErrNoMember)
	}
	d.Used(p)
	if connected(d.opts.Host, p) {
		return nil
	}
	return d.dial(ctx, p, "demand")
}

// Run keeps neighbours until ctx ends.
func (d *Discover) Run(ctx context.Context) error {
	sub, err := d.opts.Host.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged),
		eventbus.Name("atoll discover"), eventbus.BufSize(256))
	if err != nil {
		return fmt.Errorf("listen to the host's events: %w", err)
	}
	defer sub.Close()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if err := d.find.start(); err != nil {
		return err
	}
	wg.Go(func() { d.find.run(ctx) })
	k := &keeper{d: d, slots: make(chan struct{}, dialsAtOnce), wg: &wg}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-sub.Out():
			if !k.heard(e.(event.EvtPeerConnectednessChanged)) {
				continue
			}
		case <-timer.C:
		case <-d.kick:
		}
		timer.Reset(time.Until(k.round(ctx, time.Now())))
	}
}

// readMembers takes the roster over and chooses anew; the caller holds no lock.
func (d *Discover) readMembers() {
	list := d.opts.Members()
	self := d.opts.Host.ID()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fresh = false
	clear(d.members)
	for _, m := range list {
		if m.ID != self {
			d.members[m.ID] = m
		}
	}
	for p := range d.targets {
		if _, member := d.members[p]; !member {
			delete(d.targets, p)
			delete(d.used, p)
		}
	}
	d.chooseLocked()
}

// chooseLocked decides who is wanted: all of a small network; in a large one the
// choice among all, and, to close the gaps that dead members leave, the choice
// among those that answer.
func (d *Discover) chooseLocked() {
	n := d.choicesLocked()
	wanted := map[peer.ID]bool{}
	add := func(among iter.Seq[Member]) {
		for _, p := range choose(d.opts.Host.ID(), d.opts.Region, among, n, d.seed) {
			wanted[p] = true
		}
	}
	add(maps.Values(d.members))
	dead := map[peer.ID]bool{}
	for p, t := range d.targets {
		if t.failures >= deadAfter {
			dead[p] = true
		}
	}
	if len(dead) > 0 {
		add(d.othersLocked(func(p peer.ID) bool { return !dead[p] }))
	}
	d.wanted = wanted
	d.metrics.wanted.Set(float64(len(wanted)))
}

// choicesLocked is how many an island chooses.
func (d *Discover) choicesLocked() int {
	if len(d.members) < AllUpTo {
		return len(d.members)
	}
	return max(3, (d.opts.Config.Neighbours+1)/2)
}

// wantedByLocked reports whether a member chooses this island, if its roster and
// configuration are as here. What it chooses by chance nobody else knows.
func (d *Discover) wantedByLocked(p peer.ID) bool {
	if len(d.members) < AllUpTo {
		return true
	}
	self := Member{ID: d.opts.Host.ID(), Region: d.opts.Region}
	others := func(yield func(Member) bool) {
		if yield(self) {
			d.othersLocked(func(q peer.ID) bool { return q != p })(yield)
		}
	}
	return slices.Contains(choose(p, d.members[p].Region, others, d.choicesLocked(), d.seed), self.ID)
}

// othersLocked walks the members for whom ok is true.
func (d *Discover) othersLocked(ok func(peer.ID) bool) iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for p, m := range d.members {
			if ok(p) && !yield(m) {
				return
			}
		}
	}
}

// addresses returns all that is known of where a member may be, without asking
// anybody.
func (d *Discover) addresses(p peer.ID) []ma.Multiaddr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.addressesLocked(p)
}

func (d *Discover) addressesLocked(p peer.ID) []ma.Multiaddr {
	name := d.members[p].Name
	out := slices.Clone(d.opts.Addrs(p))
	for i, s := range d.fixed {
		if s.ID == p || s.Who != "" && s.Who == name || d.whois[i] == p {
			out = append(out, s.Addrs...)
		}
	}
	return out
}

func (d *Discover) dial(ctx context.Context, p peer.ID, why string) error {
	h := d.opts.Host
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addrs := d.addresses(p)
	h.Peerstore().AddAddrs(p, addrs, peerstore.RecentlyConnectedAddrTTL)
	clearBackoff(h, p)
	var err error
	if len(h.Peerstore().Addrs(p)) > 0 {
		err = h.Connect(ctx, peer.AddrInfo{ID: p})
	} else {
		err = errNoAddress
	}
	if err != nil && ctx.Err() == nil && d.find.lookup(ctx, p) {
		clearBackoff(h, p)
		err = h.Connect(ctx, peer.AddrInfo{ID: p})
	}
	if errors.Is(err, errNoAddress) && d.opts.Config.DHT && !d.find.knowsWay() && len(d.guides(p)) == 0 {
		err = errLost
	}
	if err != nil {
		d.metrics.dials.WithLabelValues(why, "failed").Inc()
		return fmt.Errorf("dial %s: %w", ident.Short(p), brief(err))
	}
	d.metrics.dials.WithLabelValues(why, "ok").Inc()
	return nil
}

func connected(h host.Host, p peer.ID) bool {
	c := h.Network().Connectedness(p)
	return c == network.Connected || c == network.Limited
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
