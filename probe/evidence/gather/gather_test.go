package gather

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	blackbox "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/common/config"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/protocol/web"
)

// open lets everything out, and leads port 53 to a name server of the test.
type open struct{ names netip.AddrPort }

func (o open) DialContext(ctx context.Context, network, address string, _ netip.Addr) (net.Conn, error) {
	if host, port, _ := net.SplitHostPort(address); port == "53" {
		address = net.JoinHostPort(host, strconv.Itoa(int(o.names.Port())))
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (open) Permit(netip.Addr, uint16) error { return nil }

func (open) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	switch host {
	case "secret.example":
		return nil, fmt.Errorf("%w: listed", protocol.ErrDenied)
	case "two.example":
		return []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("127.0.0.1")}, nil
	case "gone.example":
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// serveNames answers as a resolver and as the server of the zone example.
func serveNames(t *testing.T, answer func(q dns.Question, m *dns.Msg)) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Authoritative = !q.RecursionDesired
		answer(q.Question[0], m)
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown(); <-done })
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

func record(t *testing.T, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func goodNames(t *testing.T) netip.AddrPort {
	ns, a := record(t, "example. 60 IN NS ns1.example."), record(t, "www.shop.example. 60 IN A 127.0.0.1")
	return serveNames(t, func(q dns.Question, m *dns.Msg) {
		switch {
		case q.Name == "example." && q.Qtype == dns.TypeNS:
			m.Answer = []dns.RR{ns}
		case q.Name == "www.shop.example." && q.Qtype == dns.TypeA:
			m.Answer = []dns.RR{a}
		}
	})
}

func httpModule() *definition.Module {
	m := &definition.Module{Module: blackbox.DefaultModule}
	m.Prober, m.HTTP.IPProtocol, m.HTTP.IPProtocolFallback = "http", "ip4", true
	m.HTTP.HTTPClientConfig = config.DefaultHTTPClientConfig
	return m
}

func way(_ context.Context, r *protocol.Request) *protocol.Result {
	return &protocol.Result{Up: true, Hops: []protocol.Hop{{TTL: 1, Addrs: []netip.Addr{netip.MustParseAddr(r.Target)}, Sent: 3, RTT: []time.Duration{time.Millisecond}}}}
}

func order(target string, names netip.AddrPort) Order {
	return Order{
		Target: target, Module: httpModule(), Look: web.HTTP, Trace: way, Dialer: open{names}, Resolver: open{names},
		NameServers: []netip.AddrPort{names},
	}
}

func all(t *testing.T, o Order) (files map[string]string, missing map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	found := All(ctx, o)
	files = map[string]string{}
	for _, f := range found.Files {
		files[f.Name] = string(f.Content)
	}
	return files, found.Missing
}

func contains(t *testing.T, name, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s lacks %q:\n%.3000s", name, w, text)
		}
	}
}

func named(t *testing.T, server *httptest.Server, host string) (target string, at netip.AddrPort) {
	t.Helper()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	at = netip.MustParseAddrPort(u.Host)
	u.Host = net.JoinHostPort(host, u.Port())
	return u.String() + "/x", at
}

// TestBundle looks at a server that answers 503 over TLS that nobody trusts.
func TestBundle(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "session=topsecret; HttpOnly")
		w.Header().Set("X-Edge", "pop-1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("sorry\n" + strings.Repeat("x", 100_000)))
	}))
	defer server.Close()
	target, at := named(t, server, "www.shop.example")
	o := order(target, goodNames(t))
	o.Address, o.Capture, o.Comment = at, true, "a test"
	o.Module.HTTP.HTTPClientConfig.TLSConfig.InsecureSkipVerify = true
	o.Failed = (&protocol.Result{Start: time.Now()}).Fail(protocol.ConnectTimeout, protocol.Connect, "no answer")
	files, missing := all(t, o)
	if len(missing) > 0 {
		t.Errorf("missing (packets need root): %v", missing)
	}
	contains(t, lookFile, files[lookFile], `"code": "connect_timeout"`, `"code": "status"`, "503", `probe_http_status_code 503`, `{phase=\"tls\"}`)
	contains(t, traceFile, files[traceFile], `"reached": true`, `"over": "tcp"`, `"127.0.0.1"`, fmt.Sprintf(`"port": %d`, at.Port()))
	contains(t, responseFile, files[responseFile], "503 Service Unavailable\n", "X-Edge: pop-1\n", "Set-Cookie: session=(not kept)\n", "\n\nsorry\n")
	if n := len(files[responseFile]); n > keptBody+1000 || strings.Contains(files[responseFile], "topsecret") {
		t.Errorf("the response has %d bytes, or a secret", n)
	}
	contains(t, chainFile, files[chainFile], `"problem"`, `"example.com"`, `"sha256"`, `"version": "TLS 1.3"`)
	if block, _ := pem.Decode([]byte(files[pemFile])); block == nil || string(block.Bytes) != string(server.Certificate().Raw) {
		t.Errorf("the chain is not the server's:\n%s", files[pemFile])
	}
	var names namesText
	if err := json.Unmarshal([]byte(files[namesFile]), &names); err != nil {
		t.Fatal(err)
	}
	if names.Zone != "example." || len(names.Servers) != 2 || names.Resolver.Addresses[0] != "127.0.0.1" {
		t.Fatalf("names: %s", files[namesFile])
	}
	for i, role := range []string{roleSystem, roleAuthoritative} {
		s := names.Servers[i]
		if s.Role != role || len(s.Answers) != 2 || len(s.Answers[0].Records) != 1 || s.Answers[0].Authoritative != (i == 1) || s.Answers[1].Code != "NOERROR" {
			t.Errorf("server %d: %+v", i, s)
		}
	}
	if !strings.HasPrefix(files[captureFile], "\x0a\x0d\x0d\x0a") || len(files[captureFile]) < 1000 {
		t.Errorf("%d bytes of packets", len(files[captureFile]))
	}
}

// TestAgain looks at the address that failed, whatever the order of a name's addresses.
func TestAgain(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "this one") }))
	defer server.Close()
	target, at := named(t, server, "two.example")
	o := order(target, goodNames(t))
	o.Address = at
	files, missing := all(t, o)
	if !strings.HasSuffix(files[responseFile], "\n\nthis one") {
		t.Errorf("the response: %q, %v", files[responseFile], missing)
	}
}

// TestNothing looks at what is not there, in several ways.
func TestNothing(t *testing.T) {
	names := goodNames(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(closed.Addr().String())
	closed.Close()
	refused := order("https://"+at.String()+"/", names)
	refused.Address = at
	gone := order("https://gone.example/", names)
	gone.Capture = true
	secret := order("https://secret.example/", names)
	unix := order("/run/x.sock", names)
	unix.Module.Prober = "unix"
	for name, tc := range map[string]struct {
		o       Order
		files   string // those that are there
		missing map[string]string
	}{
		"refused":    {refused, "probe.json trace.json", map[string]string{namesFile: "is an address", pemFile: "connection refused", responseFile: "connection refused"}},
		"no address": {gone, "dns.json probe.json", map[string]string{traceFile: "does not exist", pemFile: "does not exist", captureFile: "did not come so far"}},
		"denied":     {secret, "probe.json", map[string]string{namesFile: "may not be probed", traceFile: "may not be probed"}},
		"unix":       {unix, "probe.json", map[string]string{namesFile: "no host name", traceFile: "no address"}},
	} {
		files, missing := all(t, tc.o)
		for _, f := range []string{lookFile, traceFile, namesFile, chainFile, pemFile, responseFile} {
			if _, ok := files[f]; ok != strings.Contains(tc.files, f) {
				t.Errorf("%s: %s is there: %v", name, f, ok)
			}
			if _, ok := missing[f]; ok == strings.Contains(tc.files, f) {
				t.Errorf("%s: nothing is said of %s, or too much: %v", name, f, missing)
			}
		}
		for f, words := range tc.missing {
			contains(t, name+": "+f, missing[f], words)
		}
	}
}

// TestHostileNames asks servers that answer too much, and what was not asked.
func TestHostileNames(t *testing.T) {
	for name, answer := range map[string]func(q dns.Question, m *dns.Msg){
		"a thousand servers": func(q dns.Question, m *dns.Msg) {
			for i := range 1000 {
				m.Answer = append(m.Answer, &dns.NS{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: fmt.Sprintf("ns%d.example.", i)})
			}
		},
		"another question": func(_ dns.Question, m *dns.Msg) { m.Question[0].Name = "other.example." },
		"no zone":          func(dns.Question, *dns.Msg) {},
	} {
		t.Run(name, func(t *testing.T) {
			o := order("http://"+strings.Repeat("a.", 60)+"example/", serveNames(t, answer))
			o.Look = func(context.Context, *protocol.Request) *protocol.Result { return &protocol.Result{Up: true} }
			files, missing := all(t, o)
			var names namesText
			if err := json.Unmarshal([]byte(files[namesFile]), &names); err != nil {
				t.Fatalf("%v; %v", err, missing)
			}
			if len(names.Servers) > 1+mostServers || len(files[namesFile]) > 512<<10 {
				t.Errorf("%d servers, %d bytes", len(names.Servers), len(files[namesFile]))
			}
		})
	}
}

// TestBound has a prober that brings too much.
func TestBound(t *testing.T) {
	o := order("http://127.0.0.1:1/", netip.AddrPort{})
	o.Look = func(context.Context, *protocol.Request) *protocol.Result {
		r := &protocol.Result{Up: true, Response: &protocol.Response{Status: "200", Screenshot: make([]byte, 2<<20), Body: make([]byte, 1<<20)}}
		for i := range 10_000 {
			r.Response.Header = append(r.Response.Header, [2]string{fmt.Sprint("X-", i), strings.Repeat("h", 10_000)})
			r.Add("sample", float64(i), "label", strings.Repeat("l", 1000))
		}
		return r
	}
	files, missing := all(t, o)
	sum := 0
	for _, f := range files {
		sum += len(f)
	}
	if sum > mostBytes || files[responseFile] == "" || len(files[responseFile]) > 80<<10 {
		t.Errorf("%d bytes, %d of the response", sum, len(files[responseFile]))
	}
	contains(t, "the reason", missing[screenshotFile], "at most")
}

func TestSystemServers(t *testing.T) {
	if _, err := SystemServers("/nonexistent/resolv.conf"); err == nil {
		t.Error("servers of a file that is not there")
	}
}
