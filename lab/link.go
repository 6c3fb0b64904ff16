//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// LinkOptions say how a site hangs on the WAN. The zero value is a perfect link.
// All but the addresses can be changed later through the site's Link.
type LinkOptions struct {
	// Region is the name that WAN.SetDelay knows.
	Region string
	// Delay is of the access link, one way, each way.
	Delay time.Duration
	// Jitter adds 0 to this much to each packet, each way, uniformly.
	Jitter time.Duration
	// Loss is the probability, 0 to 1, that a packet is lost on this link, each way.
	Loss float64
	// Rate is in bits of IP packets per second, each way; 0 is without limit.
	Rate int64
	// Buffer is how long a packet may wait in front of Rate before the queue is
	// full; 0 means 100 ms.
	Buffer time.Duration
	// Reorder lets jitter change the order of packets.
	Reorder bool
	// IPv6 gives a public host a public IPv6 address, and a NAT box a /56 and a
	// firewall that only lets connections out.
	IPv6 bool
	// Addr and Addr6 replace the addresses on the WAN that the lab would choose.
	// Addr6 implies IPv6.
	Addr, Addr6 netip.Addr
	// LAN is the private IPv4 network behind a NAT box, a /24 in 10.0.0.0/8 of its
	// own if not set. Two boxes may use the same, as at home.
	LAN netip.Prefix
}

const defaultBuffer = 100 * time.Millisecond

func (o LinkOptions) shape() (shape, error) {
	s := shape{region: o.Region, delay: o.Delay, jitter: o.Jitter, loss: o.Loss, rate: o.Rate, buffer: o.Buffer, reorder: o.Reorder}
	if s.buffer == 0 {
		s.buffer = defaultBuffer
	}
	return s, s.validate()
}

func (s shape) validate() error {
	switch {
	case s.delay < 0:
		return fmt.Errorf("delay is %v: it must not be negative", s.delay)
	case s.jitter < 0:
		return fmt.Errorf("jitter is %v: it must not be negative", s.jitter)
	case !(s.loss >= 0 && s.loss <= 1):
		return fmt.Errorf("loss is %v: it must be from 0 to 1", s.loss)
	case s.rate < 0:
		return fmt.Errorf("rate is %d bit/s: it must not be negative; 0 is without limit", s.rate)
	case s.buffer < 0:
		return fmt.Errorf("buffer is %v: it must not be negative", s.buffer)
	}
	return nil
}

// Direction is as the owner of the link sees it.
type Direction int

// The directions of a Filter.
const (
	Both Direction = iota
	In
	Out
)

// Transport is a protocol that a Filter takes.
type Transport string

// The transports; "" stands for every protocol.
const (
	TCP Transport = "tcp"
	UDP Transport = "udp"
)

// Filter says which packets a link swallows: those that match all fields that are
// set. The zero Filter takes everything.
type Filter struct {
	Direction Direction
	Transport Transport
	// Remote is the far side's address on this link: behind a NAT box, that of the box.
	Remote                netip.Prefix
	RemotePort, LocalPort uint16
}

// Counters are totals since the link was made. Bytes are those of IP packets.
// On the WAN only packets to single addresses count; on a LAN multicast and ARP do
// too, and a large send may count as one packet.
type Counters struct {
	// Out is what the owner sent, whatever became of it; In what it received.
	OutPackets, OutBytes, InPackets, InBytes uint64
	// Lost by Loss, Dropped by cut, filter, partition or a full queue, on this link;
	// Unroutable had an address nobody has. WAN only.
	Lost, Dropped, Unroutable uint64
}

// Sub returns what was counted since an earlier reading.
func (c Counters) Sub(before Counters) Counters {
	return Counters{
		OutPackets: c.OutPackets - before.OutPackets, OutBytes: c.OutBytes - before.OutBytes,
		InPackets: c.InPackets - before.InPackets, InBytes: c.InBytes - before.InBytes,
		Lost: c.Lost - before.Lost, Dropped: c.Dropped - before.Dropped, Unroutable: c.Unroutable - before.Unroutable,
	}
}

// String reads "out 12 packets 840 B, in …".
func (c Counters) String() string {
	return fmt.Sprintf("out %d packets %d B, in %d packets %d B, lost %d, dropped %d, unroutable %d",
		c.OutPackets, c.OutBytes, c.InPackets, c.InBytes, c.Lost, c.Dropped, c.Unroutable)
}

// Link joins a host or a NAT box to the WAN, or a host to its LAN. All may be
// changed at any time; packets on their way keep the delay they left with.
type Link struct {
	t    T
	name string
	port *port  // on the WAN
	wire *cable // on a LAN
	mu   sync.Mutex
}

// shape changes the shape of a WAN link.
func (l *Link) shape(change func(*shape)) {
	l.t.Helper()
	if l.port == nil {
		l.t.Fatalf("shape the link of %s: it hangs on a LAN, which has no delay, loss or rate; shape the uplink of its box", l.name)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := *l.port.shape.Load()
	change(&s)
	if err := s.validate(); err != nil {
		l.t.Fatalf("shape the link of %s: %v", l.name, err)
		return
	}
	l.port.shape.Store(&s)
}

// SetDelay sets the one-way delay, each way. WAN only, as all of Set….
func (l *Link) SetDelay(d time.Duration) { l.t.Helper(); l.shape(func(s *shape) { s.delay = d }) }

// SetJitter sets what is added at most to each packet's delay, each way.
func (l *Link) SetJitter(d time.Duration) { l.t.Helper(); l.shape(func(s *shape) { s.jitter = d }) }

// SetLoss sets the probability of loss, 0 to 1, each way.
func (l *Link) SetLoss(p float64) { l.t.Helper(); l.shape(func(s *shape) { s.loss = p }) }

// SetRate sets the rate limit in bits per second, each way; 0 lifts it.
func (l *Link) SetRate(bits int64) { l.t.Helper(); l.shape(func(s *shape) { s.rate = bits }) }

// Cut swallows every packet, both ways, silently.
func (l *Link) Cut() {
	l.t.Helper()
	if l.wire != nil {
		l.wire.change(l.t, func(c *cable) { c.cut = true })
		return
	}
	l.shape(func(s *shape) { s.cut = true })
}

// Heal ends Cut.
func (l *Link) Heal() {
	l.t.Helper()
	if l.wire != nil {
		l.wire.change(l.t, func(c *cable) { c.cut = false })
		return
	}
	l.shape(func(s *shape) { s.cut = false })
}

// Block swallows the packets that f matches, until the returned function is
// called. Blocks add up.
func (l *Link) Block(f Filter) (unblock func()) {
	l.t.Helper()
	added := &f
	if l.wire != nil {
		l.wire.change(l.t, func(c *cable) { c.filters = with(c.filters, added) })
		return func() { l.t.Helper(); l.wire.change(l.t, func(c *cable) { c.filters = without(c.filters, added) }) }
	}
	l.shape(func(s *shape) { s.filters = with(s.filters, added) })
	return func() { l.t.Helper(); l.shape(func(s *shape) { s.filters = without(s.filters, added) }) }
}

// with and without copy: the switch reads the old slice meanwhile.
func with(filters []*Filter, f *Filter) []*Filter {
	return append(filters[:len(filters):len(filters)], f)
}

func without(filters []*Filter, f *Filter) []*Filter {
	var rest []*Filter
	for _, other := range filters {
		if other != f {
			rest = append(rest, other)
		}
	}
	return rest
}

// Counters returns the totals of the link.
func (l *Link) Counters() Counters {
	if l.wire != nil {
		return l.wire.counters(l.t)
	}
	c := &l.port.count
	return Counters{
		OutPackets: c.outPackets.Load(), OutBytes: c.outBytes.Load(),
		InPackets: c.inPackets.Load(), InBytes: c.inBytes.Load(),
		Lost: c.lost.Load(), Dropped: c.dropped.Load(), Unroutable: c.unroutable.Load(),
	}
}
