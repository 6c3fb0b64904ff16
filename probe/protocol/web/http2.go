package web

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// What a server may send before anybody reads it, in bytes.
const (
	streamWindow = 256 << 10
	connWindow   = 512 << 10
)

// laps times a request that a library makes, by the hooks of httptrace. Hooks come
// from other goroutines.
type laps struct {
	mu          sync.Mutex
	start       time.Time
	sent, first time.Time
}

func (l *laps) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.sent = time.Now()
		},
		GotFirstResponseByte: func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.first = time.Now()
		},
	}
}

// end adds the laps to the phases; what a library did not tell counts as the
// server's time.
func (l *laps) end(r *protocol.Result) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first.IsZero() {
		l.first = time.Now()
	}
	if l.sent.IsZero() || l.sent.After(l.first) {
		l.sent = l.start
	}
	r.Phases[protocol.Sent] += l.sent.Sub(l.start)
	r.Phases[protocol.FirstByte] += l.first.Sub(l.sent)
	return l.first
}

// http2 speaks HTTP/2 over conn, which it closes.
func (p *probe) http2(a *ask, conn *tls.Conn) (*answer, bool) {
	l := &laps{start: time.Now()}
	only := &http.Protocols{}
	only.SetHTTP2(true)
	t := &http.Transport{
		Protocols: only, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		HTTP2:          &http.HTTP2Config{MaxReceiveBufferPerStream: streamWindow, MaxReceiveBufferPerConnection: connWindow},
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	cc, err := t.NewClientConn(p.ctx, "https", p.r.Address.String())
	if err != nil {
		conn.Close()
		p.failFrames(err)
		return nil, false
	}
	resp, err := cc.RoundTrip(a.WithContext(httptrace.WithClientTrace(p.ctx, l.hooks())))
	first := l.end(p.r)
	if err != nil {
		cc.Close()
		p.failFrames(cause(err, conn))
		return nil, false
	}
	resp.Request = a.Request
	return &answer{Response: resp, first: first, done: sync.OnceFunc(func() {
		resp.Body.Close()
		cc.Close()
	})}, true
}

// cause is the server's end of conn where the library says only that there is no
// connection: it had ended before the request was to be sent.
func cause(err error, conn *tls.Conn) error {
	if !strings.Contains(err.Error(), "conn could not be established") {
		return err
	}
	_, end := conn.Read(make([]byte, 1)) // crypto/tls repeats the error it had
	if errors.Is(end, io.EOF) || errors.Is(end, syscall.ECONNRESET) {
		return end
	}
	return err
}

// failFrames is failAnswer for the errors of HTTP/2 and 3.
func (p *probe) failFrames(err error) {
	var op *net.OpError
	switch {
	case p.late(err), errors.As(err, &op), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		p.failAnswer(protocol.FirstByte, err, nil)
	case strings.Contains(err.Error(), "header list") || strings.Contains(err.Error(), "headers too large"):
		p.failAnswer(protocol.Transfer, errHeader, nil)
	default:
		p.r.Fail(protocol.Malformed, protocol.FirstByte, "the server broke off: %.150q", err.Error())
	}
}

// http3 dials QUIC, whose handshake is counted as TLS: it has no other.
func (p *probe) http3(a *ask, addr netip.AddrPort) (*answer, bool) {
	p.r.Address = addr
	if err := p.req.Dialer.Permit(addr.Addr(), addr.Port()); err != nil {
		p.r.FailError(protocol.Connect, "connect to "+addr.String(), err)
		return nil, false
	}
	w, ok := p.watcher(a)
	if !ok {
		return nil, false
	}
	cfg := w.Config()
	cfg.NextProtos = []string{http3.NextProtoH3}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS13)
	conn, closeAll, ok := p.quic(addr, w)
	if !ok {
		return nil, false
	}
	l := &laps{start: time.Now()}
	t := &http3.Transport{DisableCompression: true, MaxResponseHeaderBytes: maxHeader}
	resp, err := t.NewClientConn(conn).RoundTrip(a.WithContext(httptrace.WithClientTrace(p.ctx, l.hooks())))
	first := l.end(p.r)
	if err != nil {
		closeAll()
		p.failFrames(err)
		return nil, false
	}
	resp.Request = a.Request
	state := conn.ConnectionState().TLS
	resp.TLS = &state
	return &answer{Response: resp, first: first, done: sync.OnceFunc(func() {
		resp.Body.Close()
		closeAll()
	})}, true
}

func (p *probe) quic(addr netip.AddrPort, w *protocol.Watch) (*quic.Conn, func(), bool) {
	network := "udp6"
	if addr.Addr().Is4() {
		network = "udp4"
	}
	start := time.Now()
	socket, err := net.ListenUDP(network, nil)
	if err != nil {
		p.r.FailError(protocol.Connect, "open a UDP socket", err)
		return nil, nil, false
	}
	t := &quic.Transport{Conn: socket}
	wait := time.Hour
	if deadline, ok := p.ctx.Deadline(); ok {
		wait = time.Until(deadline)
	}
	conn, err := t.Dial(p.ctx, net.UDPAddrFromAddrPort(addr), w.Config(), &quic.Config{
		HandshakeIdleTimeout: wait, MaxIdleTimeout: wait, DisablePathMTUDiscovery: true, MaxIncomingStreams: -1,
		InitialStreamReceiveWindow: streamWindow, MaxStreamReceiveWindow: streamWindow,
		InitialConnectionReceiveWindow: connWindow, MaxConnectionReceiveWindow: connWindow,
	})
	closeAll := func() {
		if conn != nil {
			_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		}
		_ = t.Close()
		socket.Close()
	}
	p.r.Phases[protocol.TLS] += time.Since(start)
	if err != nil {
		closeAll()
		p.failQUIC(addr, w, err)
		return nil, nil, false
	}
	return conn, closeAll, true
}

// failQUIC tells a silent port, which UDP cannot, from a failed handshake.
func (p *probe) failQUIC(addr netip.AddrPort, w *protocol.Watch, err error) {
	var idle *quic.IdleTimeoutError
	var handshake *quic.HandshakeTimeoutError
	var transport *quic.TransportError
	switch {
	case w.Chain() != nil:
		w.Fail(err, p.r)
	case p.late(err), errors.As(err, &idle), errors.As(err, &handshake):
		p.r.Fail(protocol.ConnectTimeout, protocol.Connect, "connect to %s by QUIC: no answer", addr)
	case errors.As(err, &transport) && transport.ErrorCode.IsCryptoError():
		p.r.Fail(protocol.TLSHandshake, protocol.TLS, "TLS handshake over QUIC: %.150q", transport.ErrorMessage)
	default:
		p.r.FailError(protocol.Connect, "connect to "+addr.String()+" by QUIC", err)
	}
}
