package web

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// overTLS serves each connection with f once HTTP/2 was agreed on, and returns the
// URL and the authority.
func overTLS(t *testing.T, f func(net.Conn)) (string, string) {
	t.Helper()
	cert := httptest.NewTLSServer(nil)
	t.Cleanup(cert.Close)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: cert.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return "https://" + ln.Addr().String(), authorityPEM(cert)
}

func TestHostileFrames(t *testing.T) {
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	says := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, text)
			_, _ = io.Copy(io.Discard, c)
			<-t.Context().Done() // it is the client that ends the connection
		}
	}
	// What is said of a stream before it is opened means nothing.
	asked := func(first, then string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, first)
			_, _ = io.CopyN(io.Discard, c, int64(len(http2.ClientPreface)))
			frames := http2.NewFramer(io.Discard, c)
			for f, err := frames.ReadFrame(); err == nil; f, err = frames.ReadFrame() {
				if f.Header().Type == http2.FrameHeaders {
					_, _ = io.WriteString(c, then)
				}
			}
		}
	}
	for name, c := range map[string]struct {
		server func(net.Conn)
		limit  time.Duration
		code   protocol.Code
		words  string
	}{
		"silent":       {silent, 300 * time.Millisecond, protocol.RequestTimeout, "no answer came"},
		"settings":     {says(settings), 300 * time.Millisecond, protocol.RequestTimeout, "no answer came"},
		"garbage":      {says("HTTP/1.1 400 Bad Request\r\n\r\n"), patience, protocol.Malformed, "broke off"},
		"go away":      {says(settings + "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b"), patience, protocol.Malformed, "broke off"},
		"reset":        {asked(settings, "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02"), patience, protocol.Malformed, "broke off"},
		"closes":       {func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }, patience, protocol.ConnectionReset, ""},
		"large frame":  {says(settings + "\xff\xff\xff\x00\x00\x00\x00\x00\x01"), patience, protocol.Malformed, "broke off"},
		"endless head": {endless(settings+"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x88", "\x00\x00\x01\x09\x00\x00\x00\x00\x01\x88"), patience, protocol.Malformed, "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			target, ca := overTLS(t, c.server)
			r := runIn(t, c.limit, HTTP, request(t, target, "http: {tls_config: {server_name: example.com, ca: "+ca+"}}"))
			wantReason(t, r, c.code, c.words)
		})
	}
	large := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 40 {
			w.Header().Add("X-A", strings.Repeat("a", 10_000))
		}
	}))
	large.EnableHTTP2 = true
	large.StartTLS()
	t.Cleanup(large.Close)
	r := run(t, HTTP, request(t, large.URL, "http: {tls_config: {ca: "+authorityPEM(large)+"}}"))
	if r.Up {
		t.Error("400 KiB of headers are fine over HTTP/2")
	}
}

func TestSilentQUIC(t *testing.T) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	req := request(t, "https://"+socket.LocalAddr().String(), "http: {enable_http3: true, enable_http2: false}")
	wantReason(t, runIn(t, 300*time.Millisecond, HTTP, req), protocol.ConnectTimeout, "by QUIC: no answer")
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = socket.WriteTo([]byte("\xc0\x00\x00\x00\x01 this is no QUIC at all"), from)
		}
	}()
	wantReason(t, runIn(t, 300*time.Millisecond, HTTP, req), protocol.ConnectTimeout, "by QUIC: no answer")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := HTTP(ctx, req); r.Up {
		t.Error("a probe whose context has ended is up")
	}
}
