package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Level is how far whoever wants a probe is trusted.
type Level uint8

// The levels.
const (
	// Defined is what stands in this island's own configuration or in a document that
	// a member of its network signed.
	Defined Level = iota
	// AdHoc is what somebody asks for at this moment.
	AdHoc

	levels
)

func (l Level) String() string { return [levels]string{"defined", "ad_hoc"}[l] }

// Options are what a Guard needs.
type Options struct {
	Rules Rules
	// Own are the addresses at which the island's mesh listens; nil for none. An
	// unspecified address stands for all of this machine's.
	Own func() []netip.AddrPort
	// Resolver looks names up; nil is Go's own with the system's configuration.
	Resolver   protocol.Resolver
	Registerer prometheus.Registerer
}

// Guard lets probes out.
type Guard struct {
	policy   atomic.Pointer[policy]
	own      func() []netip.AddrPort
	resolver protocol.Resolver
	denied   *prometheus.CounterVec
	plain    [levels]*Session
}

// New checks the rules.
func New(o Options) (*Guard, error) {
	p, err := compile(o.Rules)
	if err != nil {
		return nil, err
	}
	g := &Guard{own: o.Own, resolver: o.Resolver}
	if g.own == nil {
		g.own = func() []netip.AddrPort { return nil }
	}
	if g.resolver == nil {
		g.resolver = &net.Resolver{PreferGo: true}
	}
	g.denied = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "atoll_probe_denied_total", Help: "Addresses, names and requests that were refused, by who asked (defined, ad_hoc) and why.",
	}, []string{"level", "why"})
	if o.Registerer != nil {
		if err := o.Registerer.Register(g.denied); err != nil {
			return nil, fmt.Errorf("register the metrics of the guard: %w", err)
		}
	}
	for l := range levels {
		g.plain[l] = &Session{guard: g, level: l}
		for _, c := range classes() {
			g.denied.WithLabelValues(l.String(), string(c))
		}
	}
	g.policy.Store(p)
	return g, nil
}

// Prepare checks new rules; commit puts them in force for all probes from then on.
func (g *Guard) Prepare(r Rules) (commit func(), err error) {
	p, err := compile(r)
	if err != nil {
		return nil, err
	}
	return func() { g.policy.Store(p) }, nil
}

// For returns the way out of one probe of that level.
func (g *Guard) For(l Level) *Session {
	if len(g.policy.Load().allow[l].names) == 0 {
		return g.plain[l] // it has nothing to remember
	}
	return &Session{guard: g, level: l, remembers: true}
}

// refuse counts, and words the error.
func (g *Guard) refuse(l Level, c class, what string) error {
	g.denied.WithLabelValues(l.String(), string(c)).Inc()
	remedy := "an operator of this island may open it with probe.allow"
	switch {
	case c == listed || c == name:
		remedy = "probe.deny of this island lists it"
	case c.never():
		remedy = "it is never probed"
	case l == AdHoc:
		remedy = "an operator of this island may open it with probe.allow_ad_hoc"
	}
	return fmt.Errorf("%w: %s is refused as %s; %s", protocol.ErrDenied, what, c, remedy)
}

// Session is the way out of one probe. It implements protocol.Dialer and
// protocol.Resolver.
type Session struct {
	guard *Guard
	level Level
	// vouched are the addresses of names on the allow list, where there is one.
	remembers bool
	vouched   vouched
}

// Vouch notes that an address is one of a host name's, as LookupNetIP said in
// another session of the same level.
func (s *Session) Vouch(host string, a netip.Addr) {
	if s.remembers && s.guard.policy.Load().allow[s.level].named(host) {
		s.vouched.add([]netip.Addr{a})
	}
}

// Permit implements protocol.Dialer.
func (s *Session) Permit(a netip.Addr, port uint16) error {
	g := s.guard
	if !a.IsValid() {
		return g.refuse(s.level, unspecified, "no address")
	}
	c := g.policy.Load().judge(s.level, a, s.remembers && s.vouched.has(a))
	if c == public && !g.ownMesh(a, port) {
		return nil
	}
	if c == public {
		c = ownMesh
	}
	return g.refuse(s.level, c, a.String())
}

// ownMesh reports whether the island's own mesh listens there: probes are no way
// into it. It matters for addresses of this machine only, which are refused by
// default for the most part.
func (g *Guard) ownMesh(a netip.Addr, port uint16) bool {
	if port == 0 {
		return false
	}
	a = a.WithZone("").Unmap()
	for _, own := range g.own() {
		if own.Port() != port {
			continue
		}
		if at := own.Addr().Unmap(); at == a || at.IsUnspecified() && local(a) {
			return true
		}
	}
	return false
}

// local reports whether an address is one of this machine's.
func local(a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // better refused than reached
	}
	for _, one := range addrs {
		if p, err := netip.ParsePrefix(one.String()); err == nil && p.Addr().WithZone("").Unmap() == a {
			return true
		}
	}
	return false
}

// LookupNetIP implements protocol.Resolver.
func (s *Session) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	p := s.guard.policy.Load()
	if p.deny.named(host) {
		return nil, s.guard.refuse(s.level, name, host)
	}
	addrs, err := s.guard.resolver.LookupNetIP(ctx, network, host)
	if err == nil && s.remembers && p.allow[s.level].named(host) {
		s.vouched.add(addrs)
	}
	return addrs, err
}

// DialContext implements protocol.Dialer.
func (s *Session) DialContext(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error) {
	d := net.Dialer{ControlContext: s.control, KeepAlive: -1} // probes are over before keep-alive begins
	switch network {
	case "unix":
		p := s.guard.policy.Load()
		if p.deny.socket(address) || !p.allow[s.level].socket(address) {
			return nil, s.guard.refuse(s.level, socket, address)
		}
		d.ControlContext = nil
		return d.DialContext(ctx, network, address)
	case "tcp", "tcp4", "tcp6":
		if source.IsValid() {
			d.LocalAddr = &net.TCPAddr{IP: source.AsSlice(), Zone: source.Zone()}
		}
	case "udp", "udp4", "udp6":
		if source.IsValid() {
			d.LocalAddr = &net.UDPAddr{IP: source.AsSlice(), Zone: source.Zone()}
		}
	default:
		return nil, fmt.Errorf("dial %s: network %q: must be tcp, udp or unix", address, network)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if !isAddress(host) && s.guard.policy.Load().deny.named(host) {
		return nil, s.guard.refuse(s.level, name, host)
	}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		return &tcpConn{TCPConn: tcp}, nil
	}
	return conn, nil
}

// unacknowledged is for how long the kernel repeats what was sent on a connection
// that the probe is done with.
const unacknowledged = 30 * time.Second

// control sees every address right before the kernel connects to it.
func (s *Session) control(_ context.Context, network, address string, raw syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("judge the address %q: %w", address, err)
	}
	if err := s.Permit(to.Addr(), to.Port()); err != nil {
		return err
	}
	if network[0] != 't' {
		return nil
	}
	var option error
	err = raw.Control(func(fd uintptr) { option = setUserTimeout(fd, unacknowledged) })
	return errors.Join(err, option)
}
