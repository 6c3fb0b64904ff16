//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// answered is how long an answer may take that must come.
	answered = 5 * time.Second
	// silence is how long to wait for an answer that must not come.
	silence = 150 * time.Millisecond
)

// reflector answers each UDP packet at port 3478 with the address it came from, a
// space and the packet, as STUN does.
func reflector(t *testing.T, n *Node) netip.AddrPort {
	t.Helper()
	conn, err := n.ListenPacket("udp", ":3478")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			seen := from.(*net.UDPAddr).AddrPort()
			seen = netip.AddrPortFrom(seen.Addr().Unmap(), seen.Port())
			_, _ = conn.WriteTo(fmt.Appendf(nil, "%v %s", seen, buf[:size]), from)
		}
	}()
	return netip.AddrPortFrom(n.Addr(), 3478)
}

func socket(t *testing.T, n *Node) net.PacketConn {
	t.Helper()
	conn, err := n.ListenPacket("udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends one packet and returns the address that the reflector saw, and how
// long the answer took; os.ErrDeadlineExceeded if none came. A failure to send is
// an error of its own: what the lab swallows must vanish silently.
func ask(conn net.PacketConn, to netip.AddrPort, patience time.Duration) (netip.AddrPort, time.Duration, error) {
	start := time.Now()
	word := fmt.Sprint(start.UnixNano())
	if _, err := conn.WriteTo([]byte(word), net.UDPAddrFromAddrPort(to)); err != nil {
		return netip.AddrPort{}, 0, fmt.Errorf("send: %w", err)
	}
	if err := conn.SetReadDeadline(start.Add(patience)); err != nil {
		return netip.AddrPort{}, 0, err
	}
	buf := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return netip.AddrPort{}, 0, err
		}
		seen, echo, _ := strings.Cut(string(buf[:n]), " ")
		if echo != word {
			continue // late answer to an earlier question
		}
		addr, err := netip.ParseAddrPort(seen)
		return addr, time.Since(start), err
	}
}

func mustReach(t *testing.T, conn net.PacketConn, to netip.AddrPort, why string) netip.AddrPort {
	t.Helper()
	seen, _, err := ask(conn, to, answered)
	if err != nil {
		t.Fatalf("%s: ask %v: %v", why, to, err)
	}
	return seen
}

func mustNotReach(t *testing.T, conn net.PacketConn, to netip.AddrPort, why string) {
	t.Helper()
	if seen, _, err := ask(conn, to, silence); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%s: ask %v: got answer %v, error %v; want silence", why, to, seen, err)
	}
}

// hears reports whether a packet sent to an address arrives at conn.
func hears(t *testing.T, conn, from net.PacketConn, to netip.AddrPort, patience time.Duration) bool {
	t.Helper()
	word := fmt.Sprint(time.Now().UnixNano())
	if _, err := from.WriteTo([]byte(word), net.UDPAddrFromAddrPort(to)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		if string(buf[:n]) == word {
			return true
		}
	}
}

// serveTCP accepts and echoes at port 80.
func serveTCP(t *testing.T, n *Node) string {
	t.Helper()
	ln, err := n.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello"))
			conn.Close()
		}
	}()
	return netip.AddrPortFrom(n.Addr(), 80).String()
}

// dials reports whether a TCP connection comes up and brings data.
func dials(t *testing.T, n *Node, address string, patience time.Duration) bool {
	t.Helper()
	conn, err := n.Dial(within(t, patience), "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Read(make([]byte, 5))
	return err == nil
}
