package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Bounds of what a server says over a websocket.
const (
	maxMessage  = 1 << 20
	maxMessages = 1000
)

// Socket upgrades a connection, says what the module has to say, and waits for an
// answer that it expects. The module's http keys say how to connect.
func Socket(ctx context.Context, req *protocol.Request) *protocol.Result {
	plain := *req
	plain.Target = webScheme(req.Target)
	p := &probe{ctx: ctx, req: &plain, module: req.Module, want: &req.Module.HTTP, r: &protocol.Result{Start: time.Now()}}
	s := &socket{probe: p}
	if a, ok := p.first(); ok {
		s.play(a)
	}
	p.r.Add("probe_websocket_connected", number(s.connected))
	p.r.Add("probe_websocket_messages_received", float64(s.messages))
	p.r.Add("probe_http_status_code", float64(p.seen.status))
	if w := p.seen.watch; w != nil {
		if p.r.Reason.Code == "" {
			p.certify(w)
		}
		w.Record(req.Keep, p.r)
	}
	return p.r.Finish(&p.module.Expect)
}

// webScheme makes a URL of the web of one of a websocket.
func webScheme(target string) string {
	if rest, ok := strings.CutPrefix(target, "ws://"); ok {
		return "http://" + rest
	}
	if rest, ok := strings.CutPrefix(target, "wss://"); ok {
		return "https://" + rest
	}
	return target
}

type socket struct {
	*probe
	connected bool
	messages  int
}

func (s *socket) play(a *ask) {
	c, ok := s.upgrade(a)
	if !ok {
		return
	}
	defer c.Close()
	s.connected = true
	c.SetReadLimit(maxMessage)
	want := &s.module.WebSocket
	start := time.Now()
	if want.Send != "" {
		if err := c.WriteMessage(websocket.TextMessage, []byte(want.Send)); err != nil {
			s.r.FailError(protocol.Sent, "send the message", err)
			return
		}
	}
	s.r.Phases[protocol.Sent] += time.Since(start)
	if want.Expect.Regexp != nil {
		s.await(c)
	}
	if s.r.Reason.Code == "" {
		_ = c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
	}
}

// await reads messages until one is as expected.
func (s *socket) await(c *websocket.Conn) {
	re := s.module.WebSocket.Expect
	start := time.Now()
	defer func() { s.r.Phases[protocol.Transfer] += time.Since(start) }()
	var last []byte
	for s.messages < maxMessages {
		_, message, err := c.ReadMessage()
		if err != nil {
			s.failMessage(err, last)
			return
		}
		s.messages++
		if re.Match(message) {
			return
		}
		last = message
	}
	s.r.Fail(protocol.Answer, protocol.Transfer, "none of %d messages matches %.100q, the last is %.100q", s.messages, re.String(), last)
}

func (s *socket) failMessage(err error, last []byte) {
	said := "no message came"
	if s.messages > 0 {
		said = fmt.Sprintf("%d messages came, the last %.100q", s.messages, last)
	}
	var closed *websocket.CloseError
	switch {
	case errors.Is(err, websocket.ErrReadLimit):
		s.r.Fail(protocol.TooLarge, protocol.Transfer, "a message has more than %s", bytesOf(maxMessage))
	case s.late(err):
		s.r.Fail(protocol.TransferTimeout, protocol.Transfer, "%s, none matches %.100q in time", said, s.module.WebSocket.Expect.String())
	case errors.As(err, &closed) && closed.Code != websocket.CloseProtocolError && closed.Code != websocket.CloseAbnormalClosure:
		s.r.Fail(protocol.Answer, protocol.Transfer, "the server closed (%d %.80q); %s", closed.Code, closed.Text, said)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &closed) && closed.Code == websocket.CloseAbnormalClosure:
		s.r.Fail(protocol.ConnectionReset, protocol.Transfer, "the server dropped the connection; %s", said)
	case isNetwork(err):
		s.r.FailError(protocol.Transfer, "read a message", err)
	default:
		s.r.Fail(protocol.Malformed, protocol.Transfer, "read a message: %.150q", strings.TrimPrefix(err.Error(), "websocket: "))
	}
}

// upgrade connects and asks for a websocket.
func (s *socket) upgrade(a *ask) (*websocket.Conn, bool) {
	conn, ok := s.connect(a)
	if !ok {
		return nil, false
	}
	l := &laps{start: time.Now()}
	watched := &handshakeConn{Conn: conn, laps: l, left: maxHeader}
	dial := func(context.Context, string, string) (net.Conn, error) { return watched, nil }
	d := websocket.Dialer{NetDialContext: dial, NetDialTLSContext: dial, Subprotocols: s.module.WebSocket.Subprotocols, ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10}
	header := a.Header.Clone()
	if a.Host != a.URL.Host {
		header.Set("Host", a.Host)
	}
	u := *a.URL
	u.User = nil
	u.Scheme = map[string]string{"http": "ws", "https": "wss"}[u.Scheme]
	c, resp, err := d.DialContext(s.ctx, u.String(), header) //nolint:bodyclose // its body is the connection's, which is closed
	if resp != nil {
		s.seen.status = resp.StatusCode
	}
	l.end(s.r)
	if err != nil {
		conn.Close()
		s.failUpgrade(resp, watched, err)
		return nil, false
	}
	watched.open()
	return c, true
}

// connect is exchange without the request.
func (s *socket) connect(a *ask) (net.Conn, bool) {
	if unusual(s.want) || s.want.UseHTTP3 {
		s.r.Fail(protocol.Internal, protocol.Connect, "a websocket is probed without proxy, oauth2, http_headers and HTTP/3")
		return nil, false
	}
	conn, ok := s.dial(a)
	if !ok || a.URL.Scheme != "https" {
		return conn, ok
	}
	w, ok := s.watcher(a)
	if !ok {
		conn.Close()
		return nil, false
	}
	secure, err := w.Client(s.ctx, conn, s.r)
	if err != nil {
		conn.Close()
		return nil, false
	}
	return secure, true
}

func (s *socket) failUpgrade(resp *http.Response, c *handshakeConn, err error) {
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		s.r.Fail(protocol.Status, protocol.FirstByte, "status %d %s, want 101 Switching Protocols", resp.StatusCode, http.StatusText(resp.StatusCode))
	case errors.Is(err, websocket.ErrBadHandshake):
		s.r.Fail(protocol.Malformed, protocol.FirstByte, "the server agreed to upgrade without the headers of RFC 6455")
	case c.began():
		s.failAnswer(protocol.Transfer, err, nil)
	default:
		s.failAnswer(protocol.FirstByte, err, nil)
	}
}

// handshakeConn times and bounds the upgrade; gorilla's client sets deadlines of its
// own, which must not outlast the context's.
type handshakeConn struct {
	net.Conn
	laps *laps
	mu   sync.Mutex
	left int // bytes that the headers may still have, -1 once they ended
}

func (c *handshakeConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.laps.mu.Lock()
	defer c.laps.mu.Unlock()
	if c.laps.first.IsZero() {
		c.laps.sent = time.Now()
	}
	return n, err
}

func (c *handshakeConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	left := c.left
	c.mu.Unlock()
	if left == 0 {
		return 0, errHeader
	}
	if left > 0 {
		b = b[:min(len(b), left)]
	}
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	if c.left > 0 {
		c.left -= n
	}
	c.mu.Unlock()
	c.laps.mu.Lock()
	defer c.laps.mu.Unlock()
	if c.laps.first.IsZero() && n > 0 {
		c.laps.first = time.Now()
	}
	return n, err
}

// open lifts the bound once the headers are read.
func (c *handshakeConn) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = -1
}

func (c *handshakeConn) began() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left < maxHeader
}

// The deadline is the context's, set when the connection was made.
func (c *handshakeConn) SetDeadline(time.Time) error      { return nil }
func (c *handshakeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *handshakeConn) SetWriteDeadline(time.Time) error { return nil }
