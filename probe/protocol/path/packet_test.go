package path

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// quoteOf wraps an echo as routers quote it.
func quoteOf(v6 bool, to netip.Addr, packet []byte) []byte {
	if v6 {
		h := make([]byte, ipv6Header)
		h[0], h[6] = 6<<4, 58
		copy(h[24:], to.AsSlice())
		return append(h, packet...)
	}
	h := make([]byte, ipv4Header)
	h[0], h[9] = 4<<4|5, 1
	copy(h[16:], to.AsSlice())
	return append(h, packet...)
}

func TestParseICMP(t *testing.T) {
	to4, to6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, tc := range []struct {
		name      string
		v6        bool
		typ, code byte
		info      uint32
		want      event
		ok        bool
	}{
		{"expired", false, v4Expired, 0, 0, event{fate: expired, to: to4, id: 7, seq: 9}, true},
		{"host unreachable", false, v4Unreachable, 1, 0, event{fate: unreachable, code: 1, to: to4, id: 7, seq: 9}, true},
		{"too big", false, v4Unreachable, 4, 1400, event{fate: tooBig, mtu: 1400, to: to4, id: 7, seq: 9}, true},
		{"too big, old router", false, v4Unreachable, 4, 0, event{fate: tooBig, to: to4, id: 7, seq: 9}, true},
		{"redirect", false, 5, 0, 0, event{}, false},
		{"expired 6", true, v6Expired, 0, 0, event{fate: expired, to: to6, id: 7, seq: 9}, true},
		{"too big 6", true, v6TooBig, 0, 1280, event{fate: tooBig, mtu: 1280, to: to6, id: 7, seq: 9}, true},
		{"unbelievable 6", true, v6TooBig, 0, 1 << 31, event{fate: tooBig, to: to6, id: 7, seq: 9}, true},
		{"unreachable 6", true, v6Unreachable, 3, 0, event{fate: unreachable, code: 3, to: to6, id: 7, seq: 9}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			to := to4
			if tc.v6 {
				to = to6
			}
			b := make([]byte, icmpHeader)
			b[0], b[1] = tc.typ, tc.code
			binary.BigEndian.PutUint32(b[4:], tc.info)
			b = append(b, quoteOf(tc.v6, to, echo(tc.v6, 7, 9, nil))...)
			got, ok := parseICMP(tc.v6, b)
			if ok != tc.ok || got.fate != tc.want.fate || got.code != tc.want.code || got.mtu != tc.want.mtu ||
				got.to != tc.want.to || got.id != tc.want.id || got.seq != tc.want.seq {
				t.Errorf("got %+v, %v; want %+v, %v", got, ok, tc.want, tc.ok)
			}
			for cut := range b {
				if _, ok := parseICMP(tc.v6, b[:cut]); ok {
					t.Errorf("%d of %d bytes are believed", cut, len(b))
				}
			}
		})
	}
}

func TestEchoReply(t *testing.T) {
	b := echo(false, 1, 2, []byte("token..."))
	if checksum(b) != 0 {
		t.Error("the checksum is wrong")
	}
	b[0] = v4Reply
	e, ok := parseICMP(false, b)
	if !ok || e.fate != answered || e.id != 1 || e.seq != 2 || !bytes.Equal(e.payload, []byte("token...")) {
		t.Errorf("got %+v, %v", e, ok)
	}
}

func FuzzICMP(f *testing.F) {
	to4, to6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	f.Add(false, append([]byte{v4Expired, 0, 0, 0, 0, 0, 0, 0}, quoteOf(false, to4, echo(false, 1, 2, nil))...))
	f.Add(true, append([]byte{v6TooBig, 0, 0, 0, 0, 0, 5, 0}, quoteOf(true, to6, echo(true, 1, 2, nil))...))
	f.Add(false, append([]byte{v4Unreachable, 4, 0, 0, 0, 0, 5, 0}, 0x4f, 0, 0))
	f.Fuzz(func(t *testing.T, v6 bool, b []byte) {
		if e, ok := parseICMP(v6, b); ok && (e.mtu < 0 || e.mtu > 1<<16 || len(e.payload) > len(b)) {
			t.Errorf("%x gives %+v", b, e)
		}
		if m, _, ok := withoutHeader(b); ok && len(m) >= len(b) {
			t.Errorf("%x has no header", b)
		}
		readExtended(b)
	})
}

func TestSummarize(t *testing.T) {
	ms := time.Millisecond
	st := summarize([]time.Duration{10 * ms, 26 * ms, 10 * ms, 26 * ms})
	// D is 16 ms each time: J = 1, then 1 + 15/16, then that + (16 - that)/16.
	if want := (stats{min: 10 * ms, mean: 18 * ms, max: 26 * ms, deviation: 8 * ms, jitter: 2816406 * time.Nanosecond}); st != want {
		t.Errorf("got %+v, want %+v", st, want)
	}
	if summarize(nil) != (stats{}) {
		t.Error("nothing sums up to something")
	}
}

// TestMTUSearch plays paths of any MTU: with routers that tell, that tell wrong, and
// that keep silent.
func TestMTUSearch(t *testing.T) {
	for truth := 576; truth <= 1500; truth++ {
		for _, told := range []func(size int) int{
			func(int) int { return 0 },
			func(int) int { return truth },
			func(size int) int { return size - 1 },
			func(size int) int { return size + 100 },
			func(int) int { return 1 },
		} {
			m := mtuSearch{low: 56, high: 1500}
			steps := 0
			for size, ok := m.next(); ok; size, ok = m.next() {
				if size <= truth {
					m.learn(size, true, 0)
				} else {
					m.learn(size, false, told(size))
				}
				if steps++; steps > 1500 {
					t.Fatalf("no end of the search for %d", truth)
				}
			}
			if m.low != truth {
				t.Fatalf("found %d, want %d", m.low, truth)
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	sent := time.Now()
	read := sent.Add(10 * time.Millisecond)
	for _, tc := range []struct {
		arrived time.Time
		want    time.Duration
	}{
		{time.Time{}, 10 * time.Millisecond},
		{sent.Add(3 * time.Millisecond).Round(0), 3 * time.Millisecond},
		{sent.Add(-time.Hour).Round(0), 10 * time.Millisecond}, // the clock was set
		{sent.Add(time.Hour).Round(0), 10 * time.Millisecond},
	} {
		if got := roundTrip(sent, tc.arrived, read); got != tc.want {
			t.Errorf("arrived %v after it was sent: %v, want %v", tc.arrived.Sub(sent.Round(0)), got, tc.want)
		}
	}
}
