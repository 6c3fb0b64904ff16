package mesh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/reach"
	"github.com/atoll-mesh/atoll/trust"
)

const (
	// detourAfter is how long a probe for somebody who waits stays unanswered before
	// another way is made beside the silent one.
	detourAfter = time.Second
	// detourTry bounds the dial through one relay.
	detourTry = 2 * time.Second
	// maxDetours is how many relays are tried.
	maxDetours = 3
)

var errNoDetour = errors.New("no other relay leads there")

// stalled looks at the connections to a member because a call waits for bytes. The
// call has a deadline, and a dead path is known for dead only after pulse.Patience:
// so another one is made meanwhile, through a relay that none of the silent ones
// leads over, and taken if it is there first.
func (m *Mesh) stalled(k trust.Key) {
	silent := m.silence(ident.Peer(k))
	detour := time.AfterFunc(detourAfter, func() {
		m.tasks.do(func(ctx context.Context) {
			if silent() && m.detouring(k, true) {
				m.detour(ctx, k, silent)
				m.detouring(k, false)
			}
		})
	})
	defer detour.Stop()
	m.pulse.Check(ident.Peer(k))
}

// detouring notes that a detour begins or ends; false where one is under way already.
func (m *Mesh) detouring(k trust.Key, begins bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.record(k)
	if begins && r.detour {
		return false
	}
	r.detour = begins
	return true
}

// silence returns a function that says whether nothing came from a peer since, over
// any connection that there is now.
func (m *Mesh) silence(p peer.ID) func() bool {
	since := time.Now()
	conns := m.swarm.ConnsToPeer(p)
	before := make([]uint64, len(conns))
	for n, c := range conns {
		before[n], _ = m.received(c)
	}
	return func() bool {
		for n, c := range conns {
			now, _ := m.received(c)
			if now != before[n] || m.pulse.Of(c).Answered.After(since) {
				return false
			}
		}
		return len(conns) > 0
	}
}

// detour makes a connection around the silent ones and has calls take it.
func (m *Mesh) detour(ctx context.Context, k trust.Key, silent func() bool) {
	p := ident.Peer(k)
	old := m.swarm.ConnsToPeer(p)
	c, err := m.around(ctx, p, old)
	switch {
	case err != nil:
		m.m.detours.WithLabelValues("failed").Inc()
		m.log.Debug("no way around a silent connection", "peer", k, "err", err)
	case !silent():
		m.m.detours.WithLabelValues("needless").Inc()
		_ = c.Close()
	default:
		m.m.detours.WithLabelValues("taken").Inc()
		m.log.Info("going around a silent connection", "peer", k, "address", c.RemoteMultiaddr())
		for _, o := range old {
			m.pulse.Doubt(o)
		}
		m.clients.Reset(k)
	}
}

// around connects to a peer through a relay that none of its connections uses.
func (m *Mesh) around(ctx context.Context, p peer.ID, taken []network.Conn) (network.Conn, error) {
	avoid := map[peer.ID]bool{p: true, m.host.ID(): true}
	for _, c := range taken {
		if relay, ok := reach.RelayOf(c.RemoteMultiaddr()); ok {
			avoid[relay] = true
		}
	}
	err := errNoDetour
	tried := 0
	for _, d := range m.rank(m.host.Peerstore().Addrs(p)) {
		relay, ok := reach.RelayOf(d.Addr)
		if !ok || avoid[relay] {
			continue
		}
		if tried++; tried > maxDetours || ctx.Err() != nil {
			break
		}
		avoid[relay] = true // its other addresses are as good
		var c network.Conn
		if c, err = m.throughRelay(ctx, d.Addr, p); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func (m *Mesh) throughRelay(ctx context.Context, a ma.Multiaddr, p peer.ID) (network.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, detourTry)
	defer cancel()
	before := m.swarm.ConnsToPeer(p)
	raw, err := m.reach.DialRelayed(ctx, a, p)
	if err == nil {
		err = m.transports.Hand(ctx, raw)
	}
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", a, err)
	}
	c := m.settled(ctx, func() network.Conn {
		for _, c := range m.swarm.ConnsToPeer(p) {
			if !slices.Contains(before, c) && !c.IsClosed() {
				return c
			}
		}
		return nil
	})
	if c == nil {
		return nil, fmt.Errorf("dial %s: the connection did not last", a)
	}
	return c, nil
}
