package replica

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// wireEnd is one end of a connection in memory that delivers what is written after a delay and
// counts it. Under synctest the delay is exact.
type wireEnd struct {
	in, out *half
	from    wireAddr
	once    sync.Once
	cut     chan struct{}
}

type wireAddr string

func (wireAddr) Network() string  { return "wire" }
func (a wireAddr) String() string { return string(a) }

type half struct {
	delay time.Duration
	bytes *atomic.Int64

	mu     sync.Mutex
	queue  []packet
	wake   chan struct{}
	closed bool
}

type packet struct {
	due  time.Time
	data []byte
}

func newHalf(delay time.Duration, bytes *atomic.Int64) *half {
	return &half{delay: delay, bytes: bytes, wake: make(chan struct{}, 1)}
}

func (h *half) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *half) write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, io.ErrClosedPipe
	}
	h.bytes.Add(int64(len(b)))
	h.queue = append(h.queue, packet{time.Now().Add(h.delay), append([]byte(nil), b...)})
	h.poke()
	return len(b), nil
}

func (h *half) read(b []byte, cut <-chan struct{}) (int, error) {
	for {
		h.mu.Lock()
		left := time.Hour
		if len(h.queue) > 0 {
			if left = time.Until(h.queue[0].due); left <= 0 {
				n := copy(b, h.queue[0].data)
				if h.queue[0].data = h.queue[0].data[n:]; len(h.queue[0].data) == 0 {
					h.queue = h.queue[1:]
				}
				h.mu.Unlock()
				return n, nil
			}
		} else if h.closed {
			h.mu.Unlock()
			return 0, io.EOF
		}
		h.mu.Unlock()
		t := time.NewTimer(left)
		select {
		case <-h.wake:
		case <-t.C:
		case <-cut:
			t.Stop()
			return 0, io.ErrClosedPipe
		}
		t.Stop()
	}
}

func (h *half) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.poke()
}

// traffic counts the bytes of one direction each.
type traffic struct{ up, down atomic.Int64 }

func newWire(from string, delay time.Duration, t *traffic) (client, server *wireEnd) {
	up, down := newHalf(delay, &t.up), newHalf(delay, &t.down)
	cut := make(chan struct{})
	client = &wireEnd{in: down, out: up, from: "server", cut: make(chan struct{})}
	server = &wireEnd{in: up, out: down, from: wireAddr(from), cut: cut}
	return client, server
}

func (e *wireEnd) Read(b []byte) (int, error)  { return e.in.read(b, e.cut) }
func (e *wireEnd) Write(b []byte) (int, error) { return e.out.write(b) }
func (e *wireEnd) Close() error {
	e.once.Do(func() {
		close(e.cut)
		e.out.close()
	})
	return nil
}
func (e *wireEnd) LocalAddr() net.Addr              { return wireAddr("here") }
func (e *wireEnd) RemoteAddr() net.Addr             { return e.from }
func (e *wireEnd) SetDeadline(time.Time) error      { return nil }
func (e *wireEnd) SetReadDeadline(time.Time) error  { return nil }
func (e *wireEnd) SetWriteDeadline(time.Time) error { return nil }

// wireListener hands server ends to a gRPC server.
type wireListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newWireListener() *wireListener {
	return &wireListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *wireListener) dial(ctx context.Context, from string, delay time.Duration, t *traffic) (net.Conn, error) {
	client, server := newWire(from, delay, t)
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, errors.New("the server is gone")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *wireListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *wireListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}
func (l *wireListener) Addr() net.Addr { return wireAddr("listener") }
