package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// raw serves one connection after another with f, which gets what was read of the
// request.
func raw(t testing.TB, f func(c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
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
				buf := make([]byte, 4<<10)
				_, _ = c.Read(buf)
				f(c)
			}()
		}
	}()
	return "http://" + ln.Addr().String() + "/"
}

func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		// What the client sends to the end is read, lest a reset overtake the answer.
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}
}

// endless says begin and then piece again and again.
func endless(begin, piece string) func(net.Conn) {
	piece = strings.Repeat(piece, 1+4096/len(piece))
	return func(c net.Conn) {
		if _, err := io.WriteString(c, begin); err != nil {
			return
		}
		for {
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
		}
	}
}

const okay = "HTTP/1.1 200 OK\r\n"

func TestHostileServers(t *testing.T) {
	bomb := bombOf(20, func(w io.Writer) io.WriteCloser { w2, _ := gzip.NewWriterLevel(w, gzip.BestSpeed); return w2 })
	brBomb := bombOf(300, func(w io.Writer) io.WriteCloser { return brotli.NewWriterLevel(w, 1) })
	short, long := 300*time.Millisecond, patience
	for name, c := range map[string]struct {
		server func(net.Conn)
		module string
		limit  time.Duration
		code   protocol.Code
		words  string
	}{
		"silent":           {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "", short, protocol.RequestTimeout, "no answer came"},
		"slow loris":       {func(c net.Conn) { _, _ = io.WriteString(c, okay+"X"); _, _ = io.Copy(io.Discard, c) }, "", short, protocol.TransferTimeout, "headers did not end"},
		"closes":           {says(""), "", long, protocol.ConnectionReset, "without an answer"},
		"half a head":      {says(okay + "X-A: b\r\n"), "", long, protocol.ConnectionReset, "in the middle of the headers"},
		"endless head":     {endless(okay, "X-A: bbbbbbbbbbbbbbbbb\r\n"), "", long, protocol.TooLarge, "256 KiB"},
		"endless line":     {endless(okay+"X: ", "a"), "", long, protocol.TooLarge, "256 KiB"},
		"endless status":   {endless("HTTP/1.1 200 ", "a"), "", long, protocol.TooLarge, "256 KiB"},
		"endless interim":  {endless("", "HTTP/1.1 100 Continue\r\n\r\n"), "", long, protocol.Malformed, "interim"},
		"endless body":     {endless(okay+"\r\n", "a"), "", short, protocol.TransferTimeout, "did not end in time"},
		"too long":         {endless(okay+"\r\n", "a"), "http: {body_size_limit: 1MB}", long, protocol.TooLarge, "more than 1 MiB"},
		"endless chunks":   {endless(okay+"Transfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n"), "http: {body_size_limit: 1KB}", long, protocol.TooLarge, "more than 1 KiB"},
		"bad chunk":        {says(okay + "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"), "", long, protocol.Malformed, "invalid byte in chunk length"},
		"endless chunk":    {endless(okay+"Transfer-Encoding: chunked\r\n\r\n1;", "x"), "", long, protocol.Malformed, "line"},
		"no body":          {says(okay + "Content-Length: 10\r\n\r\nabc"), "", long, protocol.ConnectionReset, "3 bytes of 10 bytes came"},
		"negative":         {says(okay + "Content-Length: -10\r\n\r\nabc"), "", long, protocol.Malformed, "Content-Length"},
		"two lengths":      {says(okay + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nabc"), "", long, protocol.Malformed, "Content-Length"},
		"no HTTP":          {says("220 mail.test ESMTP\r\n"), "", long, protocol.Malformed, "no HTTP"},
		"TLS":              {says("\x15\x03\x01\x00\x02\x02\x46"), "", long, protocol.TLSUnexpected, "speaks TLS"},
		"zero bytes":       {says(strings.Repeat("\x00", 1000) + "\n"), "", long, protocol.Malformed, "no HTTP"},
		"gzip bomb":        {says(okay + "\r\n" + bomb), "http: {compression: gzip, body_size_limit: 10MB}", long, protocol.TooLarge, "more than 10 MiB"},
		"brotli bomb":      {says(okay + "\r\n" + brBomb), "http: {compression: br, fail_if_body_not_matches_regexp: [x]}", long, protocol.TooLarge, "more than 256 MiB"},
		"bad gzip":         {says(okay + "\r\nnot gzip at all"), "http: {compression: gzip}", long, protocol.Malformed, "gzip"},
		"cut gzip":         {says(okay + "\r\n" + bomb[:100]), "http: {compression: gzip}", long, protocol.Malformed, "unexpected EOF"},
		"deep JSON":        {says(okay + "\r\n" + strings.Repeat("[", 900_000)), "http: {fail_if_body_json_not_matches_cel: 'true'}", long, protocol.Body, "no JSON"},
		"long JSON":        {says(okay + "\r\n[" + strings.Repeat("1,", 900_000) + "1]"), "http: {fail_if_body_json_not_matches_cel: 'true'}", long, protocol.TooLarge, "set body_size_limit"},
		"bad location":     {says("HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n"), "", long, protocol.Malformed, "follow the redirect"},
		"far location":     {says("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"), "", long, protocol.Malformed, "neither http nor https"},
		"endless location": {says("HTTP/1.1 302 Found\r\nLocation: /" + strings.Repeat("a", 100_000) + "\r\n\r\n"), "", long, protocol.Redirects, "circle"},
		"many cookies":     {says("HTTP/1.1 302 Found\r\nLocation: /\r\n" + strings.Repeat("Set-Cookie: a=b\r\n", 5000) + "\r\n"), "", long, protocol.Redirects, "circle"},
	} {
		t.Run(name, func(t *testing.T) {
			req := request(t, raw(t, c.server), c.module)
			req.Keep = protocol.Keep{Header: true, Body: 100, Hash: true}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Now()
			r := runIn(t, c.limit, HTTP, req)
			if took := time.Since(start); took > c.limit+patience {
				t.Errorf("took %s", took)
			}
			wantReason(t, r, c.code, c.words)
			if len(r.Reason.Words) > 2000 {
				t.Errorf("words of %d bytes", len(r.Reason.Words))
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
				t.Errorf("the heap has grown by %d KiB", grown>>10)
			}
			runtime.KeepAlive(r)
		})
	}
}

func bombOf(mebibytes int, open func(io.Writer) io.WriteCloser) string {
	var b bytes.Buffer
	w := open(&b)
	zeros := make([]byte, 1<<20)
	for range mebibytes {
		_, _ = w.Write(zeros)
	}
	w.Close()
	return b.String()
}

func TestDeniedRedirect(t *testing.T) {
	url := raw(t, says("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data\r\n\r\n"))
	req := request(t, url, "")
	req.Dialer = open{denied: mustPrefix("169.254.0.0/16")}
	r := run(t, HTTP, req)
	wantReason(t, r, protocol.Denied, "169.254.169.254:80")
	wantValue(t, r, 1, "probe_http_redirects")
	wantValue(t, r, 0, "probe_http_status_code")

	req = request(t, "https://169.254.169.254/", "http: {enable_http3: true, enable_http2: false}")
	req.Dialer = open{denied: mustPrefix("169.254.0.0/16")}
	wantReason(t, run(t, HTTP, req), protocol.Denied, "may not be probed")

	proxied := request(t, "http://169.254.169.254/", "http: {proxy_url: '"+url+"'}")
	proxied.Dialer = open{denied: mustPrefix("169.254.0.0/16")}
	wantReason(t, run(t, HTTP, proxied), protocol.Denied, "may not be probed")
}

func TestNetworkErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	ln.Close()
	wantReason(t, run(t, HTTP, request(t, closed, "")), protocol.ConnectionRefused, "connect to "+closed+": connection refused")
	wantReason(t, run(t, HTTP, request(t, "http://none.test/", "")), protocol.ResolveFailed, "does not exist")
	wantReason(t, run(t, HTTP, request(t, "http://web.test:99999/", "")), protocol.BadTarget, "port")
	wantReason(t, run(t, HTTP, request(t, "http://[::1", "")), protocol.BadTarget, "URL")
	plain := raw(t, says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	wantReason(t, run(t, HTTP, request(t, strings.Replace(plain, "http:", "https:", 1), "")), protocol.TLSMissing, "does not speak TLS")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r := HTTP(ctx, request(t, plain, "")); r.Up {
		t.Error("a probe whose context has ended is up")
	}
}

func FuzzSplitHeaders(f *testing.F) {
	f.Add([]byte("HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nC: d\r\n e\r\n\r\nbody"))
	f.Add([]byte("HTTP/1.0 200\nA:b\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		size := 0
		for _, h := range splitHeaders(b) {
			size += len(h[0]) + len(h[1])
		}
		if size > 2*len(b) {
			t.Errorf("%d bytes of headers from %d", size, len(b))
		}
	})
}

// FuzzAnswer has a server say anything at all.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(okay + "Content-Length: 3\r\n\r\nabc"))
	f.Add([]byte(okay + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 302 Found\r\nLocation: /a\r\nSet-Cookie: a=b\r\n\r\n"))
	m := module(f, "http: {fail_if_body_matches_regexp: [x], compression: gzip, body_size_limit: 1KB}")
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req := &protocol.Request{Target: "http://192.0.2.1/", Module: m, Dialer: canned(b), Resolver: local, Keep: protocol.Keep{Header: true, Body: 10, Hash: true}}
		r := HTTP(ctx, req)
		if r.Up == (r.Reason.Code != "") || r.Reason.Code == protocol.Internal {
			t.Errorf("up %v, reason %v", r.Up, r.Reason)
		}
		if r.Response != nil && len(r.Response.Body) > 10 {
			t.Errorf("kept %d bytes of the body", len(r.Response.Body))
		}
	})
}

// canned dials a server that says the same to everything, and closes.
type canned []byte

func (canned) Permit(addr netip.Addr, port uint16) error { return nil }

func (c canned) DialContext(context.Context, string, string, netip.Addr) (net.Conn, error) {
	return &cannedConn{in: bytes.NewReader(c)}, nil
}

type cannedConn struct {
	net.Conn
	in *bytes.Reader
}

func (c *cannedConn) Read(b []byte) (int, error)  { return c.in.Read(b) }
func (c *cannedConn) Write(b []byte) (int, error) { return len(b), nil }
func (c *cannedConn) Close() error                { return nil }
func (c *cannedConn) SetDeadline(time.Time) error { return nil }
