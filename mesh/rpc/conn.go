package rpc

import (
	"net"
	"sync"
	"sync/atomic"
)

// countedConn counts bytes and tells when it was closed, once.
type countedConn struct {
	net.Conn
	m     *wireMetrics
	heard func() // bytes came; may be nil
	read  atomic.Bool

	mu     sync.Mutex
	closed bool
	after  []func()
}

// opened counts the connection and notes what to do when it is closed.
func (c *countedConn) opened(after func()) {
	c.m.open.Inc()
	c.onClose(c.m.open.Dec)
	c.onClose(after)
}

// onClose calls f when the connection is closed, or at once where it is.
func (c *countedConn) onClose(f func()) {
	c.mu.Lock()
	if !c.closed {
		c.after = append(c.after, f)
		f = nil
	}
	c.mu.Unlock()
	if f != nil {
		f()
	}
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.m.received.Add(float64(n))
		c.read.Store(true)
		if c.heard != nil {
			c.heard()
		}
	}
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.m.sent.Add(float64(n))
	}
	return n, err
}

func (c *countedConn) Close() error {
	c.mu.Lock()
	after := c.after
	c.closed, c.after = true, nil
	c.mu.Unlock()
	for _, f := range after {
		f()
	}
	return c.Conn.Close()
}
