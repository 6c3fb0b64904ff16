package gate

import (
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/trust"
)

// Refused names why a connection was not let in, for metrics.
type Refused string

// The reasons.
const (
	RefusedStranger Refused = "stranger"
	RefusedRevoked  Refused = "revoked"
	RefusedLeft     Refused = "left"
	RefusedGuest    Refused = "guest" // a guest where guests may not be, or too many at once
	RefusedFlood    Refused = "flood"
)

// Gate is the swarm's connection gater. It reads the roster through one atomic
// pointer, so that a change of trust holds from the moment SetState returns.
type Gate struct {
	state    atomic.Pointer[trust.State]
	pressure *Pressure
	refused  func(peer.ID, ma.Multiaddr, Refused)
}

var _ connmgr.ConnectionGater = (*Gate)(nil)

// New returns a gate for a roster. refused is told of each connection that was
// turned away; it is called from many goroutines and must not block.
func New(s *trust.State, p *Pressure, refused func(peer.ID, ma.Multiaddr, Refused)) *Gate {
	g := &Gate{pressure: p, refused: refused}
	g.state.Store(s)
	return g
}

// SetState puts a new roster in force.
func (g *Gate) SetState(s *trust.State) { g.state.Store(s) }

// State returns the roster in force.
func (g *Gate) State() *trust.State { return g.state.Load() }

// Standing says what the roster in force knows of a peer.
func (g *Gate) Standing(p peer.ID) trust.Standing {
	k, ok := ident.Key(p)
	if !ok {
		return trust.Unknown
	}
	return g.state.Load().Standing(k)
}

// outcast reports whether a peer is kept out though the documents name it.
func (g *Gate) outcast(p peer.ID) bool {
	k, ok := ident.Key(p)
	return ok && g.state.Load().Outcast(k)
}

// Member reports whether a peer is in the roster.
func (g *Gate) Member(p peer.ID) bool { return g.Standing(p) == trust.MemberStanding }

// InterceptPeerDial keeps this island from calling anybody but members.
func (g *Gate) InterceptPeerDial(p peer.ID) bool { return g.Member(p) }

// InterceptAddrDial lets every address be tried.
func (g *Gate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept lets handshakes begin: how many is the resource manager's to say.
func (g *Gate) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured sees every direct, relayed and punched connection once its
// peer's key is proved. Guests and outcasts pass on direct inbound ones; Listener
// takes them out before the swarm sees them.
func (g *Gate) InterceptSecured(dir network.Direction, p peer.ID, c network.ConnMultiaddrs) bool {
	standing := g.Standing(p)
	switch {
	case standing == trust.MemberStanding:
		if dir == network.DirInbound {
			g.pressure.Admitted(c.RemoteMultiaddr())
		}
		return true
	case dir != network.DirInbound || ident.Relayed(c.RemoteMultiaddr()):
	case standing == trust.Guest, g.outcast(p):
		return true
	}
	g.refused(p, c.RemoteMultiaddr(), reason(standing))
	return false
}

// InterceptUpgraded is the last look before a connection enters the swarm: it
// holds even for what came past the listeners.
func (g *Gate) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	if g.Member(c.RemotePeer()) {
		return true, 0
	}
	g.refused(c.RemotePeer(), c.RemoteMultiaddr(), reason(g.Standing(c.RemotePeer())))
	return false, 0
}

func reason(s trust.Standing) Refused {
	switch s {
	case trust.Revoked:
		return RefusedRevoked
	case trust.Left:
		return RefusedLeft
	case trust.Guest:
		return RefusedGuest
	default:
		return RefusedStranger
	}
}
