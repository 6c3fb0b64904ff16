package carrier

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"
)

// Conn is a stream as a net.Conn.
type Conn struct {
	stream network.Stream
	rw     io.ReadWriter
	heard  atomic.Int64 // Unix ns of the last byte read
}

var _ net.Conn = (*Conn)(nil)

// Open opens a stream on c.
func Open(ctx context.Context, c network.Conn, id protocol.ID) (*Conn, error) {
	stream, err := c.NewStream(network.WithAllowLimitedConn(ctx, string(id)))
	if err != nil {
		return nil, fmt.Errorf("open a stream over %s: %w", c.RemoteMultiaddr(), err)
	}
	if err := stream.SetProtocol(id); err != nil {
		_ = stream.Reset()
		return nil, fmt.Errorf("open a stream over %s: %w", c.RemoteMultiaddr(), err)
	}
	return wrap(stream, mss.NewMSSelect(stream, id)), nil
}

func wrap(stream network.Stream, rw io.ReadWriter) *Conn {
	c := &Conn{stream: stream, rw: rw}
	c.heard.Store(time.Now().UnixNano())
	return c
}

// Peer is whose key the connection's handshake proved.
func (c *Conn) Peer() peer.ID { return c.stream.Conn().RemotePeer() }

// Over is the connection that carries the stream.
func (c *Conn) Over() network.Conn { return c.stream.Conn() }

// Heard is when the last byte came, or when the stream was opened.
func (c *Conn) Heard() time.Time { return time.Unix(0, c.heard.Load()) }

func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.rw.Read(b)
	if n > 0 {
		c.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

func (c *Conn) Write(b []byte) (int, error) { return c.rw.Write(b) }

// Close closes both directions.
func (c *Conn) Close() error { return c.stream.Close() }

// LocalAddr is this side of the connection.
func (c *Conn) LocalAddr() net.Addr {
	return Addr{c.stream.Conn().LocalPeer(), c.stream.Conn().LocalMultiaddr()}
}

// RemoteAddr is the other side of the connection.
func (c *Conn) RemoteAddr() net.Addr {
	return Addr{c.stream.Conn().RemotePeer(), c.stream.Conn().RemoteMultiaddr()}
}

// SetDeadline is net.Conn's.
func (c *Conn) SetDeadline(t time.Time) error { return c.stream.SetDeadline(t) }

// SetReadDeadline is net.Conn's.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.stream.SetReadDeadline(t) }

// SetWriteDeadline is net.Conn's.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.stream.SetWriteDeadline(t) }

// Addr names one side of a connection.
type Addr struct {
	Peer    peer.ID
	Address ma.Multiaddr
}

// Network is "atoll".
func (Addr) Network() string { return "atoll" }

func (a Addr) String() string { return a.Address.String() + "/p2p/" + a.Peer.String() }
