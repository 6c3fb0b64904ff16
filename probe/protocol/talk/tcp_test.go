package talk

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/common/config"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// ircScript is the example of blackbox_exporter's documentation.
func ircScript() []blackbox.QueryResponse {
	return []blackbox.QueryResponse{
		{Send: "NICK prober"},
		{Send: "USER prober prober prober :prober"},
		{Expect: blackbox.MustNewRegexp("PING :([^ ]+)"), Send: "PONG ${1}", Labels: []blackbox.Label{{Name: "nonce", Value: "${1}"}}},
		{Expect: blackbox.MustNewRegexp("^:[^ ]+ 001")},
	}
}

func TestQueryResponse(t *testing.T) {
	addr := serve(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for range 2 {
			if _, err := in.ReadString('\n'); err != nil {
				return
			}
		}
		_, _ = io.WriteString(conn, ":ircd NOTICE\r\nPING :4711\r\n")
		if line, _ := in.ReadString('\n'); line != "PONG 4711\n" {
			_, _ = io.WriteString(conn, "what is "+line)
			return
		}
		_, _ = io.WriteString(conn, ":ircd 001 welcome\r\n")
	})
	m := module()
	m.TCP.QueryResponse = ircScript()
	r := probe(t, TCP, addr, m)
	wantUp(t, r)
	if got := sample(t, r, "probe_expect_info", "nonce", "4711"); got != 1 {
		t.Errorf("probe_expect_info is %v", got)
	}
	if got := sample(t, r, "probe_failed_due_to_regex"); got != 0 {
		t.Errorf("probe_failed_due_to_regex is %v", got)
	}
	if r.Response == nil || r.Response.Status != ":ircd NOTICE" {
		t.Errorf("the banner is %+v", r.Response)
	}
	if r.Address.String() != addr {
		t.Errorf("the address is %v, want %v", r.Address, addr)
	}
}

func TestQueryResponseFails(t *testing.T) {
	for _, tc := range []struct {
		name         string
		server       string
		query        blackbox.QueryResponse
		regex, bytes float64
		code         protocol.Code
		words        string
	}{
		{"no match", "220 sendmail\r\n", blackbox.QueryResponse{Expect: blackbox.MustNewRegexp("Postfix")}, 1, 0, protocol.Answer, `"220 sendmail"`},
		{"last line without end", "half", blackbox.QueryResponse{Expect: blackbox.MustNewRegexp("whole")}, 1, 0, protocol.Answer, `"half"`},
		{"other bytes", "\x00\x01\x03", blackbox.QueryResponse{ExpectBytes: "\x00\x01\x02"}, 0, 1, protocol.Answer, `want "\x00\x01\x02"`},
		{"fewer bytes", "\x00", blackbox.QueryResponse{ExpectBytes: "\x00\x01\x02"}, 0, 0, protocol.ConnectionReset, "closed the connection"},
		{"long line", strings.Repeat("x", 100<<10), blackbox.QueryResponse{Expect: blackbox.MustNewRegexp("y")}, 0, 0, protocol.Malformed, "a line that does not end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr := serve(t, func(conn net.Conn) { _, _ = io.WriteString(conn, tc.server) })
			m := module()
			m.TCP.QueryResponse = []blackbox.QueryResponse{tc.query}
			r := probe(t, TCP, addr, m)
			wantDown(t, r, tc.code, tc.words)
			if got := sample(t, r, "probe_failed_due_to_regex"); got != tc.regex {
				t.Errorf("probe_failed_due_to_regex is %v, want %v", got, tc.regex)
			}
			if got := sample(t, r, "probe_failed_due_to_bytes"); got != tc.bytes {
				t.Errorf("probe_failed_due_to_bytes is %v, want %v", got, tc.bytes)
			}
		})
	}
}

func TestTCPFails(t *testing.T) {
	wantDown(t, probe(t, TCP, "127.0.0.1:"+port(t), module()), protocol.ConnectionRefused, "connection refused")
	wantDown(t, probe(t, TCP, "127.0.0.1", module()), protocol.BadTarget, "host:port")
	wantDown(t, probe(t, TCP, "127.0.0.1:99999", module()), protocol.BadTarget, "99999")
	m := module()
	m.TCP.TLS = true
	wantDown(t, probe(t, TCP, serve(t, script("220 plain\r\n", nil)), m), protocol.TLSMissing)
	silent := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	m = module()
	m.TCP.QueryResponse = []blackbox.QueryResponse{{Expect: blackbox.MustNewRegexp("hello")}}
	r := probeWithin(t, TCP, silent, m, 300*time.Millisecond)
	wantDown(t, r, protocol.RequestTimeout, `"hello"`, "timeout")
	if sample(t, r, "probe_failed_due_to_regex") != 0 {
		t.Error("a timeout counts as a mismatch, which it does not in blackbox_exporter")
	}
}

func TestStartTLSInScript(t *testing.T) {
	p := newPKI(t)
	addr := serve(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "220 go ahead\r\n")
		secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{p.tls}})
		script("", map[string]string{"EHLO": "250 hello\r\n"})(secure)
	})
	m := module()
	m.TCP.QueryResponse = []blackbox.QueryResponse{
		{Send: "STARTTLS"}, {Expect: blackbox.MustNewRegexp("^220"), StartTLS: true},
		{Send: "EHLO prober"}, {Expect: blackbox.MustNewRegexp("^250")},
	}
	wantDown(t, probe(t, TCP, addr, m), protocol.TLSUntrusted)
	m.TCP.TLSConfig = p.trusted()
	r := probe(t, TCP, addr, m)
	wantUp(t, r)
	if got := sample(t, r, "probe_ssl_earliest_cert_expiry"); got <= float64(time.Now().Unix()) {
		t.Errorf("the certificate expires at %v", got)
	}
	if r.Phases[protocol.TLS] == 0 {
		t.Error("TLS took no time")
	}
}

// TestPlainAfterStartTLS is what whoever sits between may add to the answer in clear.
func TestPlainAfterStartTLS(t *testing.T) {
	addr := serve(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		_, _ = in.ReadString('\n')
		_, _ = io.WriteString(conn, "220 go ahead\r\n250 hello\r\n")
		_, _ = io.Copy(io.Discard, in)
	})
	m := module()
	m.TCP.QueryResponse = []blackbox.QueryResponse{{Send: "STARTTLS"}, {Expect: blackbox.MustNewRegexp("^220"), StartTLS: true}}
	wantDown(t, probe(t, TCP, addr, m), protocol.Malformed, "in clear")
}

func TestUnix(t *testing.T) {
	path := filepath.Join(openDir(t), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, script("+OK ready\n", nil))
	m := module()
	m.Unix.QueryResponse = []blackbox.QueryResponse{{Expect: blackbox.MustNewRegexp(`^\+OK (\w+)`), Labels: []blackbox.Label{{Name: "state", Value: "${1}"}}}}
	r := probe(t, Unix, path, m)
	wantUp(t, r)
	sample(t, r, "probe_expect_info", "state", "ready")
	wantDown(t, probe(t, Unix, path+"x", m), protocol.Unreachable, "no such file")
}

func TestUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if string(buf[:n]) != "silence" {
				_, _ = conn.WriteTo(append([]byte("echo "), buf[:n]...), from)
			}
		}
	}()
	addr := conn.LocalAddr().String()
	m := module()
	m.UDP.SendHex, m.UDP.Expect = "68656c6c6f", blackbox.MustNewRegexp("^echo hello$")
	r := probe(t, UDP, addr, m)
	wantUp(t, r)
	if got := sample(t, r, "probe_udp_response_bytes"); got != 10 {
		t.Errorf("the answer has %v bytes", got)
	}
	m.UDP.Expect, m.UDP.ExpectHex = blackbox.Regexp{}, "00ff"
	wantDown(t, probe(t, UDP, addr, m), protocol.Answer, `"echo hello"`, `"\x00\xff"`)
	m.UDP.SendHex, m.UDP.Send, m.UDP.ExpectHex = "", "silence", ""
	wantDown(t, probeWithin(t, UDP, addr, m, 200*time.Millisecond), protocol.RequestTimeout)
	wantDown(t, probe(t, UDP, "127.0.0.1:"+port(t), m), protocol.ConnectionRefused)
	m = module()
	wantDown(t, probe(t, UDP, addr, m), protocol.BadTarget, "udp.send")
	m.TCP.QueryResponse = []blackbox.QueryResponse{{Send: "one"}, {Expect: blackbox.MustNewRegexp("echo (o)"), Send: "tw${1}"}, {Expect: blackbox.MustNewRegexp("echo two")}}
	wantUp(t, probe(t, UDP, addr, m))
}

func TestTLSCertificate(t *testing.T) {
	p := newPKI(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{p.tls}})
	if err != nil {
		t.Fatal(err)
	}
	addr := serveOn(t, ln, func(conn net.Conn) { _ = conn.(*tls.Conn).Handshake() })
	m := module()
	m.Certificate.TLSConfig = p.trusted()
	r := probe(t, TLS, addr, m)
	wantUp(t, r)
	if r.Chain == nil || len(r.Chain.Sent) != 1 || len(r.Chain.Verified) != 1 {
		t.Errorf("the chain is %+v", r.Chain)
	}
	m.Certificate.ExpiresAfter = 240 * 3600e9
	wantDown(t, probe(t, TLS, addr, m), protocol.TLSExpired, "localhost", "want")
	m.Certificate.ExpiresAfter = 0
	m.Certificate.TLSConfig = config.TLSConfig{}
	wantDown(t, probe(t, TLS, addr, m), protocol.TLSUntrusted)
	m.Certificate.TLSConfig = p.trusted()
	m.Certificate.TLSConfig.ServerName = "www.example.com"
	wantDown(t, probe(t, TLS, addr, m), protocol.TLSName, "www.example.com")
	m.Certificate.StartTLS = "gopher"
	wantDown(t, probe(t, TLS, addr, m), protocol.BadTarget, "gopher")
}
