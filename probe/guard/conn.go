package guard

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// tcpConn closes in the way that costs the least.
//
// The side that closes first keeps the pair of ports for a minute (TIME_WAIT):
// 2000 probes a second through one proxy or balancer would use up all of its 28,000.
// If the server has closed, that is its burden, and the connection ends in the
// usual way. If not, the connection is reset, and nothing remains on either side;
// the answer has been read then, or nobody wants it any more. A prober that owes the
// server a farewell (QUIT) waits for the server's end, and so closes second.
type tcpConn struct {
	*net.TCPConn
	ended atomic.Bool
}

// Read implements net.Conn.
func (c *tcpConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if errors.Is(err, io.EOF) {
		c.ended.Store(true)
	}
	return n, err
}

// Close implements net.Conn.
func (c *tcpConn) Close() error {
	if !c.ended.Load() {
		_ = c.SetLinger(0) // of a connection that is gone already
	}
	return c.TCPConn.Close()
}

// vouched are addresses that an allowed name has.
type vouched struct {
	mu    sync.Mutex
	addrs []netip.Addr
}

// mostVouched bounds what a hostile name server can make a probe remember.
const mostVouched = 256

func (v *vouched) add(addrs []netip.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, a := range addrs {
		if len(v.addrs) < mostVouched {
			v.addrs = append(v.addrs, a.WithZone("").Unmap())
		}
	}
}

func (v *vouched) has(a netip.Addr) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Contains(v.addrs, a.WithZone("").Unmap())
}
