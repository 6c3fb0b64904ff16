package mesh

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/quic-go/quic-go"

	"github.com/atoll-mesh/atoll/mesh/carrier"
	"github.com/atoll-mesh/atoll/mesh/gate"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/pulse"
	"github.com/atoll-mesh/atoll/mesh/reach"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/mesh/session"
	"github.com/atoll-mesh/atoll/trust"
)

const (
	// secondEvery is how often a TCP connection is tried beside one of QUIC.
	secondEvery = 5 * time.Minute
	// secondPatience is how long a bulk call waits for it.
	secondPatience = 2 * time.Second
	// pingSilence is how long a ping waits before its connection is looked at.
	pingSilence = 2 * time.Second
)

// best is the connection to use: an answering one before a suspect, direct before
// relayed, TCP before QUIC, then that which the island with the lower key dialled,
// then the oldest: both ends choose alike.
func (m *Mesh) best(p peer.ID, tcpOnly bool) network.Conn {
	conns := slices.DeleteFunc(m.swarm.ConnsToPeer(p), func(c network.Conn) bool {
		return c.IsClosed() || tcpOnly && (reach.Relayed(c) || !isTCP(c.RemoteMultiaddr()))
	})
	if len(conns) == 0 {
		return nil
	}
	rank := func(c network.Conn) int {
		n := 0
		if m.pulse.Of(c).Suspect {
			n += 8
		}
		if reach.Relayed(c) {
			n += 4
		}
		if !isTCP(c.RemoteMultiaddr()) {
			n += 2
		}
		if gate.Dialled(c) != (c.LocalPeer() < p) {
			n++
		}
		return n
	}
	return slices.MinFunc(conns, func(a, b network.Conn) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Stat().Opened.Compare(b.Stat().Opened))
	})
}

// Connect makes sure that there is a connection to a member and that both sides
// have said hello.
func (m *Mesh) Connect(ctx context.Context, k trust.Key) error {
	_, err := m.way(ctx, k)
	return err
}

// way returns a connection to a member in standing, dialling where there is none.
func (m *Mesh) way(ctx context.Context, k trust.Key) (network.Conn, error) {
	select {
	case <-m.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("reach %s: %w: %w", m.name(k), ErrNotReady, ctx.Err())
	}
	p := ident.Peer(k)
	if !m.gate.Member(p) {
		return nil, fmt.Errorf("reach %s: %w", k, ErrNotMember)
	}
	m.discover.Used(p)
	c := m.best(p, false)
	if c == nil {
		if err := m.dial(ctx, k); err != nil {
			return nil, err
		}
	}
	standing, err := m.sessions.Wait(ctx, k)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reach %s: %w: %w", m.name(k), ErrUnreachable, err)
	case standing == session.Refused:
		info, _ := m.sessions.Get(k)
		return nil, fmt.Errorf("reach %s: %w: %s", m.name(k), ErrRefused, info.Reason)
	}
	if c = m.best(p, false); c == nil {
		return nil, fmt.Errorf("reach %s: %w: the connection closed at once; %s", m.name(k), ErrUnreachable, m.lastError(k))
	}
	return c, nil
}

func (m *Mesh) lastError(k trust.Key) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.record(k).lastError; e != "" {
		return e
	}
	return "it may not know this island as a member yet"
}

// dial connects to a member on demand.
func (m *Mesh) dial(ctx context.Context, k trust.Key) error {
	err := m.dialOrMeet(network.WithAllowLimitedConn(ctx, "mesh"), ident.Peer(k))
	if err == nil {
		return nil
	}
	m.mu.Lock()
	r := m.record(k)
	r.failures++
	r.lastError = err.Error()
	m.mu.Unlock()
	return fmt.Errorf("reach %s: %w: %w", m.name(k), ErrUnreachable, err)
}

// dialOrMeet dials until it works, or until there is a connection that was made
// otherwise: by the peer, or as a detour.
func (m *Mesh) dialOrMeet(ctx context.Context, p peer.ID) error {
	ctx, cancel := context.WithCancel(ctx)
	dialled := make(chan error, 1)
	go func() {
		defer cancel()
		dialled <- m.discover.Dial(ctx, p)
	}()
	met := m.settled(ctx, func() network.Conn { return m.best(p, false) })
	cancel()
	if err := <-dialled; met == nil {
		return err
	}
	return nil
}

// dialStream is how rpc gets a stream. Bulk goes over TCP where it can.
func (m *Mesh) dialStream(ctx context.Context, k trust.Key, class rpc.Class) (net.Conn, error) {
	c, err := m.way(ctx, k)
	if err != nil {
		return nil, err
	}
	if class == rpc.Bulk && !reach.Relayed(c) && !isTCP(c.RemoteMultiaddr()) {
		if tcp := m.second(ctx, k); tcp != nil {
			c = tcp
		}
	}
	return carrier.Open(ctx, c, m.rpcProtocol())
}

// second makes a TCP connection beside one of QUIC, which has no BBR.
func (m *Mesh) second(ctx context.Context, k trust.Key) network.Conn {
	p := ident.Peer(k)
	if c := m.best(p, true); c != nil {
		return c
	}
	m.mu.Lock()
	r := m.record(k)
	again := time.Since(r.secondTry) > secondEvery
	if again {
		r.secondTry = time.Now()
	}
	m.mu.Unlock()
	if !again {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, secondPatience)
	defer cancel()
	for _, d := range m.rank(m.host.Peerstore().Addrs(p)) {
		if ident.Relayed(d.Addr) || !isTCP(d.Addr) {
			continue
		}
		err := m.transports.Inject(ctx, d.Addr, p)
		if err == nil {
			return m.settled(ctx, func() network.Conn { return m.best(p, true) })
		}
		m.log.Debug("no TCP connection beside QUIC", "peer", k, "address", d.Addr, "err", err)
	}
	return nil
}

// settled looks for a connection until there is one: the swarm takes over what it did
// not dial itself when it comes to it.
func (m *Mesh) settled(ctx context.Context, look func() network.Conn) network.Conn {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		if c := look(); c != nil {
			return c
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// dead closes a connection that did not answer, and has calls find another way.
func (m *Mesh) dead(c network.Conn) {
	k, _ := ident.Key(c.RemotePeer())
	m.m.dead.Inc()
	m.fault(k, "the connection over "+c.RemoteMultiaddr().String()+" answered no more")
	m.log.Warn("connection is dead", "peer", k, "address", c.RemoteMultiaddr(), "after", time.Since(c.Stat().Opened).Round(time.Second))
	_ = c.Close()
}

// received says how much came over a connection, below streams: window updates
// and acknowledgements count as signs of life.
func (m *Mesh) received(c network.Conn) (uint64, bool) {
	if w := m.transports.Wires.Of(c); w != nil {
		in, _ := w.Bytes()
		return in, true
	}
	if q := quicOf(c); q != nil {
		return q.ConnectionStats().PacketsReceived, true
	}
	return 0, false
}

func quicOf(c network.Conn) *quic.Conn {
	var q *quic.Conn
	if as, ok := c.(interface{ As(any) bool }); ok && as.As(&q) {
		return q
	}
	return nil
}

// Ping sends n pings to a member, one after the other, over the connection that
// calls would take. The error says why none could be sent.
func (m *Mesh) Ping(ctx context.Context, k trust.Key, n int) ([]Pong, error) {
	var out []Pong
	for range min(max(n, 1), 1000) {
		c, err := m.way(ctx, k)
		if err != nil && len(out) == 0 {
			return nil, err
		}
		if err != nil {
			out = append(out, Pong{Err: err})
			continue
		}
		path, transport := pathOf(c)
		one, cancel := context.WithTimeout(ctx, pulse.Patience)
		// Somebody waits, as for a call: a connection that is silent is looked at.
		impatient := time.AfterFunc(pingSilence, func() {
			m.tasks.do(func(context.Context) { m.stalled(k) })
		})
		rtt, err := pulse.Probe(one, c)
		impatient.Stop()
		cancel()
		out = append(out, Pong{RTT: rtt, Path: path, Transport: transport, Err: err})
	}
	return out, nil
}

// pathOf names how a connection runs; of a relayed one the transport to the relay.
func pathOf(c network.Conn) (path, transport string) {
	path, transport = "direct", "quic"
	if reach.Relayed(c) {
		path = "relayed"
	}
	if isTCP(c.RemoteMultiaddr()) {
		transport = "tcp"
	}
	return path, transport
}
