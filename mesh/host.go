package mesh

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/atoll-mesh/atoll/mesh/gate"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/join"
	"github.com/atoll-mesh/atoll/mesh/reach"
	"github.com/atoll-mesh/atoll/mesh/session"
)

const (
	dialTimeout = 10 * time.Second
	// streamBacklog is how many streams of a connection may wait to be answered. Room
	// for them is taken from the start, at both ends; calls share streams, so few do.
	streamBacklog = 64
)

// makeHost builds the libp2p host and puts the gates in place; it listens on
// nothing yet.
func (m *Mesh) makeHost() error {
	key, err := ident.Private(m.o.Identity)
	if err != nil {
		return err
	}
	resources, err := gate.Resources(m.o.Config.Connections, reach.Limits, m.pressure,
		func(a ma.Multiaddr, why gate.Refused) { m.turnedAway("", a, why) })
	if err != nil {
		return err
	}
	mux := *yamux.DefaultTransport
	mux.EnableKeepAlive = false // pulse does it, and measures
	mux.MeasureRTTInterval = 10 * time.Minute
	mux.AcceptBacklog = streamBacklog
	opts := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.NoListenAddrs, // until the stream gate is in place
		libp2p.UserAgent(m.o.Version),
		libp2p.Security(noise.ID, noise.New), // 2.6 times cheaper than QUIC per byte; TLS for who has no Noise
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Muxer(yamux.ID, &mux),
		libp2p.ConnectionGater(m.gate),
		libp2p.ResourceManager(resources),
		libp2p.ConnectionManager(connmgr.NullConnMgr{}), // the keeper closes what is not needed
		libp2p.BandwidthReporter(m.traffic),
		// libp2p's collectors are package variables: those of several islands in one
		// process would mix. What an operator needs is in ours.
		libp2p.DisableMetrics(),
		libp2p.SwarmOpts(swarm.WithDialRanker(m.rank)),
		libp2p.WithDialTimeout(dialTimeout),
		// The detectors give up on UDP or IPv6 after a few failures, which in a small
		// mesh are one island that is down.
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.IPv6BlackHoleSuccessCounter(nil),
	}
	for _, t := range m.o.Config.Transports {
		opts = append(opts, map[string]libp2p.Option{
			"tcp": libp2p.Transport(m.transports.TCP), "quic": libp2p.Transport(m.transports.QUIC),
		}[t])
	}
	h, err := libp2p.New(append(opts, m.reach.HostOptions()...)...)
	if err != nil {
		return errors.Join(fmt.Errorf("set up libp2p: %w", err), resources.Close())
	}
	sw, ok := h.Network().(*swarm.Swarm)
	if !ok {
		return errors.Join(fmt.Errorf("BUG: libp2p's network is a %T", h.Network()), h.Close())
	}
	m.host, m.swarm = h, sw
	h.SetStreamHandler(session.Protocol, m.answer)
	h.SetStreamHandler(m.rpcProtocol(), m.listener.Handle)
	h.SetStreamHandler(join.WordProtocol, m.hearing.Serve)
	sw.SetStreamHandler(m.sessions.Gate(h.Mux(), m.quarantined(), func(s session.Standing) {
		m.m.turnedAway.WithLabelValues(s.String()).Inc()
	}))
	return nil
}

// listen opens the port on every configured address. IPv6 addresses may be
// missing on the machine; everything else that fails is an error.
func (m *Mesh) listen() error {
	port := m.o.Config.Port
	for try := 0; ; try++ {
		if m.o.Config.Port == 0 {
			var err error
			if port, err = freePort(m.o.Config.Addresses[0]); err != nil {
				return err
			}
		}
		err := m.listenOn(port)
		if err == nil || m.o.Config.Port != 0 || try == 4 {
			return err
		}
	}
}

func (m *Mesh) listenOn(port int) error {
	var errs []error
	for _, a := range m.listenAddrs(port) {
		err := m.swarm.Listen(a)
		if err == nil {
			continue
		}
		if _, no := a.ValueForProtocol(ma.P_IP6); no == nil && slices.ContainsFunc(m.o.Config.Addresses, isIPv4) {
			m.log.Warn("not listening on IPv6", "address", a, "err", err)
			continue
		}
		errs = append(errs, fmt.Errorf("listen on %s: %w; free the port, or set mesh.port", a, err))
	}
	if len(errs) > 0 {
		m.swarm.ListenClose(m.listenAddrs(port)...)
	}
	return errors.Join(errs...)
}

func isIPv4(text string) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && a.Unmap().Is4()
}

func (m *Mesh) listenAddrs(port int) []ma.Multiaddr {
	var out []ma.Multiaddr
	for _, text := range m.o.Config.Addresses {
		family := "ip6"
		if isIPv4(text) {
			family = "ip4"
		}
		for _, t := range m.o.Config.Transports {
			tail := map[string]string{"tcp": "/tcp/%d", "quic": "/udp/%d/quic-v1"}[t]
			out = append(out, ma.StringCast("/"+family+"/"+text+fmt.Sprintf(tail, port)))
		}
	}
	return out
}

// freePort finds a port that is free for UDP and TCP.
func freePort(address string) (int, error) {
	for range 16 {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			return 0, fmt.Errorf("find a free port on %s: %w", address, err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", net.JoinHostPort(address, strconv.Itoa(port)))
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a port on %s that is free for UDP and TCP: 16 tries did not", address)
}

// How long dials wait for better ones. TCP goes first: with BBR it carries 40
// times what QUIC does at 1 % loss and 100 ms, at equal latency of calls and a
// third of the CPU. TCP is up after four round trips, QUIC after one: 600 ms let
// TCP win up to 200 ms of round trip, and are lost only where TCP packets vanish;
// where TCP is refused the swarm goes on at once. A second relay is tried while the
// first one is waited for, which may be beyond a hole.
const (
	quicDelay      = 600 * time.Millisecond
	quicDelayLocal = 100 * time.Millisecond
	relayDelay     = 900 * time.Millisecond
	nextRelay      = time.Second
	stagger        = 50 * time.Millisecond // between addresses of one kind
	maxStagger     = 4
)

// rank says in which order a peer's addresses are dialled.
func (m *Mesh) rank(addrs []ma.Multiaddr) []network.AddrDelay { return rank(addrs, m.near) }

// near reports whether a relay is connected directly and answers.
func (m *Mesh) near(relay peer.ID) bool {
	c := m.best(relay, false)
	return c != nil && !reach.Relayed(c) && !m.pulse.Of(c).Suspect
}

// rank puts relays that are near before others, one after the other.
func rank(addrs []ma.Multiaddr, near func(relay peer.ID) bool) []network.AddrDelay {
	direct := slices.ContainsFunc(addrs, func(a ma.Multiaddr) bool { return !ident.Relayed(a) && manet.IsPublicAddr(a) })
	tcp := slices.ContainsFunc(addrs, func(a ma.Multiaddr) bool { return !ident.Relayed(a) && isTCP(a) })
	turn := turns(addrs, near)
	out := make([]network.AddrDelay, 0, len(addrs))
	type kind struct {
		relay       peer.ID
		tcp, public bool
	}
	seen := map[kind]int{}
	for _, a := range addrs {
		relay, relayed := reach.RelayOf(a)
		k := kind{relay, isTCP(a), manet.IsPublicAddr(a)}
		delay := time.Duration(min(seen[k], maxStagger)) * stagger
		seen[k]++
		switch {
		case relayed:
			delay += time.Duration(min(turn[relay], maxStagger)) * nextRelay
			if direct {
				delay += relayDelay
			}
		case !k.tcp && tcp && k.public:
			delay += quicDelay
		case !k.tcp && tcp:
			delay += quicDelayLocal
		}
		out = append(out, network.AddrDelay{Addr: a, Delay: delay})
	}
	slices.SortStableFunc(out, func(a, b network.AddrDelay) int { return int(a.Delay - b.Delay) })
	return out
}

// turns numbers the relays of addresses in the order in which they are tried.
func turns(addrs []ma.Multiaddr, near func(peer.ID) bool) map[peer.ID]int {
	var relays []peer.ID
	for _, a := range addrs {
		if relay, ok := reach.RelayOf(a); ok && !slices.Contains(relays, relay) {
			relays = append(relays, relay)
		}
	}
	far := map[peer.ID]int{}
	for _, relay := range relays {
		if !near(relay) {
			far[relay] = 1
		}
	}
	slices.SortStableFunc(relays, func(a, b peer.ID) int { return far[a] - far[b] })
	turn := map[peer.ID]int{}
	for n, relay := range relays {
		turn[relay] = n
	}
	return turn
}

// isTCP reports whether the way to an address's first hop is TCP.
func isTCP(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_TCP)
	return err == nil
}
