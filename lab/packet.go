//go:build linux

package lab

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// frameBytes holds the largest packet of a device with the default MTU of 1500.
const frameBytes = 2048

// IP protocol numbers, as in the IP header.
const (
	protoTCP = 6
	protoUDP = 17
)

// packet is one IP packet on its way. The switch recycles it.
type packet struct {
	data [frameBytes]byte
	n    int

	src, dst     netip.Addr
	proto        byte
	sport, dport uint16

	from, to *port
	due      time.Duration // since the start of the switch
	seq      uint64        // keeps the order of what is due at once
	shaped   bool          // has passed the rate limit of the link it goes to
}

// parse reads addresses, protocol and ports; it reports false for what is no whole
// IP packet. Fragments but the first, and IPv6 packets with extension headers,
// have no ports.
func (p *packet) parse() bool {
	b := p.data[:p.n]
	p.sport, p.dport = 0, 0
	var payload []byte
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		header := int(b[0]&15) * 4
		if header < 20 || header > len(b) {
			return false
		}
		p.src, p.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		p.proto = b[9]
		if binary.BigEndian.Uint16(b[6:8])&0x1fff == 0 {
			payload = b[header:]
		}
	case len(b) >= 40 && b[0]>>4 == 6:
		p.src, p.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		p.proto = b[6]
		payload = b[40:]
	default:
		return false
	}
	if (p.proto == protoTCP || p.proto == protoUDP) && len(payload) >= 4 {
		p.sport, p.dport = binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:])
	}
	return true
}

// departures orders packets by when they are due (container/heap).
type departures []*packet

func (d departures) Len() int { return len(d) }

func (d departures) Less(i, j int) bool {
	if d[i].due != d[j].due {
		return d[i].due < d[j].due
	}
	return d[i].seq < d[j].seq
}

func (d departures) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

func (d *departures) Push(x any) { *d = append(*d, x.(*packet)) }

func (d *departures) Pop() any {
	old := *d
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return last
}
