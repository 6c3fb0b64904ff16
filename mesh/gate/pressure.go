package gate

import (
	"net/netip"
	"sync"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/atoll-mesh/atoll/mesh/ident"
)

// What one source (an IPv4 address or an IPv6 /56) may do. Each inbound
// connection costs a token, which is given back when a member is behind it; so
// a site of any size behind one NAT comes in, and a stranger is soon slow. The
// bursts leave room for a hundred islands that start together behind one
// address, over two transports each.
const (
	strangerBurst      = 256
	strangerPerSecond  = 4
	memberBurst        = 1024 // where members were seen lately
	memberPerSecond    = 64
	handshakesPerIP    = 128
	memberMemory       = 10 * time.Minute
	maxSources         = 8192
	verifyAboveOngoing = 64 // handshakes, from which on QUIC makes clients prove their address
)

// Pressure bounds what unknown addresses may cost. All methods are safe for
// concurrent use.
type Pressure struct {
	now func() time.Time

	mu      sync.Mutex
	ongoing int // inbound connections whose peer is not known yet
	sources map[netip.Prefix]*source
	swept   time.Time // when sweep ran last: a flood must not have it run each time
}

type source struct {
	tokens     float64
	at         time.Time // when tokens were last counted
	member     time.Time // when a member was last seen here
	handshakes int
}

// NewPressure returns a Pressure that nobody has put to work yet.
func NewPressure() *Pressure {
	return &Pressure{now: time.Now, sources: map[netip.Prefix]*source{}}
}

// Begin asks whether a connection from an address may begin its handshake. Each
// true must be followed by one End.
func (p *Pressure) Begin(a ma.Multiaddr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.source(a)
	if s.tokens < 1 || s.handshakes >= handshakesPerIP {
		return false
	}
	s.tokens--
	s.handshakes++
	p.ongoing++
	return true
}

// End tells that the handshake of a connection is over, however it ended.
func (p *Pressure) End(a ma.Multiaddr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.source(a).handshakes--
	p.ongoing--
}

// Admitted tells that a member is behind a connection from this address.
func (p *Pressure) Admitted(a ma.Multiaddr) {
	if ident.Relayed(a) {
		return // the address is the relay's
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.source(a)
	s.tokens++ // capped when next counted
	s.member = p.now()
}

// Suspicious reports whether a UDP source should prove its address first.
func (p *Pressure) Suspicious(a ma.Multiaddr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ongoing > verifyAboveOngoing || p.source(a).tokens < strangerBurst/2
}

// Ongoing is how many inbound handshakes are under way.
func (p *Pressure) Ongoing() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ongoing
}

// source returns the entry of an address with its tokens counted up to now.
func (p *Pressure) source(a ma.Multiaddr) *source {
	key, now := prefix(a), p.now()
	s := p.sources[key]
	if s == nil {
		if len(p.sources) >= maxSources && now.Sub(p.swept) > time.Second {
			p.sweep(now)
		}
		if len(p.sources) >= maxSources {
			key = netip.Prefix{} // all further ones share one entry
		}
		if s = p.sources[key]; s == nil {
			s = &source{tokens: strangerBurst, at: now}
			p.sources[key] = s
		}
	}
	s.count(now)
	return s
}

func (s *source) count(now time.Time) {
	burst, perSecond := float64(strangerBurst), float64(strangerPerSecond)
	if now.Sub(s.member) < memberMemory {
		burst, perSecond = memberBurst, memberPerSecond
	}
	s.tokens = min(burst, s.tokens+perSecond*max(0, now.Sub(s.at).Seconds()))
	s.at = now
}

// sweep forgets sources that say nothing about themselves any more.
func (p *Pressure) sweep(now time.Time) {
	p.swept = now
	for k, s := range p.sources {
		if s.count(now); s.handshakes == 0 && s.tokens >= strangerBurst {
			delete(p.sources, k)
		}
	}
}

// prefix is what an address is counted by: IPv6 sites own a /56 or more.
func prefix(a ma.Multiaddr) netip.Prefix {
	if a == nil {
		return netip.Prefix{}
	}
	ip, err := manet.ToIP(a)
	if err != nil {
		return netip.Prefix{}
	}
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Prefix{}
	}
	addr = addr.Unmap()
	bits := 32
	if addr.Is6() {
		bits = 56
	}
	return netip.PrefixFrom(addr, bits).Masked()
}
