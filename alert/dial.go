package alert

import (
	"context"
	"net"
	"sync"
	"time"
)

// dialer opens the connections of one configuration's integrations and closes
// them with it. Alertmanager leaves idle ones of a replaced configuration to
// their timeout, five minutes and two goroutines each.
type dialer struct {
	net.Dialer

	mu     sync.Mutex
	closed bool
	conns  map[*trackedConn]struct{}
}

func newDialer() *dialer {
	return &dialer{
		Dialer: net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second},
		conns:  map[*trackedConn]struct{}{},
	}
}

type trackedConn struct {
	net.Conn
	owner *dialer
}

// Close closes the connection and forgets it.
func (c *trackedConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.conns, c)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: conn, owner: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	d.conns[c] = struct{}{}
	return c, nil
}

func (d *dialer) closeAll() {
	d.mu.Lock()
	d.closed = true
	conns := make([]*trackedConn, 0, len(d.conns))
	for c := range d.conns {
		conns = append(conns, c)
	}
	d.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}
