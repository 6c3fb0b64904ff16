package path

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Types of ICMP (RFC 792, RFC 4443) that are used here.
const (
	v4Reply, v4Unreachable, v4Echo, v4Expired       = 0, 3, 8, 11
	v6Unreachable, v6TooBig, v6Expired, v6Echo      = 1, 2, 3, 128
	v6Reply                                         = 129
	v4TooBigCode                                    = 4
	icmpHeader, ipv4Header, ipv6Header, tokenLength = 8, 20, 40, 8
)

// fate is what became of a packet.
type fate uint8

const (
	answered    fate = iota // by the target
	expired                 // its hop limit was used up
	unreachable             // a router, or the target, does not pass it on
	tooBig                  // for the next link, and it must not be cut
)

// event is what came back for a packet that was sent.
type event struct {
	fate fate
	// code says more of unreachable.
	code uint8
	// from is who sent it, to whom the packet was for (zero if it does not tell).
	from, to netip.Addr
	// mtu is the size that would have passed, in bytes, 0 if it was not told.
	mtu int
	// hopLimit that was left of the answer, 0 if unknown.
	hopLimit int
	id, seq  uint16
	// payload of an answer, the packet's own. Valid until the next one is read.
	payload []byte
	at      time.Time
}

// parseICMP reads a message without its IP header. It is false for what answers no
// echo.
func parseICMP(v6 bool, b []byte) (event, bool) {
	if len(b) < icmpHeader {
		return event{}, false
	}
	typ, code := b[0], b[1]
	if v6 && typ == v6Reply || !v6 && typ == v4Reply {
		return event{
			fate: answered, payload: b[icmpHeader:],
			id: binary.BigEndian.Uint16(b[4:]), seq: binary.BigEndian.Uint16(b[6:]),
		}, true
	}
	e, ok := fault(v6, typ, code, binary.BigEndian.Uint32(b[4:]))
	if !ok {
		return event{}, false
	}
	return quoted(e, v6, b[icmpHeader:])
}

// fault reads the header of an error message.
func fault(v6 bool, typ, code uint8, info uint32) (event, bool) {
	switch {
	case v6 && typ == v6TooBig:
		return event{fate: tooBig, mtu: believableMTU(info)}, true
	case !v6 && typ == v4Unreachable && code == v4TooBigCode:
		return event{fate: tooBig, mtu: believableMTU(info & 0xffff)}, true
	case v6 && typ == v6Expired && code == 0, !v6 && typ == v4Expired && code == 0:
		return event{fate: expired}, true
	case v6 && typ == v6Unreachable, !v6 && typ == v4Unreachable:
		return event{fate: unreachable, code: code}, true
	}
	return event{}, false
}

// believableMTU drops what no link has: 68 bytes is the least of IPv4 (RFC 791).
func believableMTU(n uint32) int {
	if n < 68 || n > 1<<16 {
		return 0
	}
	return int(n)
}

// quoted adds what the beginning of the own packet, in an error message, says.
func quoted(e event, v6 bool, q []byte) (event, bool) {
	var inner []byte
	if v6 {
		if len(q) < ipv6Header+icmpHeader || q[0]>>4 != 6 || q[6] != 58 {
			return event{}, false
		}
		e.to = netip.AddrFrom16([16]byte(q[24:40]))
		inner = q[ipv6Header:]
	} else {
		if len(q) < ipv4Header || q[0]>>4 != 4 || q[9] != 1 {
			return event{}, false
		}
		n := int(q[0]&15) * 4
		if n < ipv4Header || len(q) < n+icmpHeader {
			return event{}, false
		}
		e.to = netip.AddrFrom4([4]byte(q[16:20]))
		inner = q[n:]
	}
	return echoIn(e, v6, inner)
}

// echoIn reads which echo it was.
func echoIn(e event, v6 bool, inner []byte) (event, bool) {
	if len(inner) < icmpHeader || v6 && inner[0] != v6Echo || !v6 && inner[0] != v4Echo {
		return event{}, false
	}
	e.id, e.seq = binary.BigEndian.Uint16(inner[4:]), binary.BigEndian.Uint16(inner[6:])
	return e, true
}

// withoutHeader takes the IPv4 header off what a raw socket reads.
func withoutHeader(b []byte) (message []byte, ttl int, ok bool) {
	if len(b) < ipv4Header {
		return nil, 0, false
	}
	n := int(b[0]&15) * 4
	if n < ipv4Header || len(b) < n {
		return nil, 0, false
	}
	return b[n:], int(b[8]), true
}

// echo makes a request. The checksum is for IPv4; of IPv6 the kernel makes it.
func echo(v6 bool, id, seq uint16, payload []byte) []byte {
	b := make([]byte, icmpHeader+len(payload))
	b[0] = v4Echo
	if v6 {
		b[0] = v6Echo
	}
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	copy(b[icmpHeader:], payload)
	if !v6 {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

// checksum is the Internet's (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// mark is how traceroute writes a refusal: "!H", and in words.
func refusal(v6 bool, code uint8) (mark, words string) {
	if v6 {
		switch code {
		case 0:
			return "!N", "no route"
		case 1:
			return "!X", "forbidden by policy"
		case 2:
			return "!S", "beyond the scope of the source address"
		case 3:
			return "!H", "address unreachable"
		case 4:
			return "!P", "port unreachable"
		}
		return "!X", "refused"
	}
	switch code {
	case 0, 5, 6, 11:
		return "!N", "network unreachable"
	case 1, 7, 8, 12:
		return "!H", "host unreachable"
	case 2:
		return "!P", "protocol unreachable"
	case 3:
		return "!P", "port unreachable"
	}
	return "!X", "forbidden by policy"
}
