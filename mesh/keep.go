package mesh

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/gossip"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/reach"
	"github.com/atoll-mesh/atoll/mesh/session"
	"github.com/atoll-mesh/atoll/trust"
)

// outlived is how long a connection stays after a better one was made, so that
// calls on a relayed one have time to end.
const outlived = time.Minute

// keep looks after what changes with time alone.
func (m *Mesh) keep(ctx context.Context) {
	t := time.NewTicker(recheck)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			m.sessions.Recheck()
			m.prune()
			m.review()
		}
	}
}

// prune closes connections that a better one has replaced for a while.
func (m *Mesh) prune() {
	for _, p := range m.swarm.Peers() {
		best := m.best(p, false)
		if best == nil || time.Since(best.Stat().Opened) < outlived || m.pulse.Of(best).Suspect {
			continue
		}
		for _, c := range m.swarm.ConnsToPeer(p) {
			if c != best && replaced(best, c) {
				m.log.Debug("connection closed for a better one", "peer", p, "address", c.RemoteMultiaddr())
				_ = c.Close()
			}
		}
	}
}

// replaced reports whether a connection does nothing that best does not do
// better. Of two direct ones that both islands made at once, only the island with
// the lower key closes one, lest each closes the other's. Gossip that began on it
// begins again on the other.
func replaced(best, c network.Conn) bool {
	if reach.Relayed(c) {
		return !reach.Relayed(best)
	}
	return !reach.Relayed(best) && c.LocalPeer() < c.RemotePeer() &&
		!slices.ContainsFunc(c.GetStreams(), func(s network.Stream) bool { return !gossip.Carries(s.Protocol()) })
}

// review raises or clears the warning that nobody is in reach.
func (m *Mesh) review() {
	others := m.gate.State().Len() - 1
	switch {
	case others > 0 && len(m.Connected()) == 0:
		m.alone.Set("none of %d other islands is connected", others)
	default:
		m.alone.Clear()
	}
}

// addressesChanged is told by reach. Addresses are told by identify; whether this
// island relays is told by hellos.
func (m *Mesh) addressesChanged() {
	if now := m.reach.Relaying(); m.relaying.Swap(now) != now {
		m.CertificateChanged()
	}
}

// networkChanged is told by reach when this machine's network did.
func (m *Mesh) networkChanged() {
	m.discover.NetworkChanged()
	m.tasks.do(func(context.Context) {
		for _, k := range m.Connected() {
			m.pulse.Check(ident.Peer(k))
		}
	})
}

// remember notes a member's addresses, the one in use first.
func (m *Mesh) remember(k trust.Key) {
	p := ident.Peer(k)
	var addrs []ma.Multiaddr
	for _, c := range m.swarm.ConnsToPeer(p) {
		if c.Stat().Direction == network.DirOutbound && !reach.Relayed(c) {
			addrs = append(addrs, c.RemoteMultiaddr())
		}
	}
	for _, a := range m.host.Peerstore().Addrs(p) {
		if !slices.ContainsFunc(addrs, a.Equal) {
			addrs = append(addrs, a)
		}
	}
	m.book.Put(k, addrs, time.Now())
}

// rememberAll is for the end, when identify has told all it will.
func (m *Mesh) rememberAll() {
	for _, k := range m.Connected() {
		if m.sessions.Standing(k) == session.Member {
			m.remember(k)
		}
	}
}
