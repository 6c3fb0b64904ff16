package path

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guard permits all but one address.
type guard struct{ denied netip.Addr }

func (guard) DialContext(context.Context, string, string, netip.Addr) (net.Conn, error) {
	return nil, errors.New("nothing is to be dialled")
}

func (g guard) Permit(a netip.Addr, _ uint16) error {
	if a == g.denied {
		return fmt.Errorf("%s: %w", a, protocol.ErrDenied)
	}
	return nil
}

func module() *definition.Module { return &definition.Module{Module: blackbox.DefaultModule} }

// started is a Path that is stopped with the test; the test is skipped where the
// machine allows no ICMP.
func started(t *testing.T) *Path {
	t.Helper()
	p := New()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	if _, err := p.socket(kind{}); err != nil {
		t.Skipf("no socket for ICMP on this machine: %v", err)
	}
	return p
}

func run(t *testing.T, f protocol.Func, target string, m *definition.Module, g guard) *protocol.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return f(ctx, &protocol.Request{Target: target, Module: m, Dialer: g, Resolver: net.DefaultResolver})
}

func value(r *protocol.Result, name string, labels ...string) (float64, bool) {
	for _, s := range r.Samples {
		if s.Name == name && strings.Join(s.Labels, "=") == strings.Join(labels, "=") {
			return s.Value, true
		}
	}
	return 0, false
}

func TestEchoLoopback(t *testing.T) {
	p := started(t)
	for _, target := range []string{"127.0.0.1", "::1"} {
		t.Run(target, func(t *testing.T) {
			if target == "::1" && !hasIPv6() {
				t.Skip("no IPv6 on this machine")
			}
			m := module()
			m.Echo.Count, m.Echo.Interval, m.Echo.MTU = 5, 2e6, true
			r := run(t, p.Echo, target, m, guard{})
			if !r.Up {
				t.Fatalf("down: %v", r.Reason)
			}
			for _, want := range []struct {
				name, label, value string
				least, most        float64
			}{
				{"probe_icmp_duration_seconds", "phase", "rtt", 1e-9, 5},
				{"probe_icmp_rtt_seconds", "stat", "max", 1e-9, 5},
				{"probe_icmp_packets_received", "", "", 5, 5},
				{"probe_icmp_loss_ratio", "", "", 0, 0},
				{"probe_icmp_reply_hop_limit", "", "", 64, 64},
				{"probe_icmp_path_mtu_bytes", "", "", 16384, 65536},
			} {
				var labels []string
				if want.label != "" {
					labels = []string{want.label, want.value}
				}
				if got, ok := value(r, want.name, labels...); !ok || got < want.least || got > want.most {
					t.Errorf("%s%v is %v, %v; want %v to %v", want.name, labels, got, ok, want.least, want.most)
				}
			}
		})
	}
}

func hasIPv6() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

func TestEchoTooLarge(t *testing.T) {
	p := started(t)
	m := module()
	m.ICMP.DontFragment, m.ICMP.PayloadSize = true, 65537
	r := run(t, p.Echo, "127.0.0.1", m, guard{})
	if r.Up || r.Reason.Code != protocol.TooLarge {
		t.Errorf("up %v, %v; want too_large", r.Up, r.Reason)
	}
}

// TestManyEchoes has many probes share a socket: none gets the answer of another.
func TestManyEchoes(t *testing.T) {
	p := started(t)
	results := make(chan *protocol.Result)
	const probes = 100
	for i := range probes {
		go func() {
			m := module()
			m.Echo.Count, m.Echo.Interval = 3, 1e6
			m.ICMP.PayloadSize = i // also without room for the random number
			results <- run(t, p.Echo, fmt.Sprintf("127.0.0.%d", i+1), m, guard{})
		}()
	}
	for range probes {
		if r := <-results; !r.Up {
			t.Errorf("%v: %v", r.Address, r.Reason)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, s := range p.sockets {
		s.mu.Lock()
		if len(s.waiting) > 0 {
			t.Errorf("%d packets of %+v are still waited for", len(s.waiting), k)
		}
		s.mu.Unlock()
	}
}

func TestTraceLoopback(t *testing.T) {
	p := started(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, over := range []string{"icmp", "udp", "tcp", "tcp refused"} {
		t.Run(over, func(t *testing.T) {
			m := module()
			target := ln.Addr().String()
			if over == "tcp refused" {
				target = "127.0.0.1:1"
			}
			m.Trace.Over, _, _ = strings.Cut(over, " ")
			r := run(t, p.Trace, target, m, guard{})
			if !r.Up || len(r.Hops) != 1 {
				t.Fatalf("up %v, %v, hops %+v", r.Up, r.Reason, r.Hops)
			}
			h := r.Hops[0]
			if h.Sent != 3 || h.Lost != 0 || len(h.Addrs) != 1 || h.Addrs[0].String() != "127.0.0.1" {
				t.Errorf("the hop is %+v", h)
			}
			if reached, _ := value(r, "probe_trace_reached"); reached != 1 {
				t.Errorf("the samples are %v", r.Samples)
			}
		})
	}
}

func TestDenied(t *testing.T) {
	p := started(t)
	g := guard{denied: netip.MustParseAddr("127.0.0.1")}
	for name, f := range p.Table() {
		r := run(t, f, "127.0.0.1", module(), g)
		if r.Up || r.Reason.Code != protocol.Denied {
			t.Errorf("%s: up %v, %v; want denied", name, r.Up, r.Reason)
		}
	}
}

func TestStopped(t *testing.T) {
	p := New()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if r := run(t, p.Echo, "127.0.0.1", module(), guard{}); r.Up || r.Reason.Code != protocol.Internal {
		t.Errorf("up %v, %v", r.Up, r.Reason)
	}
}

// TestUnsupported is what a machine without the privilege says.
func TestUnsupported(t *testing.T) {
	var r protocol.Result
	unsupported(&r, errors.New("operation not permitted"))
	if r.Reason.Code != protocol.Unsupported || !strings.Contains(r.Reason.Words, "CAP_NET_RAW") {
		t.Errorf("the reason is %v", r.Reason)
	}
}

func TestBadTarget(t *testing.T) {
	p := New()
	m := module()
	m.Trace.Over = "sctp"
	if r := run(t, p.Trace, "127.0.0.1", m, guard{}); r.Reason.Code != protocol.BadTarget {
		t.Errorf("got %v", r.Reason)
	}
}
