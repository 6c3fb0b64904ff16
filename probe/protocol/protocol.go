package protocol

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
)

// Func probes one target once. It never returns nil, and returns soon after ctx
// ends: the deadline of ctx is the module's timeout.
type Func func(ctx context.Context, r *Request) *Result

// Request is all that a prober is told.
type Request struct {
	// Target is as the definition spells it: a URL, a host, host:port.
	Target string
	// Host replaces the host name in what is asked of the server (Host header, SNI)
	// where the target is an address; "" asks for the target's own.
	Host string
	// Module says how to ask and what to expect. It is shared and not to be changed.
	Module *definition.Module
	// Dialer and Resolver are the only way to the network.
	Dialer   Dialer
	Resolver Resolver
	// Keep asks for what evidence is made of, which costs memory.
	Keep Keep
	// Memory is shared by the probes of a vantage; nil for none.
	Memory *Memory
}

// Dialer opens sockets to addresses that may be probed. An address that may not
// gives an error for which errors.Is(err, ErrDenied) holds.
type Dialer interface {
	// DialContext is net.Dialer's, for tcp, tcp4, tcp6, udp, udp4, udp6 and unix.
	// source is the local address, the zero Addr for any.
	DialContext(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error)
	// Permit returns nil where packets may be sent to addr by other means (ICMP, QUIC).
	Permit(addr netip.Addr, port uint16) error
}

// Resolver finds the addresses of a host name; net.Resolver is one. network is
// ip, ip4 or ip6.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Keep says what of an answer is kept for evidence.
type Keep struct {
	// Chain keeps the certificates that the server sent.
	Chain bool
	// Header keeps the headers of the last response.
	Header bool
	// Body keeps this many of its first bytes.
	Body int
	// Hash computes the SHA-256 of the whole body, as it was before compression.
	Hash bool
}

// Phase is a part of a probe that is timed on its own.
type Phase uint8

// The phases, in the order in which they happen. A prober leaves those that its
// protocol does not have at zero.
const (
	Resolve   Phase = iota // a name becomes addresses
	Connect                // until the connection stands
	TLS                    // until both sides have the keys
	Sent                   // until the request is written
	FirstByte              // until the first byte of the answer: the server's own time
	Transfer               // until the last byte of it
	Phases                 // how many there are
)

var phaseNames = [Phases]string{"resolve", "connect", "tls", "request", "first_byte", "transfer"}

// String is the label value of the phase.
func (p Phase) String() string { return phaseNames[p] }

// Result is what came of one probe. Times are durations; times of day come from the
// request's own clock, which time.Now is.
type Result struct {
	// Up tells that the target answered as the module expects.
	Up bool
	// Reason is why not; empty where Up.
	Reason Reason
	// Start and Took say when, and how long all of it lasted.
	Start time.Time
	Took  time.Duration
	// Phases is how long each part lasted, summed over redirects and steps.
	Phases [Phases]time.Duration
	// Address is who answered, or the last one that was tried; invalid if none was.
	Address netip.AddrPort
	// Samples are those of this protocol, with blackbox_exporter's names where it has
	// them. probe_success and probe_duration_seconds are not among them: they are of all.
	Samples []Sample
	// Response is what was asked for by Keep; nil if nothing was.
	Response *Response
	// Chain is how the server proved who it is; nil without TLS or unless kept.
	Chain *Chain
	// Hops are the way there, of a traceroute; its last is the target if it was reached.
	Hops []Hop
}

// Sample is the value of one series. The samples of a target come in the same order
// from probe to probe wherever possible, which makes storing them cheap.
type Sample struct {
	Name string
	// Label is the one or more labels that the series has beside the target's, as
	// name, value, name, value; nil for none.
	Labels []string
	Value  float64
}

// Add appends the value of a series. labels are name, value, name, value.
func (r *Result) Add(name string, value float64, labels ...string) {
	r.Samples = append(r.Samples, Sample{Name: name, Labels: labels, Value: value})
}

// Response is what a server answered, as far as it was kept.
type Response struct {
	// Status is the first line: "HTTP/1.1 503 Service Unavailable", "220 mail ESMTP".
	Status string
	// Header is name and value, in the order in which they came.
	Header [][2]string
	// Body is the beginning of it, Size the whole, SHA256 of the whole if asked for.
	Body   []byte
	Size   int64
	SHA256 [32]byte
	// Whole tells that the body was read to its end.
	Whole bool
	// Screenshot is a JPEG of the page, of prober browser; nil for none.
	Screenshot []byte
}

// Hop is one router on the way, or none that answered.
type Hop struct {
	TTL int
	// Addrs are those that answered at this distance: several where routes are balanced.
	Addrs []netip.Addr
	// Sent and Lost count packets; RTT has those that were answered.
	Sent, Lost int
	RTT        []time.Duration
	// MTU is the path's limit in bytes as the hop told it, 0 if it did not.
	MTU int
	// Unreachable is what the hop said instead of passing on, such as "!N" or "!X".
	Unreachable string
}
