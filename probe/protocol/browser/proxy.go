package browser

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

const (
	proxyUser = "atoll"
	// warmHost is a name that the proxy answers by itself: asking it teaches the browser
	// the password, and takes its start out of the page's time.
	warmHost = "warm.invalid"
	// maxConns of one page at a time.
	maxConns = 128
)

// proxy is Chromium's only way to the network.
type proxy struct {
	ctx      context.Context
	req      *protocol.Request
	ln       net.Listener
	password string
	slots    chan struct{}
	conns    sync.WaitGroup

	mu    sync.Mutex
	dials map[string]protocol.Result // the first of each host
}

func openProxy(ctx context.Context, req *protocol.Request) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the browser: %w", err)
	}
	p := &proxy{ctx: ctx, req: req, ln: ln, password: rand.Text(), slots: make(chan struct{}, maxConns), dials: map[string]protocol.Result{}}
	p.conns.Go(p.accept)
	return p, nil
}

// close needs the context to have ended, which ends the connections.
func (p *proxy) close() {
	p.ln.Close()
	p.conns.Wait()
}

func (p *proxy) accept() {
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			return
		}
		select {
		case p.slots <- struct{}{}:
			p.conns.Go(func() {
				defer func() { <-p.slots }()
				conn := protocol.Bind(p.ctx, conn)
				defer conn.Close()
				p.serve(conn)
			})
		default:
			conn.Close()
		}
	}
}

// serve answers the requests of a connection until one opens a tunnel.
func (p *proxy) serve(conn net.Conn) {
	in := bufio.NewReader(io.LimitReader(conn, 1<<40))
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if !p.knows(req) {
			_, _ = io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"atoll\"\r\nContent-Length: 0\r\n\r\n")
			continue
		}
		if req.Method == http.MethodConnect {
			p.tunnel(conn, in, req.Host)
			return
		}
		if req.URL.Hostname() == warmHost {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nok")
			continue
		}
		p.forward(conn, req)
		return
	}
}

func (p *proxy) knows(req *http.Request) bool {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(proxyUser+":"+p.password))
	return subtle.ConstantTimeCompare([]byte(req.Header.Get("Proxy-Authorization")), []byte(want)) == 1
}

// tunnel carries bytes both ways.
func (p *proxy) tunnel(conn net.Conn, in io.Reader, address string) {
	far, ok := p.dial(address)
	if !ok {
		_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	defer far.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(conn, far)
		conn.Close()
	}()
	_, _ = io.Copy(far, in)
	far.Close()
	<-back
}

// forward sends one request in clear, and its answer back.
func (p *proxy) forward(conn net.Conn, req *http.Request) {
	host := req.URL.Host
	if req.URL.Port() == "" {
		host = net.JoinHostPort(req.URL.Hostname(), "80")
	}
	far, ok := p.dial(host)
	if !ok {
		_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	defer far.Close()
	req.Header.Del("Proxy-Authorization")
	req.Header.Del("Proxy-Connection")
	req.Close = true
	if req.Write(far) == nil {
		_, _ = io.Copy(conn, far)
	}
}

// dial resolves and connects, through the guard, and remembers how it went.
func (p *proxy) dial(address string) (net.Conn, bool) {
	r := protocol.Result{Start: time.Now()}
	conn, ok := p.connect(address, &r)
	host, _, _ := net.SplitHostPort(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.dials[host]; !known && len(p.dials) < 1000 {
		p.dials[host] = r
	}
	return conn, ok
}

func (p *proxy) connect(address string, r *protocol.Result) (net.Conn, bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		r.Fail(protocol.BadTarget, protocol.Resolve, "the browser asks for %.100q", address)
		return nil, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		r.Fail(protocol.BadTarget, protocol.Resolve, "the browser asks for %.100q", address)
		return nil, false
	}
	m := &p.req.Module.HTTP
	addr, ok := protocol.Lookup(p.ctx, p.req, host, m.IPProtocol, m.IPProtocolFallback, r)
	if !ok {
		return nil, false
	}
	return protocol.Open(p.ctx, p.req, "tcp", netip.AddrPortFrom(addr, uint16(n)), netip.Addr{}, r)
}

// first is how the first connection to a host went.
func (p *proxy) first(host string) (protocol.Result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.dials[host]
	return r, ok
}
