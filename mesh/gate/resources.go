package gate

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/atoll-mesh/atoll/mesh/ident"
)

// Sizes of what is held for others at once.
const (
	handshakesAtOnce   = 512
	connectionsPerPeer = 64 // all who join by one token count as one peer
	streamsPerPeer     = 2048
	streamsPerConn     = 8 // on average, over all connections
	connectionsPerIP   = 512
	pingsPerPeer       = 32
)

var errFlood = errors.New("accept a connection: too many from this address without a member behind them")

// Resources returns libp2p's resource manager with our sizes: no limit of 8
// connections per address and 0.2 new ones per second, which keep islands behind
// one NAT out, but a limit on connections by total, by subnet, and on handshakes
// with unknown peers. connections is the total; tune adds limits of services.
func Resources(connections int, tune func(*rcmgr.ScalingLimitConfig), p *Pressure, refused func(ma.Multiaddr, Refused)) (network.ResourceManager, error) {
	n := rcmgr.LimitVal(connections)
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	// The library allows three pings of a peer at once: fewer than people, witnesses
	// and the pulse may want.
	pings := rcmgr.BaseLimit{StreamsInbound: pingsPerPeer, StreamsOutbound: pingsPerPeer, Streams: 2 * pingsPerPeer, Memory: 4 << 20}
	scaling.AddProtocolPeerLimit(ping.ID, pings, rcmgr.BaseLimitIncrease{})
	scaling.AddServicePeerLimit(ping.ServiceName, pings, rcmgr.BaseLimitIncrease{})
	tune(&scaling)
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: n, ConnsInbound: n, ConnsOutbound: n, FD: n,
			Streams: n * streamsPerConn * 2, StreamsInbound: n * streamsPerConn, StreamsOutbound: n * streamsPerConn,
		},
		Transient: rcmgr.ResourceLimits{
			Conns: 2 * handshakesAtOnce, ConnsInbound: handshakesAtOnce, ConnsOutbound: handshakesAtOnce, FD: handshakesAtOnce,
			Streams: 4 * handshakesAtOnce, StreamsInbound: 2 * handshakesAtOnce, StreamsOutbound: 2 * handshakesAtOnce,
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: connectionsPerPeer, ConnsInbound: connectionsPerPeer, ConnsOutbound: connectionsPerPeer, FD: connectionsPerPeer,
			Streams: 2 * streamsPerPeer, StreamsInbound: streamsPerPeer, StreamsOutbound: streamsPerPeer,
		},
	}.Build(scaling.AutoScale())
	v4 := []rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connectionsPerIP}, {PrefixLength: 24, ConnCount: 2 * connectionsPerIP}}
	v6 := []rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connectionsPerIP}, {PrefixLength: 48, ConnCount: 2 * connectionsPerIP}}
	inner, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(v4, v6),
		// The library exempts loopback, which a proxy in front may make everybody's address.
		rcmgr.WithNetworkPrefixLimit([]rcmgr.NetworkPrefixLimit{}, []rcmgr.NetworkPrefixLimit{}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{}))
	if err != nil {
		return nil, fmt.Errorf("set up the limits on connections: %w", err)
	}
	return &resources{ResourceManager: inner, pressure: p, refused: refused}, nil
}

// resources asks Pressure before libp2p opens anything for an inbound
// connection: for TCP after accept(2), for QUIC before the handshake.
type resources struct {
	network.ResourceManager
	pressure *Pressure
	refused  func(ma.Multiaddr, Refused)
}

func (r *resources) OpenConnection(dir network.Direction, usefd bool, endpoint ma.Multiaddr) (network.ConnManagementScope, error) {
	if dir != network.DirInbound || endpoint == nil || ident.Relayed(endpoint) {
		return r.ResourceManager.OpenConnection(dir, usefd, endpoint)
	}
	if !r.pressure.Begin(endpoint) {
		r.refused(endpoint, RefusedFlood)
		return nil, errFlood
	}
	end := sync.OnceFunc(func() { r.pressure.End(endpoint) })
	scope, err := r.ResourceManager.OpenConnection(dir, usefd, endpoint)
	if err != nil {
		end()
		return nil, err
	}
	return &scoped{ConnManagementScope: scope, end: end}, nil
}

// VerifySourceAddress makes QUIC send a Retry where addresses may be forged.
func (r *resources) VerifySourceAddress(addr net.Addr) bool {
	a, err := manet.FromNetAddr(addr)
	return err != nil || r.pressure.Suspicious(a) || r.ResourceManager.VerifySourceAddress(addr)
}

// scoped ends the handshake's place when its peer is known or it is over.
type scoped struct {
	network.ConnManagementScope
	end func()
}

func (s *scoped) SetPeer(p peer.ID) error {
	s.end()
	return s.ConnManagementScope.SetPeer(p)
}

func (s *scoped) Done() {
	s.end()
	s.ConnManagementScope.Done()
}
