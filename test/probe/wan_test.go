package probe

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

const (
	distance = 40 * time.Millisecond // one way
	around   = 2 * distance
)

// attempts is how often a measurement may be repeated: the lab never delivers early,
// and a busy machine may deliver late.
const attempts = 5

// measure repeats a probe until it is true.
func measure(t *testing.T, v *vantage, o order, true func(r *protocol.Result) error) *protocol.Result {
	t.Helper()
	var err error
	var r *protocol.Result
	for range attempts {
		r = v.probe(o)
		if err = true(r); err == nil {
			return r
		}
	}
	t.Errorf("%s %s: %v", o.Prober, o.Target, err)
	return r
}

// allowPing opens unprivileged sockets for ICMP in the host's namespace.
func allowPing(t *testing.T, n *lab.Node) {
	t.Helper()
	n.Run(func() {
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEcho(t *testing.T) {
	l := lab.New(t)
	l.WAN(lab.WANOptions{}).SetDelay("eu", "us", distance)
	here := l.Public("here", lab.LinkOptions{Region: "eu", IPv6: true})
	there := l.Public("there", lab.LinkOptions{Region: "us", IPv6: true})
	v := from(t, here)
	check := func(t *testing.T, v *vantage) {
		for _, target := range []string{there.Addr().String(), there.Addr6().String()} {
			r := measure(t, v, order{Prober: "icmp", Target: target, Echo: definition.Echo{Count: 5, Interval: 2e7, MTU: true}}, func(r *protocol.Result) error {
				if !r.Up || !near(r.Phases[protocol.FirstByte], around) {
					return fmt.Errorf("up %v, %v, round trip %v, want %v", r.Up, r.Reason, r.Phases[protocol.FirstByte], around)
				}
				return nil
			})
			if got := value(t, r, "probe_icmp_path_mtu_bytes"); got != 1500 {
				t.Errorf("%s: the MTU is %v, want 1500", target, got)
			}
			if got := value(t, r, "probe_icmp_reply_hop_limit"); got != 64 {
				t.Errorf("%s: the hop limit is %v, want 64", target, got)
			}
		}
	}
	t.Run("raw", func(t *testing.T) { check(t, v) })
	t.Run("forbidden", func(t *testing.T) {
		wantDown(t, v.nobody().probe(order{Prober: "icmp", Target: there.Addr().String()}), protocol.Unsupported, "CAP_NET_RAW", "ping_group_range")
	})
	allowPing(t, here)
	t.Run("unprivileged", func(t *testing.T) { check(t, v.nobody()) })

	t.Run("loss", func(t *testing.T) {
		there.Link().SetLoss(0.3)
		defer there.Link().SetLoss(0)
		// Each way 0.7 pass: of a hundred come back 49, and less than 15 or more than 85
		// once in ten billion runs.
		r := v.probe(order{Prober: "icmp", Target: there.Addr().String(), Echo: definition.Echo{Count: 100, Interval: 5e6, MaxLoss: 0.1}})
		wantDown(t, r, protocol.Loss, "of 100 echoes were lost", "want at most 10 %")
		if got := value(t, r, "probe_icmp_loss_ratio"); got < 0.15 || got > 0.85 {
			t.Errorf("the loss is %v, want about 0.51", got)
		}
	})
	t.Run("silence", func(t *testing.T) {
		there.Link().Cut()
		defer there.Link().Heal()
		r := v.probe(order{Prober: "icmp", Target: there.Addr().String(), Timeout: time.Second})
		wantDown(t, r, protocol.RequestTimeout, "none of 1 echoes")
		if got := value(t, r, "probe_icmp_duration_seconds", "phase", "rtt"); got != 0 {
			t.Errorf("what did not come back took %v", got)
		}
	})
}

func TestConversation(t *testing.T) {
	l := lab.New(t)
	l.WAN(lab.WANOptions{}).SetDelay("eu", "us", distance)
	here := l.Public("here", lab.LinkOptions{Region: "eu"})
	there := l.Public("there", lab.LinkOptions{Region: "us"})
	const thinking = 30 * time.Millisecond
	ln, err := there.Listen("tcp", ":7000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go answer(conn, thinking)
		}
	}()
	v := from(t, here)
	addr := net.JoinHostPort(there.Addr().String(), "7000")
	measure(t, v, order{Prober: "tcp", Target: addr, Expect: "world"}, func(r *protocol.Result) error {
		if !r.Up || !near(r.Phases[protocol.Connect], around) || !near(r.Phases[protocol.FirstByte], around+thinking) {
			return fmt.Errorf("up %v, %v, phases %v; want %v to connect and %v to the first byte", r.Up, r.Reason, r.Phases, around, around+thinking)
		}
		return nil
	})
	wantDown(t, v.probe(order{Prober: "tcp", Target: net.JoinHostPort(there.Addr().String(), "7001")}), protocol.ConnectionRefused)
	wantDown(t, v.probe(order{Prober: "tcp", Target: "10.255.0.1:80", Timeout: time.Second}), protocol.ConnectTimeout)
	there.Link().Cut()
	wantDown(t, v.probe(order{Prober: "tcp", Target: addr, Timeout: time.Second}), protocol.ConnectTimeout, "timeout")
}

func answer(conn net.Conn, after time.Duration) {
	defer conn.Close()
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		return
	}
	<-time.After(after)
	_, _ = io.WriteString(conn, "world\n")
}

// TestTraceNAT finds a box at home and what is behind it, over a link of known delay.
func TestTraceNAT(t *testing.T) {
	l := lab.New(t)
	l.WAN(lab.WANOptions{}).SetDelay("eu", "us", distance)
	box := l.NAT("home", lab.PortRestricted, lab.LinkOptions{Region: "eu"})
	here := box.Node("here")
	there := l.Public("there", lab.LinkOptions{Region: "us"})
	v := from(t, here)
	for _, over := range []string{"icmp", "udp", "tcp"} {
		measure(t, v, order{Prober: "trace", Target: there.Addr().String(), Trace: definition.Trace{Over: over}}, func(r *protocol.Result) error {
			if !r.Up || len(r.Hops) != 2 {
				return fmt.Errorf("up %v, %v, hops %+v; want 2", r.Up, r.Reason, r.Hops)
			}
			// The box keeps to its limit of messages, of all three traces.
			if h := r.Hops[0]; len(h.Addrs) != 1 || !near(h.RTT[0], 0) {
				return fmt.Errorf("the box is %+v", h)
			}
			if h := r.Hops[1]; len(h.Addrs) != 1 || h.Addrs[0] != there.Addr() || !near(h.RTT[0], around) {
				return fmt.Errorf("the target is %+v, want %v after %v", h, there.Addr(), around)
			}
			return nil
		})
	}
}
