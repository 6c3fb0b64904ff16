package web

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/config"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// byClient is exchange for unusual settings (proxies, OAuth 2, http_headers): the
// client of prometheus/common speaks, through our dialer.
func (p *probe) byClient(a *ask) (*answer, bool) {
	if a.addr.IsValid() {
		port, err := portOf(a.URL)
		if err == nil {
			err = p.req.Dialer.Permit(a.addr, port)
		}
		if err != nil {
			p.r.FailError(protocol.Connect, "connect to "+a.URL.Host, err)
			return nil, false
		}
	}
	l := &clientLaps{laps: laps{start: time.Now()}}
	var w *protocol.Watch
	dial := protocol.Dial(p.req)
	cfg := p.want.HTTPClientConfig
	rt, err := config.NewRoundTripperFromConfigWithContext(p.ctx, cfg, "probe",
		config.WithKeepAlivesDisabled(),
		config.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				l.fail(address, err)
			}
			return conn, err
		}),
		config.WithNewTLSConfigFunc(func(ctx context.Context, c *config.TLSConfig, opts ...config.TLSConfigOption) (*tls.Config, error) {
			made, err := config.NewTLSConfigWithContext(ctx, c, opts...)
			if err != nil {
				return nil, err
			}
			if w != nil { // of the token's server, whose certificate nobody asks about
				return made, nil
			}
			made.ServerName = a.name
			w = protocol.NewWatch(made)
			return w.Config(), nil
		}))
	if err != nil {
		p.r.Fail(protocol.Internal, protocol.Sent, "set up the client: %.300v", err)
		return nil, false
	}
	resp, err := rt.RoundTrip(p.addressed(a).WithContext(httptrace.WithClientTrace(p.ctx, l.trace())))
	first := l.finish(p.r)
	if a.URL.Scheme == "https" {
		p.seen.watch = w
	}
	if err != nil {
		switch at, why := l.failed(); {
		case why != nil && !p.late(why):
			p.r.FailError(protocol.Connect, "connect to "+at, why)
		case w != nil && w.Chain() != nil && w.Chain().Problem != "":
			w.Fail(err, p.r)
		default:
			p.failAnswer(l.phase(), err, nil)
		}
		return nil, false
	}
	resp.Request = a.Request
	return &answer{Response: resp, first: first, done: sync.OnceFunc(func() {
		resp.Body.Close()
		if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	})}, true
}

// addressed puts the address that was found in the place of the name, so that a proxy
// need not look it up, as blackbox_exporter does.
func (p *probe) addressed(a *ask) *http.Request {
	if !a.addr.IsValid() {
		return a.Request
	}
	r := *a.Request
	u := *a.URL
	host := a.addr.String()
	switch port := u.Port(); {
	case port != "":
		u.Host = net.JoinHostPort(host, port)
	case a.addr.Is6():
		u.Host = "[" + host + "]"
	default:
		u.Host = host
	}
	r.URL = &u
	return &r
}

// clientLaps has those of the connection too.
type clientLaps struct {
	laps
	connect, secure time.Time // when each began; zero when it ended
	took            [protocol.Phases]time.Duration
	address         netip.AddrPort
	at              string
	err             error
}

func (l *clientLaps) trace() *httptrace.ClientTrace {
	t := l.hooks()
	locked := func(f func()) {
		l.mu.Lock()
		defer l.mu.Unlock()
		f()
	}
	t.ConnectStart = func(string, string) { locked(func() { l.connect = time.Now() }) }
	t.ConnectDone = func(string, string, error) {}
	t.TLSHandshakeStart = func() { locked(func() { l.secure = time.Now() }) }
	t.TLSHandshakeDone = func(tls.ConnectionState, error) {
		locked(func() { l.took[protocol.TLS] += time.Since(l.secure); l.secure = time.Time{} })
	}
	began := l.start
	t.GetConn = func(string) { locked(func() { began = time.Now() }) }
	t.GotConn = func(info httptrace.GotConnInfo) {
		locked(func() {
			l.start = time.Now()
			l.took[protocol.Connect] += l.start.Sub(began) - l.took[protocol.TLS]
			if info.Conn != nil {
				l.address, _ = netip.ParseAddrPort(strings.TrimSpace(info.Conn.RemoteAddr().String()))
			}
		})
	}
	return t
}

func (l *clientLaps) fail(at string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at, l.err = at, err
}

func (l *clientLaps) failed() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at, l.err
}

// phase is how far it came.
func (l *clientLaps) phase() protocol.Phase {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.address.IsValid() && !l.secure.IsZero():
		return protocol.TLS
	case !l.address.IsValid():
		return protocol.Connect
	}
	return protocol.FirstByte
}

func (l *clientLaps) finish(r *protocol.Result) time.Time {
	first := l.end(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Phases[protocol.Connect] += l.took[protocol.Connect]
	r.Phases[protocol.TLS] += l.took[protocol.TLS]
	if l.address.IsValid() {
		r.Address = netip.AddrPortFrom(l.address.Addr().Unmap(), l.address.Port())
	}
	return first
}
