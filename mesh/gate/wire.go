package gate

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Wires finds what a TCP connection carried by its two addresses.
type Wires struct{ m sync.Map } // "local remote" → *Wire

// Of returns the wire below a connection, or nil where it is not direct TCP.
func (w *Wires) Of(c network.ConnMultiaddrs) *Wire {
	v, ok := w.m.Load(wireKey(c))
	if !ok {
		return nil
	}
	return v.(*Wire)
}

func wireKey(c network.ConnMultiaddrs) string {
	return c.LocalMultiaddr().String() + " " + c.RemoteMultiaddr().String()
}

// Wire is a TCP connection below encryption. Its counts are of TCP's payload.
type Wire struct {
	manet.Conn
	key   string
	wires *Wires

	in, out atomic.Uint64
}

func (w *Wires) add(c manet.Conn) *Wire {
	wire := &Wire{Conn: c, key: wireKey(c), wires: w}
	w.m.Store(wire.key, wire)
	wire.preferBBR()
	return wire
}

// Bytes returns how many bytes came in and went out.
func (w *Wire) Bytes() (in, out uint64) { return w.in.Load(), w.out.Load() }

func (w *Wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.in.Add(uint64(n))
	return n, err
}

func (w *Wire) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.out.Add(uint64(n))
	return n, err
}

// Close closes the connection.
func (w *Wire) Close() error {
	w.wires.m.CompareAndDelete(w.key, w)
	return w.Conn.Close()
}

// The methods below are those that libp2p looks for on a raw TCP connection.

// SetLinger is net.TCPConn's.
func (w *Wire) SetLinger(sec int) error {
	if c, ok := w.Conn.(interface{ SetLinger(int) error }); ok {
		return c.SetLinger(sec)
	}
	return nil
}

// SetKeepAlive is net.TCPConn's.
func (w *Wire) SetKeepAlive(on bool) error {
	if c, ok := w.Conn.(interface{ SetKeepAlive(bool) error }); ok {
		return c.SetKeepAlive(on)
	}
	return nil
}

// SetKeepAlivePeriod is net.TCPConn's.
func (w *Wire) SetKeepAlivePeriod(d time.Duration) error {
	if c, ok := w.Conn.(interface{ SetKeepAlivePeriod(time.Duration) error }); ok {
		return c.SetKeepAlivePeriod(d)
	}
	return nil
}

func (w *Wire) raw() (syscall.RawConn, bool) {
	c, ok := w.Conn.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := c.SyscallConn()
	return raw, err == nil
}

// wired is an upgrader that sees each TCP connection before it is upgraded.
type wired struct {
	transport.Upgrader
	wires *Wires
}

func (u wired) GateMaListener(l manet.Listener) transport.GatedMaListener {
	return wiredListener{u.Upgrader.GateMaListener(l), u.wires}
}

func (u wired) Upgrade(ctx context.Context, t transport.Transport, c manet.Conn, dir network.Direction, p peer.ID, s network.ConnManagementScope) (transport.CapableConn, error) {
	return u.Upgrader.Upgrade(ctx, t, u.wires.add(c), dir, p, s)
}

type wiredListener struct {
	transport.GatedMaListener
	wires *Wires
}

func (l wiredListener) Accept() (manet.Conn, network.ConnManagementScope, error) {
	c, s, err := l.GatedMaListener.Accept()
	if err != nil {
		return nil, nil, err
	}
	return l.wires.add(c), s, nil
}
