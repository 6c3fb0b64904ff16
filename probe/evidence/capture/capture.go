package capture

import (
	"errors"
	"net/netip"
	"time"
)

// ErrUnsupported is of machines and users that cannot capture.
var ErrUnsupported = errors.New("packets cannot be captured here")

// Flow is what is captured: packets from and to an address.
type Flow struct {
	Addr netip.Addr
	// Protocol is tcp, udp or icmp; "" captures all.
	Protocol string
	// Port is the other side's; 0 for any.
	Port uint16
	// Nearer leaves out what this machine sends with a hop limit of at most this, and
	// what comes back for it: it belongs to a trace. 0 leaves nothing out.
	Nearer uint8
}

// Limits bound a capture; each must be given.
type Limits struct {
	// Time is how long it goes on at most.
	Time time.Duration
	// Bytes is how large the file may become, Snap how much of each packet is kept.
	Bytes, Snap int
}

// IP protocol numbers, by IANA.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// matches looks at what the kernel's filter lets through: packets of the address.
func (f Flow) matches(packet []byte) bool {
	proto, rest, ok := transport(packet)
	switch {
	case !ok:
		return false
	case f.Protocol == "icmp":
		return proto == protoICMP || proto == protoICMPv6
	case proto == protoICMP || proto == protoICMPv6:
		return true // what routers say of the flow belongs to it
	case f.Protocol == "tcp" && proto != protoTCP, f.Protocol == "udp" && proto != protoUDP:
		return false
	case f.Port == 0:
		return true
	case (proto == protoTCP || proto == protoUDP) && len(rest) >= 4:
		return be16(rest) == f.Port || be16(rest[2:]) == f.Port
	}
	return proto != protoTCP && proto != protoUDP
}

// sieve takes packets of a flow in the order in which they pass.
type sieve struct {
	flow Flow
	// traced are the conversations of traces.
	traced map[conversation]bool
}

// conversation is this machine's port, or the identifier and number of an echo.
type conversation struct {
	proto byte
	of    uint32
}

// mostTraced bounds what is remembered; a trace has 64 hops and 20 rounds at most.
const mostTraced = 4096

func (s *sieve) matches(packet []byte) bool {
	if !s.flow.matches(packet) {
		return false
	}
	proto, rest, _ := transport(packet)
	all := conversations(proto, rest)
	if to, hops := destination(packet); s.flow.Nearer > 0 && to == s.flow.Addr && hops <= s.flow.Nearer {
		if len(all) > 0 && len(s.traced) < mostTraced {
			s.traced[all[0]] = true
		}
		return false
	}
	for _, c := range all {
		if s.traced[c] {
			return false
		}
	}
	return true
}

// conversations are those that a packet may belong to, that of its sender first.
func conversations(proto byte, rest []byte) []conversation {
	const echo, echoReply, echo6, echoReply6 = 8, 0, 128, 129
	switch {
	case len(rest) < 8:
		return nil
	case proto == protoTCP || proto == protoUDP:
		return []conversation{{proto, uint32(be16(rest))}, {proto, uint32(be16(rest[2:]))}}
	case proto == protoICMP && (rest[0] == echo || rest[0] == echoReply), proto == protoICMPv6 && (rest[0] == echo6 || rest[0] == echoReply6):
		return []conversation{{proto, uint32(be16(rest[4:]))<<16 | uint32(be16(rest[6:]))}}
	case proto == protoICMP || proto == protoICMPv6: // an error, with what it is about
		about, inner, _ := transport(rest[8:])
		if about == protoTCP || about == protoUDP || len(inner) >= 8 && (inner[0] == echo || inner[0] == echo6) {
			if all := conversations(about, inner); len(all) > 0 {
				return all[:1]
			}
		}
	}
	return nil
}

// destination is where a packet goes, and how many hops it has left.
func destination(p []byte) (netip.Addr, uint8) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[16:20])), p[8]
	case len(p) >= 40 && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[24:40])), p[7]
	}
	return netip.Addr{}, 0
}

func be16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

// transport finds what an IP packet carries. Of a fragment that is not the first one
// it returns the protocol and nothing else.
func transport(p []byte) (proto byte, rest []byte, ok bool) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		header := int(p[0]&15) * 4
		if header < 20 || len(p) < header {
			return 0, nil, false
		}
		if be16(p[6:])&0x1fff != 0 {
			return p[9], nil, true
		}
		return p[9], p[header:], true
	case len(p) >= 40 && p[0]>>4 == 6:
		next, rest := p[6], p[40:]
		for range 8 { // extension headers, RFC 8200
			switch next {
			case 0, 43, 60:
				if len(rest) < 8 || len(rest) < 8+int(rest[1])*8 {
					return next, nil, true
				}
				next, rest = rest[0], rest[8+int(rest[1])*8:]
			case 44:
				if len(rest) < 8 {
					return next, nil, true
				}
				if be16(rest[2:])&^7 != 0 {
					return rest[0], nil, true
				}
				next, rest = rest[0], rest[8:]
			default:
				return next, rest, true
			}
		}
		return next, nil, true
	}
	return 0, nil, false
}
