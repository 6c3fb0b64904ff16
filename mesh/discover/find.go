package discover

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// mdnsFor is how long an address heard on the local network counts.
	mdnsFor = 10 * time.Minute
	// lanRate bounds what mDNS can make this island do: members found per minute.
	lanRate    = 60
	dhtRefresh = time.Hour
	lookupTime = 8 * time.Second
	whoIsEvery = 5 * time.Minute
	// nearest is how many islands know where another one is: those whose keys are
	// nearest to its. Each time it makes itself known it connects to as many.
	nearest = 8
	// dhtAtOnce is how many a lookup asks, and so connects to, at a time.
	dhtAtOnce = 3
	// lookForWay is how often an island that knows nobody in the DHT looks again.
	lookForWay = 250 * time.Millisecond
)

// finder asks the local network, the DHT and static addresses for members.
type finder struct {
	d *Discover

	mu    sync.Mutex
	table *dht.IpfsDHT
	lan   mdns.Service
	again bool // restart mDNS: the interfaces changed
	heard int  // members heard by mDNS within the present minute
	wake  chan struct{}
}

// Prefix is the DHT's protocol prefix of a network.
func Prefix(network string) protocol.ID { return protocol.ID("/atoll/" + network) }

// service is the name on the local network: at most 15 characters by RFC 6335.
func service(network string) string {
	return "_atoll-" + network[:min(8, len(network))] + "._udp"
}

func (f *finder) start() error {
	if !f.d.opts.Config.DHT {
		return nil
	}
	mode := dht.ModeAuto
	if f.d.opts.Server {
		mode = dht.ModeServer
	}
	table, err := dht.New(f.d.opts.Host,
		dht.ProtocolPrefix(Prefix(f.d.opts.Network)),
		dht.Mode(mode),
		dht.DisableValues(), dht.DisableProviders(),
		dht.DisableAutoRefresh(), // it would walk the table every ten minutes
		dht.BucketSize(nearest),
		dht.Concurrency(dhtAtOnce),
		dht.RoutingTableRefreshQueryTimeout(lookupTime),
		dht.RoutingTableFilter(func(_ any, p peer.ID) bool { return f.d.IsMember(p) }),
		dht.QueryFilter(func(_ any, ai peer.AddrInfo) bool {
			ok := f.d.IsMember(ai.ID)
			if !ok && ai.ID != f.d.opts.Host.ID() {
				f.d.metrics.strangers.WithLabelValues("dht").Inc()
			}
			return ok
		}),
	)
	if err != nil {
		return fmt.Errorf("start the DHT: %w", err)
	}
	f.mu.Lock()
	f.table = table
	f.mu.Unlock()
	return nil
}

// renew asks for a new look at the local network.
func (f *finder) renew() {
	f.mu.Lock()
	f.again = true
	f.mu.Unlock()
	poke(f.wake)
}

func (f *finder) run(ctx context.Context) {
	defer f.stop()
	f.startLAN()
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	refresh := time.NewTimer(lookForWay)
	defer refresh.Stop()
	var asked time.Time
	for {
		if time.Since(asked) >= whoIsEvery {
			f.askStatic(ctx)
			asked = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-minute.C:
			f.mu.Lock()
			f.heard = 0
			f.mu.Unlock()
			f.forgetStrangers()
		case <-refresh.C:
			next := lookForWay
			if f.knowsWay() {
				f.introduce(ctx)
				f.d.found()
				next = dhtRefresh/2 + rand.N(dhtRefresh)
			}
			refresh.Reset(next)
		case <-f.wake:
			f.mu.Lock()
			again := f.again
			f.again = false
			f.mu.Unlock()
			if again {
				f.stopLAN()
				f.startLAN()
				asked = time.Time{}
			}
		}
	}
}

func (f *finder) stop() {
	f.stopLAN()
	f.mu.Lock()
	table := f.table
	f.table = nil
	f.mu.Unlock()
	if table != nil {
		table.Close()
	}
}

// knowsWay reports whether there is anybody to ask; without a DHT there is none.
func (f *finder) knowsWay() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table != nil && f.table.RoutingTable().Size() > 0
}

// introduce looks for this island's own place in the DHT: those near it, whom
// others will ask for it, get to know it, and it them.
func (f *finder) introduce(ctx context.Context) {
	f.mu.Lock()
	table := f.table
	f.mu.Unlock()
	if table == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	if _, err := table.GetClosestPeers(ctx, string(f.d.opts.Host.ID())); err != nil && ctx.Err() == nil {
		f.d.log.Debug("place in the DHT was not found", "err", err)
	}
}

// forgetStrangers removes who has left the roster from the DHT's table.
func (f *finder) forgetStrangers() {
	f.mu.Lock()
	table := f.table
	f.mu.Unlock()
	if table == nil {
		return
	}
	rt := table.RoutingTable()
	for _, p := range rt.ListPeers() {
		if !f.d.IsMember(p) {
			rt.RemovePeer(p)
		}
	}
	f.d.metrics.table.Set(float64(rt.Size()))
}

// lookup asks other members where p is: the DHT, and where that does not know,
// those who are connected. What they say goes to the address book.
func (f *finder) lookup(ctx context.Context, p peer.ID) bool {
	return f.lookupTable(ctx, p) || f.lookupGuides(ctx, p)
}

// lookupGuides: in a network where nobody is public there is no DHT to ask.
func (f *finder) lookupGuides(ctx context.Context, p peer.ID) bool {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	h := f.d.opts.Host
	known := h.Peerstore().Addrs(p)
	for _, guide := range f.d.guides(p) {
		said, err := f.d.opts.Ask(ctx, guide, p)
		if err != nil {
			f.d.log.Debug("a member did not say where another one is", "asked", guide, "about", p, "err", err)
			continue
		}
		news := slices.DeleteFunc(bounded(said), func(a ma.Multiaddr) bool { return slices.ContainsFunc(known, a.Equal) })
		if len(news) > 0 {
			f.d.metrics.found.WithLabelValues("member").Inc()
			h.Peerstore().AddAddrs(p, news, mdnsFor)
			return true
		}
	}
	return false
}

// guides lists connected members that can be asked about p, a few.
func (d *Discover) guides(p peer.ID) (out []peer.ID) {
	if d.opts.Ask == nil {
		return nil
	}
	for _, c := range d.opts.Host.Network().Peers() {
		if c != p && d.IsMember(c) {
			out = append(out, c)
		}
	}
	rand.Shuffle(len(out), func(i, k int) { out[i], out[k] = out[k], out[i] })
	return out[:min(len(out), guides)]
}

// lookupTable asks the DHT. It ends with the first address that is news: the DHT would go on until it has
// asked all that are nearest.
func (f *finder) lookupTable(ctx context.Context, p peer.ID) bool {
	f.mu.Lock()
	table := f.table
	f.mu.Unlock()
	if table == nil || table.RoutingTable().Size() == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addrs := f.d.opts.Host.Peerstore()
	known := addrs.Addrs(p)
	news := func(a ma.Multiaddr) bool { return !slices.ContainsFunc(known, a.Equal) }
	heard := addrs.AddrStream(ctx, p)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for a := range heard {
			if news(a) {
				cancel()
			}
		}
	})
	info, err := table.FindPeer(ctx, p)
	if said := addrs.Addrs(p); slices.ContainsFunc(said, news) {
		info.Addrs, err = said, nil
	}
	if err != nil || len(info.Addrs) == 0 {
		f.d.metrics.lookups.WithLabelValues("missing").Inc()
		return false
	}
	f.d.metrics.lookups.WithLabelValues("found").Inc()
	f.d.metrics.found.WithLabelValues("dht").Inc()
	addrs.AddAddrs(p, bounded(info.Addrs), mdnsFor)
	return true
}

func (f *finder) startLAN() {
	if !f.d.opts.Config.MDNS {
		return
	}
	s := mdns.NewMdnsService(f.d.opts.Host, service(f.d.opts.Network), f)
	if err := s.Start(); err != nil {
		f.d.log.Info("members on the local network are not looked for", "err", err)
		s.Close()
		return
	}
	f.mu.Lock()
	f.lan = s
	f.mu.Unlock()
}

func (f *finder) stopLAN() {
	f.mu.Lock()
	s := f.lan
	f.lan = nil
	f.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

// HandlePeerFound hears of somebody on the local network. Anybody there can send
// such a message: only members' keys count, and only so many a minute.
func (f *finder) HandlePeerFound(ai peer.AddrInfo) {
	if !f.d.IsMember(ai.ID) {
		f.d.metrics.strangers.WithLabelValues("mdns").Inc()
		return
	}
	f.mu.Lock()
	f.heard++
	ok := f.heard <= lanRate
	f.mu.Unlock()
	if !ok {
		return
	}
	f.d.metrics.found.WithLabelValues("mdns").Inc()
	f.d.opts.Host.Peerstore().AddAddrs(ai.ID, bounded(ai.Addrs), mdnsFor)
	f.d.Reachable(ai.ID)
}

// askStatic finds out whose the nameless static addresses are.
func (f *finder) askStatic(ctx context.Context) {
	d := f.d
	key := d.opts.Host.Peerstore().PrivKey(d.opts.Host.ID())
	for i, s := range d.fixed {
		if s.Who != "" || s.ID != "" || key == nil {
			continue
		}
		p, err := whoIs(ctx, key, s)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			d.log.Debug("static address gave no key", "addr", s.Addrs[0], "err", err)
			continue
		}
		if !d.IsMember(p) {
			d.metrics.strangers.WithLabelValues("static").Inc()
			d.log.Warn("a static address belongs to somebody who is no member", "addr", s.Addrs[0], "key", p)
			continue
		}
		d.mu.Lock()
		known := d.whois[i] == p
		d.whois[i] = p
		d.mu.Unlock()
		if !known {
			d.metrics.found.WithLabelValues("static").Inc()
			d.Reachable(p)
		}
	}
}

// bounded cuts what somebody else says about addresses to a sane number.
func bounded(addrs []ma.Multiaddr) []ma.Multiaddr {
	const limit = 32
	if len(addrs) > limit {
		return addrs[:limit]
	}
	return addrs
}
