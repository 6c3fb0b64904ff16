//go:build linux

package lab

import (
	"slices"
	"sync/atomic"
	"time"
)

// shape is how a link behaves; never changed once a port has it.
type shape struct {
	region        string
	delay, jitter time.Duration
	loss          float64
	rate          int64 // bits/s, 0 without limit
	buffer        time.Duration
	reorder       bool
	cut           bool
	filters       []*Filter
}

// port is where a site hangs on the switch.
type port struct {
	fd    int
	index int
	shape atomic.Pointer[shape]
	group atomic.Int32 // of the partition, 0 without one
	count counters

	// The switch's own, by its thread only.
	upFree, downFree time.Duration   // when the rate limit lets the next packet pass
	latest           []time.Duration // by port gone to: when the last packet is due there
}

type counters struct {
	outPackets, outBytes, inPackets, inBytes atomic.Uint64
	lost, dropped, unroutable                atomic.Uint64
}

// blocks reports whether a filter of the link takes the packet; out is its
// direction as the link's owner sees it.
func (s *shape) blocks(p *packet, out bool) bool {
	return len(s.filters) > 0 && slices.ContainsFunc(s.filters, func(f *Filter) bool { return f.matches(p, out) })
}

func (f *Filter) matches(p *packet, out bool) bool {
	remote, remotePort, localPort := p.src, p.sport, p.dport
	if out {
		remote, remotePort, localPort = p.dst, p.dport, p.sport
	}
	return (f.Direction == Both || (f.Direction == Out) == out) &&
		(f.Transport == "" || f.Transport == TCP && p.proto == protoTCP || f.Transport == UDP && p.proto == protoUDP) &&
		(!f.Remote.IsValid() || f.Remote.Contains(remote)) &&
		(f.RemotePort == 0 || f.RemotePort == remotePort) &&
		(f.LocalPort == 0 || f.LocalPort == localPort)
}

// serialise passes bytes through a rate limit that is busy until *free: it returns
// when the last bit has passed, or false where the queue is over its limit.
func (s *shape) serialise(now time.Duration, bytes int, free *time.Duration) (time.Duration, bool) {
	if s.rate <= 0 {
		return now, true
	}
	start := max(now, *free)
	if start-now > s.buffer {
		return 0, false
	}
	*free = start + time.Duration(float64(bytes*8)/float64(s.rate)*float64(time.Second))
	return *free, true
}
