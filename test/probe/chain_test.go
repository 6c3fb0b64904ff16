package probe

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// chain is a way over three routers, the second of which has a twin:
//
//	here ── r1 ── r2 ── r3 ── there
//	         └─ twin ──┘
//
// Link n has the network 10.9.n.0/24, and .1 is on the side of here. What lies behind
// r3 and is none of these is refused there, or swallowed, or sent back and forth.
type chain struct {
	here, r1, r2, twin, r3, there *lab.Node
}

func newChain(t *testing.T) *chain {
	t.Helper()
	l := lab.New(t)
	public := func(name string) *lab.Node { return l.Public(name, lab.LinkOptions{}) }
	c := &chain{public("here"), public("r1"), public("r2"), public("twin"), public("r3"), public("there")}
	for _, r := range []*lab.Node{c.r1, c.r2, c.twin, c.r3, c.there} {
		r.Run(func() {
			// Without a limit on messages, so that what is missing is lost.
			for key, v := range map[string]string{"ip_forward": "1", "icmp_ratelimit": "0", "icmp_msgs_per_sec": "100000", "icmp_msgs_burst": "1000", "fib_multipath_hash_policy": "1"} {
				err := os.WriteFile("/proc/sys/net/ipv4/"+key, []byte(v), 0o644)
				if err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
		})
	}
	for n, ends := range [][2]*lab.Node{{c.here, c.r1}, {c.r1, c.r2}, {c.r2, c.r3}, {c.r3, c.there}, {c.r1, c.twin}, {c.twin, c.r3}} {
		cable(t, n+1, ends[0], ends[1])
	}
	ip(t, c.here, "route add 10.0.0.0/8 via 10.9.1.2")
	ip(t, c.r1, "route add 10.9.3.0/24 via 10.9.2.2", "route add 10.9.4.0/24 via 10.9.2.2", "route add 10.9.6.0/24 via 10.9.5.2",
		"route add 10.7.0.0/16 via 10.9.2.2", "route add 10.6.0.0/16 nexthop via 10.9.2.2 nexthop via 10.9.5.2")
	ip(t, c.r2, "route add 10.9.1.0/24 via 10.9.2.1", "route add 10.9.4.0/24 via 10.9.3.2", "route add 10.6.0.0/15 via 10.9.3.2")
	ip(t, c.twin, "route add 10.9.1.0/24 via 10.9.5.1", "route add 10.6.0.0/16 via 10.9.6.2", "route add 10.9.4.0/24 via 10.9.6.2")
	ip(t, c.r3, "route add 10.9.1.0/24 via 10.9.3.1", "route add 10.9.2.0/24 via 10.9.3.1", "route add 10.9.5.0/24 via 10.9.6.1", "route add 10.6.0.0/16 via 10.9.4.2",
		"route add unreachable 10.7.1.0/24", "route add prohibit 10.7.2.0/24", "route add blackhole 10.7.3.0/24", "route add 10.7.4.0/24 via 10.9.3.1")
	ip(t, c.there, "route add 10.9.0.0/16 via 10.9.4.1", "addr add 10.6.0.1/32 dev lo")
	return c
}

func cable(t *testing.T, n int, a, b *lab.Node) {
	t.Helper()
	ip(t, a, fmt.Sprintf("link add l%d type veth peer name l%d netns %s", n, n, b.Namespace()), fmt.Sprintf("addr add 10.9.%d.1/24 dev l%d", n, n), fmt.Sprintf("link set l%d up", n))
	ip(t, b, fmt.Sprintf("addr add 10.9.%d.2/24 dev l%d", n, n), fmt.Sprintf("link set l%d up", n))
}

// ip runs lines of ip in a host's namespace.
func ip(t *testing.T, n *lab.Node, lines ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-n", n.Namespace(), "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v in %s: %v: %s", lines, n.Name(), err, out)
	}
}

// way is the first address of each hop, "*" for none.
func way(r *protocol.Result) string {
	var words []string
	for _, h := range r.Hops {
		if len(h.Addrs) == 0 {
			words = append(words, "*")
			continue
		}
		words = append(words, h.Addrs[0].String())
	}
	return strings.Join(words, " ")
}

func TestTrace(t *testing.T) {
	c := newChain(t)
	v := from(t, c.here)
	nobody := v.nobody()
	const straight = "10.9.1.2 10.9.2.2 10.9.3.2 10.9.4.2"
	check := func(v *vantage, overs ...string) {
		t.Helper()
		for _, over := range overs {
			r := v.probe(order{Prober: "trace", Target: "10.9.4.2", Trace: definition.Trace{Over: over}})
			if !r.Up || way(r) != straight {
				t.Errorf("%s: up %v, %v, the way is %q, want %q", over, r.Up, r.Reason, way(r), straight)
			}
			for _, h := range r.Hops {
				if h.Lost > 0 || h.Sent != 3 {
					t.Errorf("%s: hop %d lost %d of %d", over, h.TTL, h.Lost, h.Sent)
				}
			}
			if got := value(t, r, "probe_trace_hops"); got != 4 {
				t.Errorf("%s: %v hops", over, got)
			}
		}
	}
	check(v, "icmp", "udp", "tcp")
	check(nobody, "udp", "tcp")
	wantDown(t, nobody.probe(order{Prober: "trace", Target: "10.9.4.2"}), protocol.Unsupported, "CAP_NET_RAW")
	allowPing(t, c.here)
	check(nobody, "icmp")

	t.Run("refused", func(t *testing.T) {
		for target, want := range map[string]string{"10.7.1.1": "!H", "10.7.2.1": "!X"} {
			for _, over := range []string{"icmp", "udp", "tcp"} {
				// Linux tells of missing routes once a second, whatever its other limits are.
				measure(t, v, order{Prober: "trace", Target: target, Trace: definition.Trace{Over: over}}, func(r *protocol.Result) error {
					words := "hop 3, 10.9.3.2, passes nothing on to " + target + ": " + want
					if n := len(r.Hops); r.Reason.Code != protocol.Unreachable || r.Reason.Words != words || n != 3 || r.Hops[2].Unreachable != want {
						return fmt.Errorf("%v, hops %+v; want %q", r.Reason, r.Hops, words)
					}
					return nil
				})
			}
		}
		measure(t, v, order{Prober: "icmp", Target: "10.7.1.1", Timeout: time.Second}, func(r *protocol.Result) error {
			if r.Reason.Code != protocol.Unreachable || r.Reason.Words != "10.9.3.2 says: host unreachable" {
				return fmt.Errorf("%v", r.Reason)
			}
			return nil
		})
	})
	t.Run("swallowed", func(t *testing.T) {
		r := v.probe(order{Prober: "trace", Target: "10.7.3.1"})
		wantDown(t, r, protocol.Unreachable, "nothing answers beyond hop 2, 10.9.2.2")
		if len(r.Hops) != 3 {
			t.Errorf("the way is %q", way(r))
		}
	})
	t.Run("circle", func(t *testing.T) {
		r := v.probe(order{Prober: "trace", Target: "10.7.4.1"})
		wantDown(t, r, protocol.Unreachable, "nothing answers beyond hop 30")
		if len(r.Hops) != 30 || r.Hops[28].Addrs[0] != r.Hops[26].Addrs[0] {
			t.Errorf("the way is %q", way(r))
		}
		t.Logf("30 hops took %v", r.Took)
	})
	t.Run("twins", func(t *testing.T) {
		// One way of two, twenty times: all the same once in half a million runs.
		r := v.probe(order{Prober: "trace", Target: "10.6.0.1", Trace: definition.Trace{Over: "udp", Rounds: 20}})
		if !r.Up {
			t.Fatalf("down: %v", r.Reason)
		}
		for _, twin := range []string{"10.9.2.2", "10.9.5.2"} {
			if !slices.Contains(r.Hops[1].Addrs, netip.MustParseAddr(twin)) {
				t.Errorf("hop 2 has %v, want %s among them", r.Hops[1].Addrs, twin)
			}
		}
	})
	t.Run("hop limit", func(t *testing.T) {
		r := v.probe(order{Prober: "icmp", Target: "10.9.4.2"})
		if got := value(t, r, "probe_icmp_reply_hop_limit"); got != 61 {
			t.Errorf("the hop limit is %v, want 64 less 3 routers", got)
		}
	})
}

func TestPathMTU(t *testing.T) {
	c := newChain(t)
	ip(t, c.r2, "link set l3 mtu 1400")
	ip(t, c.r3, "link set l3 mtu 1400", "link set l4 mtu 1200")
	ip(t, c.there, "link set l4 mtu 1200")
	v := from(t, c.here)
	check := func(t *testing.T, v *vantage) {
		t.Helper()
		r := v.probe(order{Prober: "icmp", Target: "10.9.4.2", Echo: definition.Echo{MTU: true}})
		if got := value(t, r, "probe_icmp_path_mtu_bytes"); got != 1200 {
			t.Errorf("the MTU is %v, want 1200", got)
		}
	}
	trace := func(t *testing.T, v *vantage, over string) {
		t.Helper()
		r := v.probe(order{Prober: "trace", Target: "10.9.4.2", Trace: definition.Trace{Over: over}})
		if !r.Up || len(r.Hops) != 4 || r.Hops[1].MTU != 1400 || r.Hops[2].MTU != 1200 {
			t.Errorf("up %v, %v, hops %+v; want 1400 told by hop 2 and 1200 by hop 3", r.Up, r.Reason, r.Hops)
		}
	}
	check(t, v)
	trace(t, v, "icmp")
	trace(t, v, "udp")
	trace(t, v.nobody(), "udp")
	t.Run("unprivileged", func(t *testing.T) {
		allowPing(t, c.here)
		check(t, v.nobody())
		trace(t, v.nobody(), "icmp")
	})
	t.Run("silent routers", func(t *testing.T) {
		for _, r := range []*lab.Node{c.r2, c.r3} {
			cmd := exec.Command("ip", "netns", "exec", r.Namespace(), "nft", "-f", "-")
			cmd.Stdin = strings.NewReader("table ip hush { chain out { type filter hook output priority 0; icmp type destination-unreachable drop\n}\n}\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		check(t, v)
	})
}
