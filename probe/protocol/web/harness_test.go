package web

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// patience is for what a busy machine may take; tests of timeouts set their own.
const patience = 30 * time.Second

// open is a dialer without a guard.
type open struct{ denied netip.Prefix }

func (o open) DialContext(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	if err := o.Permit(addr.Addr(), addr.Port()); err != nil {
		return nil, err
	}
	d := net.Dialer{KeepAlive: -1}
	return d.DialContext(ctx, network, address)
}

func (o open) Permit(addr netip.Addr, _ uint16) error {
	if o.denied.IsValid() && o.denied.Contains(addr) {
		return protocol.ErrDenied
	}
	return nil
}

// names resolves what tests ask for; all else does not exist.
type names map[string][]string

func (n names) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, s := range n[host] {
		a := netip.MustParseAddr(s)
		if network == "ip" || (network == "ip4") == a.Is4() {
			addrs = append(addrs, a)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, &net.DNSError{Err: err.Error(), Name: host, IsTimeout: true}
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

var local = names{"localhost": {"127.0.0.1"}, "web.test": {"127.0.0.1"}, "other.test": {"127.0.0.1"}, "four.test": {"127.0.0.1"}}

// module reads one from YAML, whose prober is http unless it says so.
func module(t testing.TB, text string) *definition.Module {
	t.Helper()
	m := &definition.Module{}
	if err := decodeModule(text, m); err != nil {
		t.Fatalf("module:\n%s\n%v", text, err)
	}
	return m
}

func decodeModule(text string, m *definition.Module) error {
	var both struct {
		Expect      definition.Expect      `yaml:"expect"`
		Flow        []definition.Step      `yaml:"flow"`
		Certificate definition.Certificate `yaml:"certificate"`
		WebSocket   definition.WebSocket   `yaml:"websocket"`
		Rest        map[string]any         `yaml:",inline"`
	}
	if text == "" {
		text = "prober: http"
	}
	if err := yaml.Unmarshal([]byte(text), &both); err != nil {
		return err
	}
	rest, err := yaml.Marshal(both.Rest)
	if err != nil {
		return err
	}
	d := yaml.NewDecoder(strings.NewReader(string(rest)))
	d.KnownFields(true)
	if err := d.Decode(&m.Module); err != nil {
		return err
	}
	m.Expect, m.Flow, m.Certificate, m.WebSocket = both.Expect, both.Flow, both.Certificate, both.WebSocket
	return nil
}

func request(t testing.TB, target, text string) *protocol.Request {
	t.Helper()
	return &protocol.Request{Target: target, Module: module(t, text), Dialer: open{}, Resolver: local}
}

// run probes once with a deadline.
func run(t testing.TB, f protocol.Func, req *protocol.Request) *protocol.Result {
	t.Helper()
	return runIn(t, patience, f, req)
}

func runIn(t testing.TB, limit time.Duration, f protocol.Func, req *protocol.Request) *protocol.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r := f(ctx, req)
	if r.Up != (r.Reason.Code == "") {
		t.Errorf("up is %v with reason %v", r.Up, r.Reason)
	}
	return r
}

func wantReason(t testing.TB, r *protocol.Result, code protocol.Code, words string) {
	t.Helper()
	if r.Reason.Code != code || !strings.Contains(r.Reason.Words, words) {
		t.Errorf("reason is %v, want %s with %q", r.Reason, code, words)
	}
}

func wantUp(t testing.TB, r *protocol.Result) {
	t.Helper()
	if !r.Up {
		t.Errorf("not up: %v", r.Reason)
	}
}

// value of a sample, by its name and label values.
func value(r *protocol.Result, name string, labels ...string) (float64, bool) {
	for _, s := range r.Samples {
		if s.Name == name && strings.Join(s.Labels, ",") == strings.Join(labels, ",") {
			return s.Value, true
		}
	}
	return 0, false
}

func wantValue(t testing.TB, r *protocol.Result, want float64, name string, labels ...string) {
	t.Helper()
	if got, ok := value(r, name, labels...); !ok || got != want {
		t.Errorf("%s%v is %v (%v), want %v", name, labels, got, ok, want)
	}
}

// server starts one and returns its URL.
func server(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
