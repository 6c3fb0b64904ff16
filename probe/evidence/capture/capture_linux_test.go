package capture

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// packets reads the file back, and holds it to the format.
func packets(t *testing.T, content []byte) (all [][]byte, times []time.Time) {
	t.Helper()
	for first := true; len(content) > 0; first = false {
		if len(content) < 12 {
			t.Fatalf("%d bytes are left over", len(content))
		}
		kind, size := binary.LittleEndian.Uint32(content), int(binary.LittleEndian.Uint32(content[4:]))
		if size%4 != 0 || size < 12 || size > len(content) || binary.LittleEndian.Uint32(content[size-4:]) != uint32(size) {
			t.Fatalf("block %#x of %d bytes, %d are left", kind, size, len(content))
		}
		body := content[8 : size-4]
		switch {
		case first && (kind != blockSection || binary.LittleEndian.Uint32(body) != byteOrderMagic):
			t.Fatalf("the file begins with block %#x", kind)
		case kind == blockInterface && binary.LittleEndian.Uint16(body) != linkRaw:
			t.Fatalf("link type %d", binary.LittleEndian.Uint16(body))
		case kind == blockPacket:
			n := int(binary.LittleEndian.Uint32(body[12:]))
			all = append(all, body[20:20+n])
			times = append(times, time.Unix(0, int64(uint64(binary.LittleEndian.Uint32(body[4:]))<<32|uint64(binary.LittleEndian.Uint32(body[8:])))))
		}
		content = content[size:]
	}
	return all, times
}

// greet has a server say a word to whoever connects.
func greet(t *testing.T, addr, word string) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, word)
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr)
}

func visit(t *testing.T, a *net.TCPAddr) {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, a)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, f Flow, l Limits) *Capture {
	t.Helper()
	c, err := Start(f, l, "a test")
	if err != nil {
		t.Fatalf("this test needs root: %v", err)
	}
	return c
}

func TestOneFlow(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			wanted, other := greet(t, net.JoinHostPort(host, "0"), "wanted"), greet(t, net.JoinHostPort(host, "0"), "other")
			addr := netip.MustParseAddr(host)
			begun := time.Now()
			c := start(t, Flow{Addr: addr, Protocol: "tcp", Port: uint16(wanted.Port)}, Limits{Time: time.Minute, Bytes: 1 << 20, Snap: 1500})
			visit(t, other)
			visit(t, wanted)
			content, n, left, err := c.Stop()
			if err != nil {
				t.Fatal(err)
			}
			all, times := packets(t, content)
			if len(all) != n || left != 0 || n < 6 {
				t.Errorf("%d packets in the file, %d said, %d left out; a connection takes six or more", len(all), n, left)
			}
			said := ""
			for i, p := range all {
				said += string(p)
				_, rest, ok := transport(p)
				if !ok || len(rest) < 4 || be16(rest) != uint16(wanted.Port) && be16(rest[2:]) != uint16(wanted.Port) {
					t.Errorf("packet %d is none of the flow: %x", i, p)
				}
				if times[i].Before(begun.Add(-time.Second)) || times[i].After(time.Now().Add(time.Second)) {
					t.Errorf("packet %d was taken at %v", i, times[i])
				}
			}
			if !strings.Contains(said, "wanted") || strings.Contains(said, "other") {
				t.Error("what was said is not in it, or what another connection said is")
			}
		})
	}
}

func TestLimits(t *testing.T) {
	a := greet(t, "127.0.0.1:0", strings.Repeat("x", 1<<20))
	c := start(t, Flow{Addr: netip.MustParseAddr("127.0.0.1"), Port: uint16(a.Port)}, Limits{Time: time.Minute, Bytes: 1000, Snap: 96})
	visit(t, a)
	content, n, left, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if len(content) > 1000 || left == 0 || n == 0 {
		t.Errorf("%d bytes, %d packets, %d left out", len(content), n, left)
	}
	all, _ := packets(t, content)
	for _, p := range all {
		if len(p) > 96 {
			t.Errorf("a packet has %d bytes", len(p))
		}
	}
}

// TestTime ends a capture that nobody stops.
func TestTime(t *testing.T) {
	c := start(t, Flow{Addr: netip.MustParseAddr("127.0.0.1")}, Limits{Time: time.Millisecond, Bytes: 1000, Snap: 96})
	c.done.Wait()
	if _, _, _, err := c.Stop(); err != nil {
		t.Error(err)
	}
}

// TestTraceIsLeftOut tells the flow from a trace to the same port.
func TestTraceIsLeftOut(t *testing.T) {
	there := netip.MustParseAddr("192.0.2.1")
	packet := func(out bool, hops byte, proto byte, rest ...byte) []byte {
		p := make([]byte, 20)
		p[0], p[8], p[9] = 0x45, hops, proto
		at := 12
		if out {
			at = 16
		}
		copy(p[at:], there.AsSlice())
		return append(p, rest...)
	}
	tcp := func(from, to uint16) []byte {
		return []byte{byte(from >> 8), byte(from), byte(to >> 8), byte(to), 0, 0, 0, 0}
	}
	echo := func(kind byte, number byte) []byte { return []byte{kind, 0, 0, 0, 0, 7, 0, number} }
	s := &sieve{flow: Flow{Addr: there, Port: 443, Nearer: 30}, traced: map[conversation]bool{}}
	for i, step := range []struct {
		packet []byte
		want   bool
	}{
		{packet(true, 64, protoTCP, tcp(5000, 443)...), true},
		{packet(true, 30, protoTCP, tcp(5001, 443)...), false},
		{packet(false, 50, protoTCP, tcp(443, 5000)...), true},
		{packet(false, 20, protoTCP, tcp(443, 5001)...), false}, // how far it came says nothing
		{packet(true, 64, protoTCP, tcp(5001, 443)...), false},  // the kernel's reset
		{packet(false, 60, protoICMP, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, packet(true, 1, protoTCP, tcp(5001, 443)...)...)...), false},
		{packet(false, 60, protoICMP, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, packet(true, 1, protoTCP, tcp(5000, 443)...)...)...), true},
		{packet(true, 64, protoICMP, echo(8, 1)...), true},
		{packet(true, 3, protoICMP, echo(8, 2)...), false},
		{packet(false, 64, protoICMP, echo(0, 1)...), true},
		{packet(false, 64, protoICMP, echo(0, 2)...), false},
		{packet(false, 64, protoTCP, tcp(80, 5000)...), false}, // another port
	} {
		if got := s.matches(step.packet); got != step.want {
			t.Errorf("packet %d: %v, want %v", i, got, step.want)
		}
	}
}

func TestNoAddress(t *testing.T) {
	if _, err := Start(Flow{}, Limits{}, ""); err == nil {
		t.Error("captures everything")
	}
}

func FuzzTransport(f *testing.F) {
	f.Add([]byte{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0, 80, 1, 1})
	f.Add(append([]byte{0x60, 0, 0, 0, 0, 0, 44}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, protocol := range []string{"", "tcp", "udp", "icmp"} {
			(&sieve{flow: Flow{Protocol: protocol, Port: 80, Nearer: 30, Addr: netip.IPv4Unspecified()}, traced: map[conversation]bool{}}).matches(p)
		}
	})
}
