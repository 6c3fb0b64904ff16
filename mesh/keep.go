package mesh

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/gate"
	"github.com/atoll-mesh/atoll/mesh/gossip"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/reach"
	"github.com/atoll-mesh/atoll/mesh/session"
	"github.com/atoll-mesh/atoll/trust"
)

const (
	// outlived is how long a relayed connection stays after a direct one was made, so
	// that calls on it have time to end.
	outlived = time.Minute
	// doubled is how long two direct ones stay that both islands made at once.
	doubled = 3 * time.Second
)

// keep looks after what changes with time alone.
func (m *Mesh) keep(ctx context.Context) {
	t := time.NewTicker(recheck)
	defer t.Stop()
	double := time.NewTimer(doubled)
	defer double.Stop()
	m.trustDoubted(nil, m.gate.State())
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.double:
			double.Reset(doubled)
		case <-double.C:
			m.prune()
		case <-t.C:
			m.sessions.Recheck()
			m.prune()
			m.review()
			m.appeal()
		}
	}
}

// noteDouble has two connections with one peer looked at soon.
func (m *Mesh) noteDouble(p peer.ID) {
	if len(m.swarm.ConnsToPeer(p)) < 2 {
		return
	}
	select {
	case m.double <- struct{}{}:
	default:
	}
}

// doubtOlder asks a peer's other connections for a sign of life: who comes anew
// through a relay has perhaps lost them, and until they are found dead a hole would
// be arranged over them.
func (m *Mesh) doubtOlder(c network.Conn) {
	if p := c.RemotePeer(); len(m.swarm.ConnsToPeer(p)) > 1 {
		m.tasks.do(func(context.Context) { m.pulse.Check(p) })
	}
}

// prune closes connections that a better one has replaced for a while.
func (m *Mesh) prune() {
	for _, p := range m.swarm.Peers() {
		all := m.swarm.ConnsToPeer(p)
		if len(all) < 2 {
			continue
		}
		best := m.best(p, false)
		if best == nil || m.pulse.Of(best).Suspect {
			continue
		}
		for _, c := range all {
			if c != best && replaced(best, c, min(time.Since(best.Stat().Opened), time.Since(c.Stat().Opened))) {
				m.log.Debug("connection closed for a better one", "peer", p, "address", c.RemoteMultiaddr())
				_ = c.Close()
			}
		}
	}
}

// replaced reports whether a connection does nothing that best does not do
// better; age is for how long there have been both. Of two direct ones that both
// islands made at once, only the island with the lower key closes one, lest each
// closes the other's. Gossip that began on it begins again on the other.
func replaced(best, c network.Conn, age time.Duration) bool {
	if reach.Relayed(best) {
		return false
	}
	if reach.Relayed(c) {
		return age >= outlived
	}
	return age >= doubled && c.LocalPeer() < c.RemotePeer() &&
		!slices.ContainsFunc(c.GetStreams(), func(s network.Stream) bool { return !gossip.Carries(s.Protocol()) })
}

// review raises or clears the warnings that nobody is in reach, and that others
// turn this island away.
func (m *Mesh) review() {
	others := m.gate.State().Len() - 1
	switch {
	case others > 0 && len(m.Connected()) == 0:
		m.alone.Set("none of %d other islands is connected", others)
	default:
		m.alone.Clear()
	}
	n, words := 0, ""
	m.mu.Lock()
	for k, r := range m.roster {
		if r.turnedAway != "" {
			n++
			words = m.name(k) + ": " + r.turnedAway
		}
	}
	m.mu.Unlock()
	if n == 0 {
		m.turned.Clear()
		return
	}
	m.turned.Set("%d of %d other islands; %s", n, others, words)
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
	for _, k := range m.Connected() {
		p := ident.Peer(k)
		m.tasks.do(func(ctx context.Context) {
			m.pulse.Check(p)
			if c := m.best(p, false); c != nil {
				m.greet(ctx, c) // it says where it sees this island now
			}
		})
	}
}

// maxObserved bounds an address in bytes; circuits have two keys in them.
const maxObserved = 256

// heard is told by sessions of each hello. One that comes again may be that of an
// island whose network changed: if a hole could not be punched to it, now it can
// perhaps.
func (m *Mesh) heard(c network.Conn, observed []byte) {
	if len(observed) <= maxObserved {
		if a, err := ma.NewMultiaddrBytes(observed); err == nil {
			m.reach.Observed(c, a)
		}
	}
	m.reach.PunchAnew(c.RemotePeer())
}

// remember notes a member's addresses, the one in use first.
func (m *Mesh) remember(k trust.Key) {
	p := ident.Peer(k)
	var addrs []ma.Multiaddr
	for _, c := range m.swarm.ConnsToPeer(p) {
		if gate.Dialled(c) && !reach.Relayed(c) {
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
