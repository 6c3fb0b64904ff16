package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// maxHeader is the most that the headers of an answer may have, in bytes.
const maxHeader = 256 << 10

// maxInterim answers (100 to 199) may come before the one that counts.
const maxInterim = 5

// alertRecord begins what a TLS server answers to plain text.
const alertRecord = 0x15

var errHeader = fmt.Errorf("headers of more than %d KiB", maxHeader>>10)

// exchange sends one request and waits for the headers of its answer.
func (p *probe) exchange(a *ask) (*answer, bool) {
	if unusual(p.want) {
		return p.byClient(a)
	}
	if p.want.UseHTTP3 {
		addr, ok := p.locate(a)
		if !ok {
			return nil, false
		}
		return p.http3(a, addr)
	}
	conn, ok := p.dial(a)
	if !ok {
		return nil, false
	}
	if a.URL.Scheme != "https" {
		return p.http1(a, conn)
	}
	secure, ok := p.secure(a, conn)
	if !ok {
		conn.Close()
		return nil, false
	}
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		return p.http2(a, secure)
	}
	return p.http1(a, secure)
}

// locate is where a leads to.
func (p *probe) locate(a *ask) (netip.AddrPort, bool) {
	port, err := portOf(a.URL)
	if err != nil {
		p.r.Fail(protocol.BadTarget, protocol.Resolve, "read the port of %.100q: %v", a.URL.Host, err)
		return netip.AddrPort{}, false
	}
	if !a.addr.IsValid() {
		var ok bool
		if a.addr, ok = protocol.Lookup(p.ctx, p.req, a.URL.Hostname(), p.want.IPProtocol, true, p.r); !ok {
			return netip.AddrPort{}, false
		}
	}
	return netip.AddrPortFrom(a.addr, port), true
}

// dial opens a connection to where a leads.
func (p *probe) dial(a *ask) (net.Conn, bool) {
	addr, ok := p.locate(a)
	if !ok {
		return nil, false
	}
	return protocol.Open(p.ctx, p.req, "tcp", addr, netip.Addr{}, p.r)
}

// secure makes conn a client's side of TLS, which the name of a is expected from.
func (p *probe) secure(a *ask, conn net.Conn) (*tls.Conn, bool) {
	w, ok := p.watcher(a)
	if !ok {
		return nil, false
	}
	if p.want.HTTPClientConfig.EnableHTTP2 {
		w.Config().NextProtos = []string{"h2", "http/1.1"}
	}
	c, err := w.Client(p.ctx, conn, p.r)
	return c, err == nil
}

func (p *probe) watcher(a *ask) (*protocol.Watch, bool) {
	cfg, err := protocol.ClientTLS(p.req, &p.want.HTTPClientConfig.TLSConfig)
	if err != nil {
		p.r.Fail(protocol.Internal, protocol.TLS, "%.300v", err)
		return nil, false
	}
	w := protocol.NewWatch(cfg)
	w.Config().ServerName = a.name
	p.seen.watch = w
	return w, true
}

// Buffers of connections outlive them.
var (
	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
	writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 4<<10) }}
)

// http1 speaks HTTP/1.1 over conn, which it closes.
func (p *probe) http1(a *ask, conn net.Conn) (*answer, bool) {
	start := time.Now()
	sendErr := send(a.Request, conn)
	sent := time.Now()
	p.r.Phases[protocol.Sent] += sent.Sub(start)

	in := &headerReader{r: conn, left: maxHeader, keep: p.req.Keep.Header}
	br := readers.Get().(*bufio.Reader)
	br.Reset(in)
	done := sync.OnceFunc(func() {
		conn.Close()
		br.Reset(nil)
		readers.Put(br)
	})
	head, err := br.Peek(1)
	first := time.Now()
	p.r.Phases[protocol.FirstByte] += first.Sub(sent)
	phase := protocol.FirstByte
	if err == nil && head[0] == alertRecord {
		p.r.Fail(protocol.TLSUnexpected, protocol.FirstByte, "the server speaks TLS on this port, and was asked without")
		done()
		return nil, false
	}
	var resp *http.Response
	for n := 0; err == nil; n++ {
		phase = protocol.Transfer
		resp, err = http.ReadResponse(br, a.Request) //nolint:bodyclose // its body is the connection's, which done closes
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
		if n == maxInterim {
			err = fmt.Errorf("more than %d interim answers", maxInterim)
		}
	}
	if err != nil {
		switch {
		// Whatever the parser makes of headers that were cut off.
		case in.left <= 0:
			err = errHeader
		case in.err != nil && p.late(in.err):
			err = in.err
		case sendErr != nil && !p.late(err):
			phase, err = protocol.Sent, sendErr
		}
		p.failAnswer(phase, err, br)
		done()
		return nil, false
	}
	in.left = math.MaxInt64
	return &answer{Response: resp, first: first, raw: in.kept.Bytes(), done: done}, true
}

// send writes a request in one piece where it is short.
func send(r *http.Request, conn net.Conn) error {
	bw := writers.Get().(*bufio.Writer)
	bw.Reset(conn)
	defer func() {
		bw.Reset(nil)
		writers.Put(bw)
	}()
	r.Close = true
	if err := r.Write(bw); err != nil {
		return err
	}
	return bw.Flush()
}

// headerReader bounds what is read until the headers end, and keeps it if asked to.
type headerReader struct {
	r    io.Reader
	left int64
	keep bool
	kept bytes.Buffer
	err  error
}

func (h *headerReader) Read(b []byte) (int, error) {
	if h.left <= 0 {
		return 0, errHeader
	}
	if int64(len(b)) > h.left {
		b = b[:h.left]
	}
	n, err := h.r.Read(b)
	h.err = err
	if h.left != math.MaxInt64 {
		h.left -= int64(n)
		if h.keep {
			h.kept.Write(b[:n])
		}
	}
	return n, err
}

// late tells that an error comes of the end of the context; the connection's own
// deadline is the same, and can be first.
func (p *probe) late(err error) bool {
	var timeout net.Error
	return p.ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout()
}

// failAnswer says why there is no answer. peeked has what came instead, nil for none.
func (p *probe) failAnswer(phase protocol.Phase, err error, peeked *bufio.Reader) {
	var op *net.OpError
	switch {
	case p.r.Reason.Code != "":
	case errors.Is(err, errHeader):
		p.r.Fail(protocol.TooLarge, phase, "the answer has %v", errHeader)
	case p.late(err):
		what := "the request was sent, and no answer came"
		switch phase {
		case protocol.Sent:
			what = "the request could not be sent"
		case protocol.Transfer:
			what = "the answer began, and its headers did not end"
		}
		p.r.FailError(phase, what, context.DeadlineExceeded)
	case errors.As(err, &op) && op.Op == "remote error":
		p.r.Fail(protocol.TLSHandshake, phase, "the server ended TLS: %s", strings.TrimPrefix(op.Err.Error(), "tls: "))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		what := "the server closed the connection without an answer"
		if phase == protocol.Transfer {
			what = "the server closed the connection in the middle of the headers"
		}
		p.r.Fail(protocol.ConnectionReset, phase, "%s", what)
	case phase == protocol.Transfer && !isNetwork(err):
		p.r.Fail(protocol.Malformed, phase, "the answer is no HTTP: %.150q", strings.TrimPrefix(err.Error(), "net/http: "))
	default:
		p.r.FailError(phase, "read the answer", err)
	}
}

func isNetwork(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}
