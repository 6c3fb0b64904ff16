package names

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// buffers hold one message, which has 64 KiB at most.
var buffers = sync.Pool{New: func() any { return new([dns.MaxMsgSize]byte) }}

// errTruncated tells that an answer over UDP did not fit.
var errTruncated = errors.New("truncated")

// exchange asks s and returns its answer, nil if there is none that can be read.
func (p *probe) exchange(s server) *dns.Msg {
	question, err := p.ask.Pack()
	if err != nil {
		p.r.Fail(protocol.Internal, protocol.Sent, "make the question: %.150v", err)
		return nil
	}
	answer, err := p.by(s, p.over, question)
	if errors.Is(err, errTruncated) {
		p.r.Add("probe_dns_retried_over_tcp", 1)
		full, _ := p.by(s, overTCP, question)
		if full == nil && p.r.Reason.Code != "" {
			p.r.Reason.Words = "the answer is truncated over UDP, and over TCP: " + p.r.Reason.Words
		}
		return full
	}
	return answer
}

// by asks over one transport, which the module or a truncated answer chooses.
func (p *probe) by(s server, over string, question []byte) (*dns.Msg, error) {
	network := "tcp"
	if over == overUDP {
		network = "udp"
	}
	conn, ok := protocol.Open(p.ctx, p.req, network, s.addr, p.from, p.r)
	if !ok {
		return nil, nil
	}
	defer conn.Close()
	if over == overTLS || over == overHTTPS {
		if conn, ok = p.secure(conn, s, over); !ok {
			return nil, nil
		}
		defer conn.Close()
	}
	start := time.Now()
	defer func() { p.took += time.Since(start) }()
	switch over {
	case overUDP:
		return p.overUDP(conn, question)
	case overHTTPS:
		return p.overHTTPS(conn, s, question), nil
	}
	return p.overStream(conn, question), nil
}

func (p *probe) secure(conn net.Conn, s server, over string) (net.Conn, bool) {
	cfg, err := protocol.ClientTLS(p.req, &p.want.TLSConfig)
	if err != nil {
		p.r.Fail(protocol.Internal, protocol.TLS, "%.300v", err)
		return conn, false
	}
	w := protocol.NewWatch(cfg)
	p.watch = w
	if w.Config().ServerName == "" {
		w.Config().ServerName = s.host
		if p.req.Host != "" {
			w.Config().ServerName = p.req.Host
		}
	}
	w.Config().NextProtos = []string{"dot"}
	if over == overHTTPS {
		w.Config().NextProtos = []string{"h2", "http/1.1"}
	}
	c, err := w.Client(p.ctx, conn, p.r)
	if err != nil {
		return conn, false
	}
	return c, true
}

// overUDP reads until there is an answer to the question: anybody can send other
// packets.
func (p *probe) overUDP(conn net.Conn, question []byte) (*dns.Msg, error) {
	start := time.Now()
	if _, err := conn.Write(question); err != nil {
		p.r.FailError(protocol.Sent, "send the question", err)
		return nil, err
	}
	sent := time.Now()
	p.r.Phases[protocol.Sent] += sent.Sub(start)
	defer func() { p.r.Phases[protocol.FirstByte] += time.Since(sent) }()
	buf := buffers.Get().(*[dns.MaxMsgSize]byte)
	defer buffers.Put(buf)
	stray := ""
	for {
		n, err := conn.Read(buf[:])
		if err != nil {
			p.failRead(protocol.FirstByte, err, stray)
			return nil, err
		}
		m, why := p.read(buf[:n])
		switch {
		case m == nil:
			stray = why
		case m.Truncated:
			return m, errTruncated
		default:
			return m, nil
		}
	}
}

// overStream is TCP and TLS: a length goes before each message.
func (p *probe) overStream(conn net.Conn, question []byte) *dns.Msg {
	start := time.Now()
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, len(question)+2), uint16(len(question)))
	if _, err := conn.Write(append(framed, question...)); err != nil {
		p.r.FailError(protocol.Sent, "send the question", err)
		return nil
	}
	sent := time.Now()
	p.r.Phases[protocol.Sent] += sent.Sub(start)
	buf := buffers.Get().(*[dns.MaxMsgSize]byte)
	defer buffers.Put(buf)
	var size [2]byte
	_, err := io.ReadFull(conn, size[:])
	first := time.Now()
	p.r.Phases[protocol.FirstByte] += first.Sub(sent)
	if err != nil {
		p.failRead(protocol.FirstByte, err, "")
		return nil
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	_, err = io.ReadFull(conn, buf[:n])
	p.r.Phases[protocol.Transfer] += time.Since(first)
	if err != nil {
		p.failRead(protocol.Transfer, err, "")
		return nil
	}
	m, why := p.read(buf[:n])
	if m == nil {
		p.r.Fail(protocol.Malformed, protocol.Transfer, "%s", why)
	}
	return m
}

// overHTTPS is RFC 8484, by POST.
func (p *probe) overHTTPS(conn net.Conn, s server, question []byte) *dns.Msg {
	start := time.Now()
	resp, err := p.post(conn, s, question)
	p.r.Phases[protocol.FirstByte] += time.Since(start)
	if err != nil {
		p.failRead(protocol.FirstByte, err, "")
		return nil
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		p.r.Fail(protocol.Status, protocol.FirstByte, "status %d %s from %s, want 200", resp.StatusCode, http.StatusText(resp.StatusCode), s.url.Path)
		return nil
	}
	first := time.Now()
	body, err := io.ReadAll(io.LimitReader(resp.Body, dns.MaxMsgSize+1))
	p.r.Phases[protocol.Transfer] += time.Since(first)
	switch {
	case err != nil:
		p.failRead(protocol.Transfer, err, "")
		return nil
	case len(body) > dns.MaxMsgSize:
		p.r.Fail(protocol.TooLarge, protocol.Transfer, "the answer has more than %d bytes", dns.MaxMsgSize)
		return nil
	}
	m, why := p.read(body)
	if m == nil {
		p.r.Fail(protocol.Malformed, protocol.Transfer, "%s (Content-Type %.60q)", why, resp.Header.Get("Content-Type"))
	}
	return m
}

// post lends the connection, which is made and secured already, to net/http.
func (p *probe) post(conn net.Conn, s server, question []byte) (*http.Response, error) {
	lent := false
	dial := func(context.Context, string, string) (net.Conn, error) {
		if lent {
			return nil, errors.New("one connection is all there is")
		}
		lent = true
		return conn, nil
	}
	t := &http.Transport{DialTLSContext: dial, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, MaxConnsPerHost: 1,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 128 << 10, MaxReceiveBufferPerConnection: 128 << 10}}
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPost, s.url.String(), bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/dns-message")
	req.Header.Set("Accept", "application/dns-message")
	req.Header.Set("User-Agent", "Atoll-Probe")
	if p.req.Host != "" {
		req.Host = p.req.Host
	}
	return t.RoundTrip(req)
}

// read takes a message apart; why says what is wrong with one that is no answer to
// the question.
func (p *probe) read(b []byte) (m *dns.Msg, why string) {
	m = new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		// What does not fit may end anywhere.
		if !m.Truncated {
			return nil, fmt.Sprintf("an answer of %d bytes that is malformed: %.100s", len(b), strings.TrimPrefix(err.Error(), "dns: "))
		}
	}
	switch {
	case m.Id != p.ask.Id:
		return nil, fmt.Sprintf("an answer with id %d to the question with id %d", m.Id, p.ask.Id)
	case !m.Response:
		return nil, "a question in place of an answer"
	case len(m.Question) > 0 && !sameQuestion(m.Question[0], p.ask.Question[0]):
		return nil, fmt.Sprintf("an answer to another question, %.100q", m.Question[0].String())
	}
	return m, ""
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

// failRead says why no answer came; stray is what came in its place.
func (p *probe) failRead(phase protocol.Phase, err error, stray string) {
	switch {
	case stray != "":
		p.r.Fail(protocol.Malformed, phase, "no answer came, only %s", stray)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		p.r.Fail(protocol.ConnectionReset, phase, "the server closed the connection without a whole answer")
	case p.ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		p.r.FailError(phase, "no answer came", context.DeadlineExceeded)
	default:
		p.r.FailError(phase, "read the answer", err)
	}
}

// quiet asks another server the same, with a result of its own.
func (p *probe) quiet(text string) (*dns.Msg, protocol.Reason) {
	q := &probe{ctx: p.ctx, req: p.req, want: p.want, more: p.more, r: &protocol.Result{}, over: p.over, from: p.from, ask: p.ask}
	s, port, err := parseServer(text, p.over)
	if err != nil {
		return nil, protocol.Reason{Code: protocol.BadTarget, Words: err.Error()}
	}
	addr, ok := protocol.Lookup(p.ctx, p.req, s.host, p.want.IPProtocol, p.want.IPProtocolFallback, q.r)
	if !ok {
		return nil, q.r.Reason
	}
	s.addr = netip.AddrPortFrom(addr, port)
	m := q.exchange(s)
	return m, q.r.Reason
}
