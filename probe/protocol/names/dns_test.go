package names

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	blackbox "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/blackbox_exporter/prober"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

const patience = 30 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type direct struct{}

func (direct) DialContext(ctx context.Context, network, address string, source netip.Addr) (net.Conn, error) {
	var d net.Dialer
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		if network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		}
	}
	return d.DialContext(ctx, network, address)
}
func (direct) Permit(netip.Addr, uint16) error { return nil }
func (direct) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// zone answers the names that tests ask for.
func zone(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	add := func(text string) {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	switch name := q.Question[0].Name; name {
	case "a.test.":
		add("a.test. 300 IN A 192.0.2.1")
		add("a.test. 300 IN A 192.0.2.2")
		ns, _ := dns.NewRR("test. 60 IN NS ns.test.")
		m.Ns = append(m.Ns, ns)
		extra, _ := dns.NewRR("ns.test. 60 IN A 192.0.2.53")
		m.Extra = append(m.Extra, extra)
	case "soa.test.":
		add("soa.test. 300 IN SOA ns.test. admin.test. 2026112301 1 2 3 4")
	case "signed.test.":
		add("signed.test. 300 IN A 192.0.2.1")
		add("signed.test. 300 IN RRSIG A 13 2 300 20361122000000 20261122000000 1 test. AAAA")
		m.AuthenticatedData = true
	case "unchecked.test.":
		add("unchecked.test. 300 IN A 192.0.2.1")
		add("unchecked.test. 300 IN RRSIG A 13 2 300 20361122000000 20261122000000 1 test. AAAA")
	case "big.test.":
		if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
			m.Truncated = true
		} else {
			for i := range 100 {
				add(fmt.Sprintf("big.test. 60 IN A 192.0.2.%d", i))
			}
		}
	case "empty.test.":
	case "broken.test.":
		m.Rcode = dns.RcodeServerFailure
	default:
		m.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(m)
}

// serve starts a name server over UDP and TCP at one address.
func serve(t testing.TB, h dns.HandlerFunc) string {
	t.Helper()
	var udp net.PacketConn
	var tcp net.Listener
	for try := 0; tcp == nil; try++ {
		var err error
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		// The same port of TCP may be somebody else's.
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err != nil {
			udp.Close()
			if try > 20 {
				t.Fatal(err)
			}
		}
	}
	run(t, &dns.Server{PacketConn: udp, Handler: h})
	run(t, &dns.Server{Listener: tcp, Handler: h})
	return udp.LocalAddr().String()
}

func run(t testing.TB, s *dns.Server) {
	t.Helper()
	started, ended := make(chan struct{}), make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go func() { defer close(ended); _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown(); <-ended })
}

// want is a module of prober dns.
func want(change func(*definition.Module)) *definition.Module {
	m := &definition.Module{Module: blackbox.DefaultModule}
	m.Prober, m.DNS.QueryName, m.DNS.QueryType, m.DNS.IPProtocol = "dns", "a.test", "A", "ip4"
	if change != nil {
		change(m)
	}
	return m
}

func probeOnce(t testing.TB, limit time.Duration, target string, m *definition.Module) *protocol.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return DNS(ctx, &protocol.Request{Target: target, Module: m, Dialer: direct{}, Resolver: direct{}, Keep: protocol.Keep{Chain: true}})
}

func wantReason(t testing.TB, r *protocol.Result, code protocol.Code, words string) {
	t.Helper()
	if r.Reason.Code != code || !strings.Contains(r.Reason.Words, words) || r.Up != (code == "") {
		t.Errorf("up %v, reason %v, want %q with %q", r.Up, r.Reason, code, words)
	}
}

func samples(r *protocol.Result) map[string]float64 {
	all := map[string]float64{}
	for _, s := range r.Samples {
		all[s.Name+fmt.Sprint(s.Labels)] = s.Value
	}
	return all
}

func TestSameAsBlackboxDNS(t *testing.T) {
	target := serve(t, zone)
	validator := func(never, all, every, none string) blackbox.DNSRRValidator {
		list := func(s string) []string {
			if s == "" {
				return nil
			}
			return strings.Split(s, ";")
		}
		return blackbox.DNSRRValidator{FailIfMatchesRegexp: list(never), FailIfAllMatchRegexp: list(all), FailIfNotMatchesRegexp: list(every), FailIfNoneMatchesRegexp: list(none)}
	}
	for name, change := range map[string]func(*blackbox.DNSProbe){
		"udp":         func(*blackbox.DNSProbe) {},
		"tcp":         func(d *blackbox.DNSProbe) { d.TransportProtocol = "tcp" },
		"source":      func(d *blackbox.DNSProbe) { d.SourceIPAddress = "127.0.0.2" },
		"any":         func(d *blackbox.DNSProbe) { d.QueryType = "" },
		"class":       func(d *blackbox.DNSProbe) { d.QueryClass = "CH" },
		"soa":         func(d *blackbox.DNSProbe) { d.QueryName, d.QueryType = "soa.test", "SOA" },
		"no soa":      func(d *blackbox.DNSProbe) { d.QueryType = "SOA" },
		"nxdomain":    func(d *blackbox.DNSProbe) { d.QueryName = "none.test" },
		"nxdomain ok": func(d *blackbox.DNSProbe) { d.QueryName, d.ValidRcodes = "none.test", []string{"NXDOMAIN", "NOERROR"} },
		"servfail":    func(d *blackbox.DNSProbe) { d.QueryName = "broken.test" },
		"bad rcode":   func(d *blackbox.DNSProbe) { d.ValidRcodes = []string{"NONSENSE"} },
		"never":       func(d *blackbox.DNSProbe) { d.ValidateAnswer = validator("192.0.2.2", "", "", "") },
		"never ok":    func(d *blackbox.DNSProbe) { d.ValidateAnswer = validator("192.0.2.9", "", "", "") },
		"all":         func(d *blackbox.DNSProbe) { d.ValidateAnswer = validator("", "192.0.2.2", "", "") },
		"all ok":      func(d *blackbox.DNSProbe) { d.ValidateAnswer = validator("", "192.0.2", "", "") },
		"every":       func(d *blackbox.DNSProbe) { d.ValidateAnswer = validator("", "", "192.0.2.1", "") },
		"every ok":    func(d *blackbox.DNSProbe) { d.ValidateAnswer = validator("", "", "192.0.2", "") },
		"none":        func(d *blackbox.DNSProbe) { d.ValidateAnswer = validator("", "", "", "192.0.2.9;192.0.2.8") },
		"none ok":     func(d *blackbox.DNSProbe) { d.ValidateAnswer = validator("", "", "", "192.0.2.9;192.0.2.1") },
		"empty":       func(d *blackbox.DNSProbe) { d.QueryName = "empty.test"; d.ValidateAnswer = validator("", "", "a", "") },
		"authority":   func(d *blackbox.DNSProbe) { d.ValidateAuthority = validator("ns.test", "", "", "") },
		"additional":  func(d *blackbox.DNSProbe) { d.ValidateAdditional = validator("", "", "192.0.2.53", "") },
		"expression":  func(d *blackbox.DNSProbe) { d.ValidateAnswer = validator("(", "", "", "") },
	} {
		t.Run(name, func(t *testing.T) {
			m := want(func(m *definition.Module) { change(&m.DNS) })
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			reg := prometheus.NewRegistry()
			up := prober.ProbeDNS(ctx, target, m.Module, reg, slog.New(slog.DiscardHandler))
			r := probeOnce(t, patience, target, m)
			if r.Up != up {
				t.Errorf("up is %v (%v), blackbox_exporter says %v", r.Up, r.Reason, up)
			}
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			got := samples(r)
			for _, f := range families {
				for _, s := range f.Metric {
					labels := []string{}
					for _, l := range s.Label {
						labels = append(labels, l.GetName(), l.GetValue())
					}
					key := f.GetName() + fmt.Sprint(labels)
					v, ok := got[key]
					if !ok || v != s.Gauge.GetValue() && !strings.Contains(key, "duration") && !strings.Contains(key, "lookup") {
						t.Errorf("%s is %v (%v), blackbox_exporter has %v", key, v, ok, s.Gauge.GetValue())
					}
				}
			}
		})
	}
}

func TestDNS(t *testing.T) {
	target := serve(t, zone)
	other := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		rr, _ := dns.NewRR("a.test. 60 IN A 192.0.2.7")
		m.Answer = []dns.RR{rr}
		_ = w.WriteMsg(m)
	})
	resolver := func(x definition.Resolver, name string) *definition.Module {
		return want(func(m *definition.Module) {
			m.Resolver = x
			if name != "" {
				m.DNS.QueryName = name
			}
		})
	}
	check := func(m *definition.Module, code protocol.Code, words string) *protocol.Result {
		t.Helper()
		r := probeOnce(t, patience, target, m)
		wantReason(t, r, code, words)
		return r
	}
	check(resolver(definition.Resolver{Answers: []string{"192.0.2.2", "192.0.2.1"}}, ""), "", "")
	check(resolver(definition.Resolver{Answers: []string{"192.0.2.3"}}, ""), protocol.Answer, `no record is "192.0.2.3": the answer is 192.0.2.1, 192.0.2.2`)
	check(resolver(definition.Resolver{MinTTL: 301}, ""), protocol.Answer, "300 s, want at least 301 s")
	check(resolver(definition.Resolver{MaxTTL: 299}, ""), protocol.Answer, "300 s, want at most 299 s")
	check(resolver(definition.Resolver{MinTTL: 300, MaxTTL: 300}, ""), "", "")
	check(resolver(definition.Resolver{DNSSEC: true}, "signed.test"), "", "")
	check(resolver(definition.Resolver{DNSSEC: true}, "unchecked.test"), protocol.Answer, "no AD flag")
	check(resolver(definition.Resolver{DNSSEC: true}, ""), protocol.Answer, "no RRSIG")
	check(resolver(definition.Resolver{Same: []string{target}}, ""), "", "")
	r := check(resolver(definition.Resolver{Same: []string{target, other}}, ""), protocol.Answer,
		"servers differ: from "+target+" the answer is 192.0.2.1, 192.0.2.2; from "+other+" the answer is 192.0.2.7")
	if got := samples(r); got["probe_dns_server_agrees[server "+target+"]"] != 1 || got["probe_dns_server_agrees[server "+other+"]"] != 0 {
		t.Errorf("samples are %v", got)
	}
	r = check(resolver(definition.Resolver{}, "big.test"), "", "")
	if got := samples(r); got["probe_dns_answer_rrs[]"] != 100 || got["probe_dns_retried_over_tcp[]"] != 1 {
		t.Errorf("samples are %v", got)
	}
	check(resolver(definition.Resolver{}, "none.test"), protocol.Status, "rcode NXDOMAIN, want NOERROR")
	check(resolver(definition.Resolver{Over: "carrier pigeon"}, ""), protocol.Internal, "carrier pigeon")
	wantReason(t, probeOnce(t, patience, "https://ns.test/", want(nil)), protocol.BadTarget, "read the target")
	check(want(func(m *definition.Module) { m.DNS.DNSOverTLS = true }), protocol.Internal, "DNS over TLS needs transport_protocol tcp")
}

// identity is a certificate of 127.0.0.1 that vouches for itself.
func identity(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestEncryptedDNS(t *testing.T) {
	cert, ca := identity(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, &dns.Server{Listener: ln, Handler: dns.HandlerFunc(zone)})
	doh := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q := new(dns.Msg)
		if r.URL.Path != "/dns-query" || r.Header.Get("Content-Type") != "application/dns-message" || q.Unpack(body) != nil || q.Id != 0 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		zone(&recorder{w: w}, q)
	}
	web := httptest.NewUnstartedServer(http.HandlerFunc(doh))
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	web.Config.ErrorLog = quiet
	web.EnableHTTP2 = true
	web.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	web.StartTLS()
	t.Cleanup(web.Close)
	old := httptest.NewUnstartedServer(http.HandlerFunc(doh))
	old.Config.ErrorLog = quiet
	old.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	old.StartTLS()
	t.Cleanup(old.Close)
	for name, c := range map[string]struct{ over, target string }{
		"tls":            {"tls", ln.Addr().String()},
		"https, HTTP/2":  {"https", web.URL},
		"https, HTTP/1":  {"https", old.URL},
		"https, by name": {"https", strings.TrimPrefix(web.URL, "https://")},
	} {
		m := want(func(m *definition.Module) {
			m.Resolver = definition.Resolver{Over: c.over, Answers: []string{"192.0.2.1"}, Same: []string{c.target}}
			m.DNS.TLSConfig.CA = ca
		})
		r := probeOnce(t, patience, c.target, m)
		if !r.Up || r.Chain == nil || len(r.Chain.Verified) == 0 || r.Phases[protocol.TLS] == 0 {
			t.Errorf("%s: %v, chain %v", name, r.Reason, r.Chain)
		}
		m.DNS.TLSConfig.CA = ""
		wantReason(t, probeOnce(t, patience, c.target, m), protocol.TLSUntrusted, "self-signed")
	}
	m := want(func(m *definition.Module) { m.Resolver.Over, m.DNS.TLSConfig.CA = "https", ca })
	wantReason(t, probeOnce(t, patience, web.URL+"/elsewhere", m), protocol.Status, "status 400 Bad Request from /elsewhere")
}

type recorder struct {
	dns.ResponseWriter
	w http.ResponseWriter
}

func (r *recorder) RemoteAddr() net.Addr { return &net.TCPAddr{} }
func (r *recorder) WriteMsg(m *dns.Msg) error {
	b, err := m.Pack()
	if err == nil {
		r.w.Header().Set("Content-Type", "application/dns-message")
		_, err = r.w.Write(b)
	}
	return err
}

// TestHostileDNS has servers that answer something else.
func TestHostileDNS(t *testing.T) {
	short := 300 * time.Millisecond
	for name, c := range map[string]struct {
		answer func(q *dns.Msg) []byte
		over   string
		code   protocol.Code
		words  string
	}{
		"silent":     {func(*dns.Msg) []byte { return nil }, "udp", protocol.RequestTimeout, "no answer came"},
		"wrong id":   {func(q *dns.Msg) []byte { return pack(q, func(m *dns.Msg) { m.Id++ }) }, "udp", protocol.Malformed, "an answer with id"},
		"wrong name": {func(q *dns.Msg) []byte { return pack(q, func(m *dns.Msg) { m.Question[0].Name = "b.test." }) }, "udp", protocol.Malformed, "an answer to another question"},
		"question":   {func(q *dns.Msg) []byte { return pack(q, func(m *dns.Msg) { m.Response = false }) }, "udp", protocol.Malformed, "a question in place of an answer"},
		"garbage":    {func(q *dns.Msg) []byte { return []byte("hello, world, this is no DNS") }, "udp", protocol.Malformed, "malformed"},
		"pointers":   {func(q *dns.Msg) []byte { return append(pack(q, nil)[:12], 0xc0, 0x0c, 0, 1, 0, 1) }, "udp", protocol.Malformed, "malformed"},
		"tcp id":     {func(q *dns.Msg) []byte { return pack(q, func(m *dns.Msg) { m.Id++ }) }, "tcp", protocol.Malformed, "an answer with id"},
		"tcp short":  {func(q *dns.Msg) []byte { return nil }, "tcp", protocol.ConnectionReset, "closed the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			target := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
				if b := c.answer(q); b != nil {
					_, _ = w.Write(b)
				}
				if c.over == "tcp" {
					w.Close()
				}
			})
			m := want(func(m *definition.Module) { m.DNS.TransportProtocol = c.over })
			wantReason(t, probeOnce(t, short, target, m), c.code, c.words)
		})
	}
	// A wrong answer does not keep the right one out.
	target := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		_, _ = w.Write(pack(q, func(m *dns.Msg) { m.Id++ }))
		zone(w, q)
	})
	wantReason(t, probeOnce(t, patience, target, want(nil)), "", "")
}

func pack(q *dns.Msg, change func(*dns.Msg)) []byte {
	m := new(dns.Msg)
	m.SetReply(q)
	if change != nil {
		change(m)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

func FuzzRead(f *testing.F) {
	q := new(dns.Msg)
	q.SetQuestion("a.test.", dns.TypeA)
	q.Id = 7
	f.Add(pack(q, nil))
	f.Add(pack(q, func(m *dns.Msg) { m.Truncated = true }))
	for _, name := range slices.Sorted(maps.Keys(map[string]int{"a.test.": 0, "soa.test.": 0, "signed.test.": 0})) {
		q.Question[0].Name = name
		zone(&keeper{keep: func(b []byte) { f.Add(b) }}, q)
	}
	q.Question[0].Name = "a.test."
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &probe{ctx: t.Context(), req: &protocol.Request{Keep: protocol.Keep{Body: 100}}, ask: q, r: &protocol.Result{}, want: &blackbox.DNSProbe{}, more: &definition.Resolver{DNSSEC: true, Answers: []string{"192.0.2.1"}, MinTTL: 5}}
		m, why := p.read(b)
		if (m == nil) != (why != "") {
			t.Fatalf("message %v with %q", m, why)
		}
		p.judge(m, server{})
		p.samples(m)
		if len(p.r.Reason.Words) > 2000 {
			t.Errorf("words of %d bytes", len(p.r.Reason.Words))
		}
	})
}

type keeper struct {
	dns.ResponseWriter
	keep func([]byte)
}

func (k *keeper) RemoteAddr() net.Addr { return &net.TCPAddr{} }
func (k *keeper) WriteMsg(m *dns.Msg) error {
	b, err := m.Pack()
	k.keep(b)
	return err
}
