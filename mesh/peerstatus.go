package mesh

import (
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/session"
	"github.com/atoll-mesh/atoll/trust"
)

// Peers tells of every member but this island, sorted by name.
func (m *Mesh) Peers() []PeerStatus {
	members := m.gate.State().Members()
	out := make([]PeerStatus, 0, len(members))
	for _, member := range members {
		if member.Key != m.o.Identity.Public() {
			out = append(out, m.status(member))
		}
	}
	return out
}

func (m *Mesh) status(member *trust.Member) PeerStatus {
	k := member.Key
	s := PeerStatus{
		Key: k, Name: member.Name, Role: member.Role, Labels: member.Labels, Region: member.Labels["region"],
		State: StateIdle,
	}
	m.mu.Lock()
	r := m.record(k)
	failures, seen := r.failures, r.seen
	s.LastError = r.lastError
	m.mu.Unlock()
	if !seen.IsZero() {
		s.LastSeen = &seen
	}
	if failures > 0 {
		s.State = StateUnreachable
	}
	m.addSession(&s)
	s.BytesIn, s.BytesOut = m.traffic.Of(ident.Peer(k))
	b := m.clients.Breaker(k)
	s.Breaker = b.State.String()
	if s.LastError == "" {
		s.LastError = b.LastError
	}
	select {
	case <-m.ready:
		m.addConn(&s)
	default:
	}
	return s
}

// addSession fills in what the peer said of itself.
func (m *Mesh) addSession(s *PeerStatus) {
	info, ok := m.sessions.Get(s.Key)
	if !ok {
		return
	}
	s.Version, s.Software, s.ClockSkew = info.Version, info.Software, info.Skew.Seconds()
	if info.Certificate != nil {
		s.CertificateExpires = &info.Certificate.NotAfter
	}
	if info.Standing == session.Refused {
		s.State, s.LastError = StateRefused, info.Reason
	}
}

// addConn fills in how the peer is reached.
func (m *Mesh) addConn(s *PeerStatus) {
	p := ident.Peer(s.Key)
	c := m.best(p, false)
	if c != nil {
		s.Addresses = append(s.Addresses, c.RemoteMultiaddr().String())
	}
	for _, a := range m.host.Peerstore().Addrs(p) {
		if c == nil || !a.Equal(c.RemoteMultiaddr()) {
			s.Addresses = append(s.Addresses, a.String())
		}
	}
	s.WhyNotDirect = m.reach.Why(p)
	if kept := m.discover.Status(p); kept.Failures > 0 && c == nil && s.State == StateIdle {
		s.State = StateUnreachable
		if s.LastError == "" {
			s.LastError = kept.Last
		}
	}
	if c == nil {
		return
	}
	s.Path, s.Transport = pathOf(c)
	s.Security = security(c)
	if path := m.reach.Path(p); path.Relay != "" {
		s.Via = m.peerName(path.Relay)
	}
	opened, now, v := c.Stat().Opened, time.Now(), m.pulse.Of(c)
	s.Since, s.LastSeen = &opened, &now
	s.RTT, s.Jitter = v.RTT.Seconds(), v.Jitter.Seconds()
	s.Loss = m.loss(c)
	if w := m.transports.Wires.Of(c); w != nil {
		s.Congestion = w.Congestion()
	}
	switch standing := m.sessions.Standing(s.Key); {
	case standing == session.Pending:
		s.State = StateConnecting
	case standing == session.Quarantined:
		s.State = StateQuarantined
	case standing == session.Member && v.Suspect:
		s.State = StateSuspect
	case standing == session.Member:
		s.State = StateConnected
	}
}

func security(c network.Conn) string {
	_, name, ok := strings.Cut(string(c.ConnState().Security), "/")
	if !ok {
		return "tls" // QUIC's own
	}
	name, _, _ = strings.Cut(name, "/")
	return name
}

// loss is the share of packets or segments that had to be sent again.
func (m *Mesh) loss(c network.Conn) float64 {
	var sent, again uint64
	if w := m.transports.Wires.Of(c); w != nil {
		sent, again, _ = w.Segments()
	} else if q := quicOf(c); q != nil {
		stats := q.ConnectionStats()
		sent, again = stats.PacketsSent, stats.PacketsLost
	}
	if sent == 0 {
		return 0
	}
	return min(1, float64(again)/float64(sent))
}

func (m *Mesh) countStates() map[PeerState]int {
	counts := map[PeerState]int{}
	for _, s := range m.Peers() {
		counts[s.State]++
	}
	return counts
}

// countConns counts connections by path and transport.
func (m *Mesh) countConns() map[[2]string]int {
	counts := map[[2]string]int{}
	select {
	case <-m.ready:
	default:
		return counts
	}
	for _, c := range m.swarm.Conns() {
		path, transport := pathOf(c)
		counts[[2]string{path, transport}]++
	}
	return counts
}
