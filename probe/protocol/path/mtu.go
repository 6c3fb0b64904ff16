package path

import (
	"net"
	"net/netip"
	"time"
)

// leastMTU is what every path should carry: IPv4's hosts take 576 bytes, IPv6's links
// 1280 (RFC 791, RFC 8200).
const (
	leastMTU4 = 576
	leastMTU6 = 1280
	mostMTU   = 65535
	// triesPerSize before a packet counts as too big rather than lost.
	triesPerSize = 2
)

// measureMTU looks for the largest packet whose echo comes back, whatever routers say
// or keep to themselves (RFC 8899's search, with echoes). It tells nothing if the
// probe's time is over before it is found.
func (e *echoes) measureMTU() {
	s, err := e.path.socket(kind{v6: e.to.Is6(), df: true})
	if err != nil {
		return
	}
	wait := min(max(3*slowestOf(e.rtts), 100*time.Millisecond), time.Second)
	header, least := ipv4Header+icmpHeader, leastMTU4
	if e.to.Is6() {
		header, least = ipv6Header+icmpHeader, leastMTU6
	}
	search := mtuSearch{low: min(header+e.size, least), high: linkMTU(e.to)}
	var answers = make(chan answer, 16)
	for size, ok := search.next(); ok; size, ok = search.next() {
		passed, told := false, 0
		for range triesPerSize {
			if passed, told = e.tryMTU(s, answers, size, header, wait); passed || told > 0 || e.ctx.Err() != nil {
				break
			}
		}
		if e.ctx.Err() != nil {
			return
		}
		search.learn(size, passed, told)
	}
	e.res.Add("probe_icmp_path_mtu_bytes", float64(search.low))
}

// tryMTU sends one packet of that size. told is what a router, or the own machine,
// says would pass; 1 if it says only that this does not.
func (e *echoes) tryMTU(s *socket, answers chan answer, size, header int, wait time.Duration) (passed bool, told int) {
	t := &ticket{tag: size, to: e.to, answers: answers}
	defer s.leave(t)
	if err := s.send(t, e.source, 0, size-header); err != nil {
		return false, 1
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case a := <-answers:
			switch {
			case a.tag != size: // late
			case a.fate == answered:
				return true, 0
			case a.fate == tooBig:
				return false, max(a.mtu, 1)
			}
		case <-timer.C:
			return false, 0
		case <-e.ctx.Done():
			return false, 0
		}
	}
}

// mtuSearch halves what lies between a size that passes and one that does not, after
// it has tried the link's own and what routers told.
type mtuSearch struct {
	low, high int // low passes, high is the largest that may
	try       int // 0 for none in particular
	begun     bool
}

func (m *mtuSearch) next() (size int, ok bool) {
	if m.low >= m.high {
		return 0, false
	}
	if !m.begun {
		m.begun = true
		return m.high, true
	}
	if m.try > m.low && m.try <= m.high {
		return m.try, true
	}
	return (m.low + m.high + 1) / 2, true
}

// learn takes what came of a size. told is a router's word, which is tried and not
// believed.
func (m *mtuSearch) learn(size int, passed bool, told int) {
	m.try = 0
	if passed {
		m.low = max(m.low, size)
		return
	}
	m.high = size - 1
	if told > m.low && told <= m.high {
		m.high, m.try = told, told
	}
}

// linkMTU is that of the interface that leads to addr; Ethernet's if it is not found.
func linkMTU(addr netip.Addr) int {
	const ethernet = 1500
	local, err := localAddr(addr)
	if err != nil {
		return ethernet
	}
	links, err := net.Interfaces()
	if err != nil {
		return ethernet
	}
	for _, l := range links {
		addrs, err := l.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == local {
				return min(l.MTU, mostMTU)
			}
		}
	}
	return ethernet
}
