package web

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/blackbox_exporter/prober"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// talker greets, echoes, and leaves at "bye".
func talker(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{Subprotocols: []string{"chat"}}
	c, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.WriteMessage(websocket.TextMessage, []byte("welcome to "+c.Subprotocol()+" as "+r.Header.Get("X-Test")))
	for {
		kind, b, err := c.ReadMessage()
		if err != nil {
			return
		}
		if string(b) == "bye" {
			_ = c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4000, "as you wish"))
			return
		}
		_ = c.WriteMessage(kind, b)
	}
}

func TestWebSocket(t *testing.T) {
	s := server(t, talker)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(talker))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	ws := strings.Replace(s.URL, "http:", "ws:", 1)
	const short = 500 * time.Millisecond
	for name, c := range map[string]struct {
		target, module string
		limit          time.Duration
		code           protocol.Code
		words          string
	}{
		"connect":   {ws, "prober: websocket", patience, "", ""},
		"greeting":  {ws, "http: {headers: {X-Test: me}}\nwebsocket: {subprotocols: [none, chat], expect: '^welcome to chat as me$'}", patience, "", ""},
		"echo":      {ws, "websocket: {send: ping 7, expect: '^ping 7$'}", patience, "", ""},
		"TLS":       {strings.Replace(secure.URL, "https:", "wss:", 1), "http: {tls_config: {ca: " + authorityPEM(secure) + "}}\nwebsocket: {send: ping 7, expect: '^ping 7$'}", patience, "", ""},
		"untrusted": {secure.URL, "prober: websocket", patience, protocol.TLSUntrusted, "self-signed"},
		"no match":  {ws, "websocket: {expect: moon}", short, protocol.TransferTimeout, `1 messages came, the last "welcome to  as "`},
		"closed":    {ws, "websocket: {send: bye, expect: moon}", patience, protocol.Answer, `closed (4000 "as you wish")`},
		"no socket": {server(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) }).URL, "prober: websocket", patience, protocol.Status, "status 404 Not Found, want 101"},
		"silent":    {raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), "prober: websocket", short, protocol.RequestTimeout, "no answer came"},
		"loris":     {raw(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 101 "); _, _ = io.Copy(io.Discard, c) }), "prober: websocket", short, protocol.TransferTimeout, "headers did not end"},
		"no key":    {raw(t, says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")), "prober: websocket", patience, protocol.Malformed, "RFC 6455"},
		"endless":   {raw(t, endless("HTTP/1.1 101 Switching Protocols\r\n", "A: b\r\n")), "prober: websocket", patience, protocol.TooLarge, "256 KiB"},
		"huge":      {frames(t, "\x82\x7f\x00\x00\x00\x10\x00\x00\x00\x00"), "websocket: {expect: x}", patience, protocol.TooLarge, "1 MiB"},
		"bad frame": {frames(t, "\xff\x00"), "websocket: {expect: x}", patience, protocol.Malformed, "read a message"},
		"dropped":   {frames(t, "\x81\x05he"), "websocket: {expect: x}", patience, protocol.ConnectionReset, "dropped"},
		"proxy":     {ws, "http: {proxy_url: 'http://127.0.0.1:1'}", patience, protocol.Internal, "without proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			r := runIn(t, c.limit, Socket, request(t, c.target, c.module))
			wantReason(t, r, c.code, c.words)
		})
	}
}

// frames serves a right upgrade, and then the bytes.
func frames(t *testing.T, after string) string {
	return server(t, func(w http.ResponseWriter, r *http.Request) {
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n"+after)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}).URL
}

func healthServer(t *testing.T, opts ...grpc.ServerOption) (string, *grpchealth.Server) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(opts...)
	h := grpchealth.NewServer()
	h.SetServingStatus("good", grpc_health_v1.HealthCheckResponse_SERVING)
	h.SetServingStatus("bad", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(s, h)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Stop(); <-ended })
	return ln.Addr().String(), h
}

func TestGRPC(t *testing.T) {
	plain, _ := healthServer(t)
	cert := httptest.NewTLSServer(nil)
	t.Cleanup(cert.Close)
	secure, _ := healthServer(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert.TLS.Certificates[0])))
	ca := "tls_config: {ca: " + authorityPEM(cert) + "}"
	more := []string{"probe_tls_cipher_info", "probe_ssl_last_chain_expiry_timestamp_seconds"}
	failed := append([]string{"probe_ssl_earliest_cert_expiry", "probe_ssl_last_chain_info", "probe_tls_version_info"}, more...)
	for name, c := range map[string]struct {
		target, module string
		more           []string
		code           protocol.Code
		words          string
	}{
		"server":    {plain, "grpc: {}", nil, "", ""},
		"good":      {plain, "grpc: {service: good}", nil, "", ""},
		"bad":       {plain, "grpc: {service: bad}", nil, protocol.Status, "service bad is NOT_SERVING, want SERVING"},
		"unknown":   {plain, "grpc: {service: none}", nil, protocol.Status, "the server does not know service none"},
		"TLS":       {secure, "grpc: {tls: true, " + ca + "}", more, "", ""},
		"untrusted": {secure, "grpc: {tls: true}", failed, protocol.TLSUntrusted, "self-signed"},
		"plain TLS": {plain, "grpc: {tls: true}", more, protocol.TLSMissing, "does not speak TLS"},
		"refused":   {"127.0.0.1:1", "grpc: {}", nil, protocol.ConnectionRefused, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(t, c.target, "prober: grpc\n"+c.module)
			compare(t, prober.ProbeGRPC, GRPC, req, c.more...)
			wantReason(t, run(t, GRPC, req), c.code, c.words)
		})
	}
	wantReason(t, runIn(t, 500*time.Millisecond, GRPC, request(t, strings.TrimPrefix(strings.TrimSuffix(raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), "/"), "http://"), "grpc: {}")),
		protocol.RequestTimeout, "timeout")
	hole := request(t, plain, "grpc: {}")
	hole.Dialer = blackhole{}
	wantReason(t, runIn(t, 100*time.Millisecond, GRPC, hole), protocol.ConnectTimeout, "timeout")
	denied := request(t, plain, "grpc: {}")
	denied.Dialer = open{denied: mustPrefix("127.0.0.0/8")}
	wantReason(t, run(t, GRPC, denied), protocol.Denied, "may not be probed")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := GRPC(ctx, request(t, plain, "grpc: {}")); r.Up {
		t.Error("a probe whose context has ended is up")
	}
}

// blackhole answers nothing.
type blackhole struct{ open }

func (blackhole) DialContext(ctx context.Context, _, _ string, _ netip.Addr) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
