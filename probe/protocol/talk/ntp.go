package talk

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

const (
	ntpSize = 48
	// ntpEpoch is 1970 in NTP's seconds since 1900.
	ntpEpoch = 2208988800
	// ntpUnsynchronized is the leap indicator's "clock not synchronized", and the first
	// stratum that means the same.
	ntpUnsynchronized = 3
	ntpMaxStratum     = 15
)

// NTP asks a time server (RFC 5905, mode 3), port 123, and judges its answer by
// module key ntp.
func NTP(ctx context.Context, r *protocol.Request) *protocol.Result {
	c := begin(ctx, r)
	if !c.dial("udp", "123") {
		return c.finish()
	}
	// The time of sending is told to nobody: a random number in its place tells the
	// answer to this question from any other.
	var query [ntpSize]byte
	query[0] = 4<<3 | 3
	if _, err := rand.Read(query[40:]); err != nil {
		c.res.Fail(protocol.Internal, protocol.Sent, "make a random number: %v", err)
		return c.finish()
	}
	sent := time.Now()
	if !c.write("the query", query[:]) {
		return c.finish()
	}
	nonce := binary.BigEndian.Uint64(query[40:])
	buf := make([]byte, 1<<10)
	for strangers := 0; ; strangers++ {
		n, err := c.Read(buf)
		received := sent.Add(time.Since(sent)) // by the monotonic clock, whatever is set meanwhile
		if err != nil {
			what := "wait for an answer"
			if strangers > 0 {
				what = fmt.Sprintf("wait for an answer, after %d that were none to this question", strangers)
			}
			c.failed(protocol.FirstByte, what, err)
			return c.finish()
		}
		if answer, err := parseNTP(buf[:n], nonce); err == nil {
			c.ntp(answer, sent, received)
			return c.finish()
		}
	}
}

// ntpAnswer is a server's packet; times are NTP's, 32 bits of seconds and 32 of their
// fraction.
type ntpAnswer struct {
	leap, stratum   int
	precision       int8
	rootDelay       float64 // seconds, as is rootDispersion
	rootDispersion  float64
	reference       [4]byte
	updated         uint64
	received, sent  uint64
	kissOfDeathCode string // "" for none
}

// parseNTP reads a packet that must be the answer to the question with that number.
func parseNTP(b []byte, nonce uint64) (ntpAnswer, error) {
	if len(b) < ntpSize {
		return ntpAnswer{}, fmt.Errorf("read an NTP packet: it has %d bytes, want %d", len(b), ntpSize)
	}
	if mode := b[0] & 7; mode != 4 {
		return ntpAnswer{}, fmt.Errorf("read an NTP packet: its mode is %d, want 4 (server)", mode)
	}
	if got := binary.BigEndian.Uint64(b[24:]); got != nonce {
		return ntpAnswer{}, fmt.Errorf("read an NTP packet: it answers %x, not %x", got, nonce)
	}
	a := ntpAnswer{
		leap: int(b[0] >> 6), stratum: int(b[1]), precision: int8(b[3]),
		rootDelay:      float64(int32(binary.BigEndian.Uint32(b[4:]))) / (1 << 16),
		rootDispersion: float64(binary.BigEndian.Uint32(b[8:])) / (1 << 16),
		reference:      [4]byte(b[12:16]),
		updated:        binary.BigEndian.Uint64(b[16:]),
		received:       binary.BigEndian.Uint64(b[32:]),
		sent:           binary.BigEndian.Uint64(b[40:]),
	}
	if a.stratum == 0 {
		a.kissOfDeathCode = printable(a.reference)
	}
	return a, nil
}

// printable keeps what a kiss code may have: capital letters and digits.
func printable(b [4]byte) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, string(b[:]))
}

// ntpTime is a time in NTP's 64 bits, modulo 2^32 seconds.
func ntpTime(t time.Time) uint64 {
	return uint64(t.Unix()+ntpEpoch)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// ntpSeconds is the difference of two times, which must be less than 68 years apart.
func ntpSeconds(a, b uint64) float64 { return float64(int64(a-b)) / (1 << 32) }

func (c *call) ntp(a ntpAnswer, sent, received time.Time) {
	if a.stratum == 0 {
		c.res.Fail(protocol.Status, protocol.FirstByte, "the server sends a kiss-o'-death: %q (%s)", a.kissOfDeathCode, kissWords(a.kissOfDeathCode))
	}
	out, back := ntpSeconds(a.received, ntpTime(sent)), ntpSeconds(a.sent, ntpTime(received))
	offset, delay := (out+back)/2, max(out-back, 0)
	c.res.Add("probe_ntp_offset_seconds", offset)
	c.res.Add("probe_ntp_delay_seconds", delay)
	c.res.Add("probe_ntp_stratum", float64(a.stratum))
	c.res.Add("probe_ntp_leap", float64(a.leap))
	c.res.Add("probe_ntp_root_delay_seconds", a.rootDelay)
	c.res.Add("probe_ntp_root_dispersion_seconds", a.rootDispersion)
	c.res.Add("probe_ntp_precision_seconds", math.Ldexp(1, int(a.precision)))
	c.status(fmt.Sprintf("stratum %d leap %d offset %+.6fs delay %.6fs", a.stratum, a.leap, offset, delay))

	m := &c.req.Module.NTP
	most := m.MaxStratum
	if most == 0 {
		most = ntpMaxStratum
	}
	limit := time.Duration(m.MaxOffset)
	switch {
	case a.stratum == 0:
	case a.leap == ntpUnsynchronized:
		c.res.Fail(protocol.Answer, protocol.FirstByte, "the server says that its clock is not synchronized")
	case a.stratum > most:
		c.res.Fail(protocol.Answer, protocol.FirstByte, "the stratum is %d, want at most %d", a.stratum, most)
	case a.sent == 0:
		c.malformed("the server does not tell its time")
	case limit > 0 && math.Abs(offset) > limit.Seconds():
		c.res.Fail(protocol.Answer, protocol.FirstByte, "the clocks differ by %+.6f s, want at most %v", offset, limit)
	}
}

// kissWords are those of RFC 5905, 7.4, that a client meets.
func kissWords(code string) string {
	switch code {
	case "RATE":
		return "it is asked too often"
	case "DENY", "RSTR":
		return "it refuses access"
	case "INIT", "STEP":
		return "it is not synchronized yet"
	}
	return "see RFC 5905, 7.4"
}
