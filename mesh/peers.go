package mesh

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/atoll-mesh/atoll/mesh/carrier"
	"github.com/atoll-mesh/atoll/mesh/gate"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/reach"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/mesh/session"
	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/trust"
)

// TrustChanged reads the roster anew. When it returns the new one holds: who is
// no member any more has no streams left, opens none, and is told why on a
// connection that closes within a quarter of a second.
func (m *Mesh) TrustChanged() {
	before, state := m.gate.State(), m.o.Trust()
	m.gate.SetState(state)
	select {
	case <-m.ready:
	default:
		return
	}
	for _, c := range m.swarm.Conns() {
		if k, ok := ident.Key(c.RemotePeer()); !ok || state.Standing(k) != trust.MemberStanding {
			m.expel(c, k, state)
		}
	}
	member := func(k trust.Key) bool { return state.Standing(k) == trust.MemberStanding }
	m.mu.Lock()
	var gone []trust.Key
	for k := range m.roster {
		if !member(k) {
			gone = append(gone, k)
		}
	}
	m.mu.Unlock()
	for _, k := range gone {
		m.forget(k)
	}
	m.book.Keep(func(k trust.Key) bool { return member(k) || state.Outcast(k) })
	m.sessions.Recheck()
	m.discover.MembersChanged()
	m.reach.RelaysChanged()
	m.trustDoubted(before, state)
}

// noMember is what somebody hears who has left, or whom nobody remembers.
const noMember = "this island's key is no member of the network any more"

// Dismissed reports whether a member has closed its connection to this island
// because it holds it for no member any more: it has heard a farewell.
func (m *Mesh) Dismissed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.roster {
		if strings.Contains(r.lastError, noMember) {
			return true
		}
	}
	return false
}

// expel ends the connection of somebody who is no member any more.
func (m *Mesh) expel(c network.Conn, k trust.Key, state *trust.State) {
	reason := whyNot(state, k)
	for _, s := range c.GetStreams() {
		_ = s.Reset()
	}
	m.log.Info("member is one no more", "peer", k, "standing", state.Standing(k))
	m.tasks.do(func(context.Context) { m.sessions.Dismiss(c, reason) })
}

// forget drops what is kept of a former member. Its disconnection is told
// because its connections close.
func (m *Mesh) forget(k trust.Key) {
	p := ident.Peer(k)
	m.sessions.Forget(k)
	m.clients.Forget(k)
	m.gossip.Forget(p)
	m.traffic.Forget(p)
	m.host.Peerstore().ClearAddrs(p)
	m.events.poke(k)
}

// CertificateChanged says hello again to all, with the new certificate.
func (m *Mesh) CertificateChanged() {
	select {
	case <-m.ready:
	default:
		return
	}
	for _, p := range m.swarm.Peers() {
		if c := m.best(p, false); c != nil {
			m.tasks.do(func(ctx context.Context) { m.greet(ctx, c) })
		}
	}
}

// connected is called by the swarm for each new connection and must not wait.
func (m *Mesh) connected(_ network.Network, c network.Conn) {
	k, ok := ident.Key(c.RemotePeer())
	if !ok {
		return // the gate lets none such in
	}
	m.pulse.Add(c)
	m.noteDouble(c.RemotePeer())
	if reach.Relayed(c) {
		m.doubtOlder(c)
	}
	m.sessions.Reset(k)
	m.events.poke(k)
	m.tasks.do(func(ctx context.Context) {
		if gate.Dialled(c) {
			m.greet(ctx, c)
			return
		}
		ctx, cancel := context.WithTimeout(ctx, session.Timeout)
		defer cancel()
		if _, err := m.sessions.Wait(ctx, k); err != nil && ctx.Err() == context.DeadlineExceeded {
			m.fault(k, "it connected and said no hello within "+session.Timeout.String())
			m.sessions.Dismiss(c, "no hello within "+session.Timeout.String())
		}
	})
}

// greet says hello; a connection on which that does not work is no good.
func (m *Mesh) greet(ctx context.Context, c network.Conn) {
	k, _ := ident.Key(c.RemotePeer())
	if err := m.sessions.Greet(ctx, c); err != nil {
		if ctx.Err() == nil && !c.IsClosed() {
			m.fault(k, err.Error())
			m.log.Debug("hello did not get through", "peer", k, "err", err)
		}
		_ = c.Close()
		// Who keeps this island out hangs up after the handshake.
		if ctx.Err() == nil && gate.Dialled(c) && m.best(c.RemotePeer(), false) == nil {
			m.keptOut(k)
		}
	}
}

// answer handles a hello that a member says.
func (m *Mesh) answer(s network.Stream) { m.sessions.Answer(s) }

func (m *Mesh) disconnected(_ network.Network, c network.Conn) {
	m.pulse.Remove(c)
	if k, ok := ident.Key(c.RemotePeer()); ok {
		m.events.poke(k)
	}
}

// standingChanged is told by sessions.
func (m *Mesh) standingChanged(k trust.Key, from, to session.Standing, info session.Info) {
	m.log.Debug("standing of a member", "peer", k, "was", from, "is", to, "reason", info.Reason)
	m.events.poke(k)
	switch to {
	case session.Refused:
		m.fault(k, info.Reason)
		if info.ByPeer {
			m.refusedBy(k, info.Reason)
			m.keptOut(k)
		}
		for _, c := range m.swarm.ConnsToPeer(ident.Peer(k)) {
			m.tasks.do(func(context.Context) {
				if info.ByPeer {
					_ = c.Close() // its reason has been heard
					return
				}
				m.sessions.Dismiss(c, info.Reason)
			})
		}
	case session.Quarantined:
		m.log.Warn("member is in quarantine", "peer", k, "reason", info.Reason)
		m.fault(k, info.Reason)
	case session.Member:
		m.reach.RelaysChanged()
		m.clients.Reachable(k)
	}
}

// tell compares what hooks were told of a member with how it is now.
func (m *Mesh) tell(k trust.Key) {
	p := ident.Peer(k)
	up := m.swarm.Connectedness(p) != network.NotConnected && m.goodStanding(p)
	m.mu.Lock()
	r := m.record(k)
	changed := r.up != up
	r.up = up
	if up {
		r.seen, r.failures, r.lastError = time.Now(), 0, ""
		r.turnedAway = ""
	} else if changed {
		r.seen = time.Now()
	}
	hooks := m.hooks.disconnected
	if up {
		hooks = m.hooks.connected
	}
	if !up && m.gate.State().Standing(k) != trust.MemberStanding {
		delete(m.roster, k)
	}
	m.mu.Unlock()
	if !changed {
		return
	}
	if !up {
		m.sessions.Parted(k)
	}
	m.log.Info("member", "name", m.name(k), "connected", up)
	for _, f := range hooks {
		f(k)
	}
	if up {
		m.appeals.drop(k)
		m.remember(k)
	}
	m.review()
}

// record returns what is remembered of a member; mu is held.
func (m *Mesh) record(k trust.Key) *record {
	r := m.roster[k]
	if r == nil {
		r = &record{}
		m.roster[k] = r
	}
	return r
}

func (m *Mesh) refusedBy(k trust.Key, reason string) {
	m.mu.Lock()
	m.record(k).turnedAway = reason
	m.mu.Unlock()
	m.review()
}

func (m *Mesh) fault(k trust.Key, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.record(k).lastError = reason
}

// goodStanding reports whether a peer may do everything that members may.
func (m *Mesh) goodStanding(p peer.ID) bool {
	if p == m.host.ID() {
		return m.gate.Member(p)
	}
	k, ok := ident.Key(p)
	return ok && m.gate.Member(p) && m.sessions.Standing(k) == session.Member
}

// mayAnnounce reports whether what a peer wrote is heard. Others pass it on, so
// this island may never have met it: then the roster alone decides.
func (m *Mesh) mayAnnounce(p peer.ID) bool {
	k, ok := ident.Key(p)
	if !ok || !m.gate.Member(p) {
		return false
	}
	standing := m.sessions.Standing(k)
	return standing == session.Member || standing == session.Pending
}

// name is what people call a member.
func (m *Mesh) name(k trust.Key) string {
	if member, ok := m.gate.State().MemberByKey(k); ok {
		return member.Name
	}
	return k.Short()
}

func (m *Mesh) peerName(p peer.ID) string {
	if k, ok := ident.Key(p); ok {
		return m.name(k)
	}
	return p.ShortString()
}

// Connected lists the members in reach: connected, certificate in force.
func (m *Mesh) Connected() []trust.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []trust.Key
	for k, r := range m.roster {
		if r.up {
			out = append(out, k)
		}
	}
	return out
}

// RootOf returns the digest of its documents that a member told in its last hello;
// nil where it has said none since it is in reach.
func (m *Mesh) RootOf(k trust.Key) []byte {
	info, _ := m.sessions.Get(k)
	return info.Root
}

// relays are the members in reach that offer to relay and may, by policy, do so
// for this island.
func (m *Mesh) relays() []reach.Candidate {
	state := m.gate.State()
	var out []reach.Candidate
	for _, k := range m.Connected() {
		info, _ := m.sessions.Get(k)
		if !info.Relay || !m.relaysFor(k, m.o.Identity.Public()) {
			continue
		}
		if member, ok := state.MemberByKey(k); ok {
			out = append(out, reach.Candidate{ID: ident.Peer(k), Region: member.Labels["region"]})
		}
	}
	return out
}

// mayRelay reports whether this island may relay for a member.
func (m *Mesh) mayRelay(p peer.ID) bool {
	k, ok := ident.Key(p)
	return ok && m.goodStanding(p) && m.relaysFor(m.o.Identity.Public(), k)
}

// relaysFor asks the policy: principal is who relays, resource whom for.
func (m *Mesh) relaysFor(who, whom trust.Key) bool {
	state := m.gate.State()
	return m.verdicts.of(state, who, whom, func() bool {
		member, ok := state.MemberByKey(whom)
		return ok && state.Authorize(who, policy.Relay, policy.Resource{Kind: policy.Island, Name: member.Name, Attributes: member.Labels}).Allowed
	})
}

// identify says who is at the other end of an RPC connection, for each call anew.
func (m *Mesh) identify(c net.Conn) (rpc.Caller, error) {
	stream, ok := c.(*carrier.Conn)
	if !ok {
		return rpc.Caller{}, fmt.Errorf("BUG: an rpc connection is a %T", c)
	}
	k, ok := ident.Key(stream.Peer())
	if !ok {
		return rpc.Caller{}, ErrNotMember
	}
	member, ok := m.gate.State().MemberByKey(k)
	if !ok {
		return rpc.Caller{}, fmt.Errorf("%s: %w", k, ErrNotMember)
	}
	info, _ := m.sessions.Get(k)
	if info.Standing != session.Member && info.Standing != session.Quarantined {
		return rpc.Caller{}, fmt.Errorf("%s is %s: %w", member.Name, info.Standing, ErrRefused)
	}
	return rpc.Caller{
		Key: k, Name: member.Name, Role: member.Role, Labels: member.Labels,
		Quarantined: info.Standing == session.Quarantined, Version: info.Version,
	}, nil
}

func (m *Mesh) authorize(c rpc.Caller, method string, r rpc.Rule) error {
	d := m.gate.State().Authorize(c.Key, r.Action, policy.Resource{Kind: policy.Service, Name: method})
	if d.Allowed {
		return nil
	}
	return fmt.Errorf("the policy does not allow %s to %s %s: %s", c.Name, r.Action, method, d.Reason)
}

// quarantined lists the protocols that members with an expired certificate may
// speak; which RPCs, the rules say.
func (m *Mesh) quarantined() []protocol.ID { return []protocol.ID{m.rpcProtocol()} }
