//go:build linux

package lab

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func udp4(t testing.TB, src, dst netip.AddrPort, fragment uint16) []byte {
	t.Helper()
	b := make([]byte, 28)
	b[0], b[9] = 0x45, protoUDP
	binary.BigEndian.PutUint16(b[6:], fragment)
	copy(b[12:], src.Addr().AsSlice())
	copy(b[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], src.Port())
	binary.BigEndian.PutUint16(b[22:], dst.Port())
	return b
}

func tcp6(t testing.TB, src, dst netip.AddrPort) []byte {
	t.Helper()
	b := make([]byte, 60)
	b[0], b[6] = 0x60, protoTCP
	copy(b[8:], src.Addr().AsSlice())
	copy(b[24:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[40:], src.Port())
	binary.BigEndian.PutUint16(b[42:], dst.Port())
	return b
}

func filled(data []byte) *packet {
	p := &packet{}
	p.n = copy(p.data[:], data)
	return p
}

func TestParse(t *testing.T) {
	a, b := netip.MustParseAddrPort("11.1.0.10:1000"), netip.MustParseAddrPort("11.2.0.10:2000")
	a6, b6 := netip.MustParseAddrPort("[2a0e:1::10]:1000"), netip.MustParseAddrPort("[2a0e:2::10]:2000")
	for _, tc := range []struct {
		name     string
		data     []byte
		ok       bool
		src, dst netip.AddrPort
		proto    byte
	}{
		{"IPv4", udp4(t, a, b, 0), true, a, b, protoUDP},
		{"first fragment", udp4(t, a, b, 0x2000), true, a, b, protoUDP},
		{"later fragment", udp4(t, a, b, 0x2001), true, netip.AddrPortFrom(a.Addr(), 0), netip.AddrPortFrom(b.Addr(), 0), protoUDP},
		{"IPv6", tcp6(t, a6, b6), true, a6, b6, protoTCP},
		{"without ports", udp4(t, a, b, 0)[:22], true, netip.AddrPortFrom(a.Addr(), 0), netip.AddrPortFrom(b.Addr(), 0), protoUDP},
		{name: "empty"},
		{name: "short IPv4", data: udp4(t, a, b, 0)[:19]},
		{name: "short IPv6", data: tcp6(t, a6, b6)[:39]},
		{name: "header beyond the end", data: append([]byte{0x4f}, udp4(t, a, b, 0)[1:]...)},
		{name: "header too small", data: append([]byte{0x44}, udp4(t, a, b, 0)[1:]...)},
		{name: "other version", data: append([]byte{0x55}, udp4(t, a, b, 0)[1:]...)},
	} {
		p := filled(tc.data)
		// What a recycled packet held before must not show.
		p.sport, p.dport = 7, 7
		if got := p.parse(); got != tc.ok {
			t.Errorf("%s: parsed %v, want %v", tc.name, got, tc.ok)
			continue
		}
		if src, dst := netip.AddrPortFrom(p.src, p.sport), netip.AddrPortFrom(p.dst, p.dport); tc.ok && (src != tc.src || dst != tc.dst || p.proto != tc.proto) {
			t.Errorf("%s: %v to %v protocol %d, want %v to %v protocol %d", tc.name, src, dst, p.proto, tc.src, tc.dst, tc.proto)
		}
	}
}

func FuzzParse(f *testing.F) {
	a, b := netip.MustParseAddrPort("11.1.0.10:1000"), netip.MustParseAddrPort("11.2.0.10:2000")
	f.Add(udp4(f, a, b, 0))
	f.Add(udp4(f, a, b, 1)[:21])
	f.Add(tcp6(f, netip.MustParseAddrPort("[2a0e:1::10]:1"), netip.MustParseAddrPort("[2a0e:2::10]:2")))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := filled(data)
		if p.parse() && (!p.src.IsValid() || !p.dst.IsValid() || p.src.BitLen() != p.dst.BitLen()) {
			t.Errorf("parsed %x to %v, %v", data, p.src, p.dst)
		}
	})
}

func TestSerialise(t *testing.T) {
	s := shape{rate: 8_000_000, buffer: 3 * time.Millisecond} // 1,000 bytes take 1 ms
	var free time.Duration
	now := 5 * time.Millisecond
	for i, want := range []time.Duration{6, 7, 8, 9} {
		if got, ok := s.serialise(now, 1000, &free); !ok || got != want*time.Millisecond {
			t.Errorf("packet %d leaves at %v, %v; want %dms", i, got, ok, want)
		}
	}
	if got, ok := s.serialise(now, 1000, &free); ok {
		t.Errorf("a packet that would wait 4 ms of 3 leaves at %v: want dropped", got)
	}
	if got, ok := s.serialise(20*time.Millisecond, 1000, &free); !ok || got != 21*time.Millisecond {
		t.Errorf("after a pause: %v, %v; want 21ms", got, ok)
	}
	if got, ok := (&shape{}).serialise(now, 1000, &free); !ok || got != now {
		t.Errorf("without a limit: %v, %v; want %v", got, ok, now)
	}
}

func TestJitterKeepsOrderUnlessAsked(t *testing.T) {
	for _, reorder := range []bool{false, true} {
		f, err := newFabric(3, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		to := netip.MustParseAddrPort("11.2.0.10:2")
		a := &port{}
		a.shape.Store(&shape{jitter: 50 * time.Millisecond, reorder: reorder})
		b := &port{index: 1}
		b.shape.Store(&shape{})
		f.routes.Store(&map[netip.Prefix]*port{prefixOf(to.Addr()): b})
		turned, last := 0, time.Duration(0)
		for i := range 200 {
			p := filled(udp4(t, netip.MustParseAddrPort("11.1.0.10:1"), to, 0))
			now := time.Duration(i) * time.Millisecond
			if !p.parse() || !f.accept(a, p, now) {
				t.Fatal("packet refused")
			}
			if p.due < now || p.due > now+50*time.Millisecond {
				t.Errorf("packet of %v is due %v: more than 50 ms", now, p.due)
			}
			if p.due < last {
				turned++
			}
			last = p.due
		}
		if (turned > 0) != reorder {
			t.Errorf("reorder %v: %d of 200 packets overtook", reorder, turned)
		}
		f.closeFiles()
	}
}

func prefixOf(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func TestParseDevice(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       9       9    0    0    0     0          0         0       9       9    0    0    0     0       0          0
  eth0:     420      10    0    0    0     0          0         0     142       3    0    0    0     0       0          0
`
	got, err := parseDevice(text, "eth0")
	if want := (Counters{InPackets: 10, InBytes: 280, OutPackets: 3, OutBytes: 100}); err != nil || got != want {
		t.Errorf("parsed %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "eth0: 1 2", strings.Replace(text, "420", "4x0", 1)} {
		if got, err := parseDevice(bad, "eth0"); err == nil {
			t.Errorf("parsed %q to %+v: want an error", bad, got)
		}
	}
}
