package gate

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/transport"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/trust"
)

var errNoTCP = errors.New("dial over TCP: this island does not listen on TCP")

// Door takes over the connection of somebody who is no member, and closes it. It
// must not block.
type Door func(transport.CapableConn)

// Transports builds libp2p's TCP and QUIC transports with listeners that hand
// guests to one door and outcasts to another.
type Transports struct {
	gate             *Gate
	guests, outcasts Door
	// Wires counts what the TCP connections carry.
	Wires Wires

	mu     sync.Mutex
	listen *listener         // the first one; nil before
	tcp    *tcp.TcpTransport // the first that listens; nil before
}

// NewTransports returns the constructors for one host.
func NewTransports(g *Gate, guests, outcasts Door) *Transports {
	return &Transports{gate: g, guests: guests, outcasts: outcasts}
}

// TCP is a constructor for libp2p.Transport.
func (ts *Transports) TCP(u transport.Upgrader, rm network.ResourceManager) (transport.Transport, error) {
	inner, err := tcp.NewTCPTransport(wired{u, &ts.Wires}, rm, nil)
	if err != nil {
		return nil, err
	}
	return &tcpTransport{TcpTransport: inner, ts: ts}, nil
}

// QUIC is a constructor for libp2p.Transport.
func (ts *Transports) QUIC(key crypto.PrivKey, cm *quicreuse.ConnManager, psk pnet.PSK, g connmgr.ConnectionGater, rm network.ResourceManager) (transport.Transport, error) {
	inner, err := libp2pquic.NewTransport(key, cm, psk, g, rm)
	if err != nil {
		return nil, err
	}
	return &quicTransport{Transport: inner, ts: ts}, nil
}

// tcpTransport keeps what *tcp.TcpTransport has beside Transport: DialWithUpdates,
// by which the swarm learns that a TCP handshake got through.
type tcpTransport struct {
	*tcp.TcpTransport
	ts *Transports
}

var _ transport.DialUpdater = (*tcpTransport)(nil)

func (t *tcpTransport) Listen(a ma.Multiaddr) (transport.Listener, error) {
	l, err := t.TcpTransport.Listen(a)
	if err != nil {
		return nil, err
	}
	w := newListener(l, t.ts)
	t.ts.mu.Lock()
	defer t.ts.mu.Unlock()
	if t.ts.tcp == nil {
		t.ts.listen, t.ts.tcp = w, t.TcpTransport
	}
	return w, nil
}

type quicTransport struct {
	transport.Transport
	ts *Transports
}

// ListenOrder makes the swarm listen on QUIC first, as libp2p's own does.
func (t *quicTransport) ListenOrder() int { return libp2pquic.ListenOrder }

func (t *quicTransport) Close() error {
	if c, ok := t.Transport.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (t *quicTransport) Listen(a ma.Multiaddr) (transport.Listener, error) {
	l, err := t.Transport.Listen(a)
	if err != nil {
		return nil, err
	}
	w := newListener(l, t.ts)
	t.ts.mu.Lock()
	defer t.ts.mu.Unlock()
	if t.ts.listen == nil {
		t.ts.listen = w
	}
	return w, nil
}

// listener sorts what a transport accepted: members to the swarm, guests and
// outcasts to their doors. Connections that this island dialled itself beside an existing one come
// in here too, because the swarm never dials a peer twice.
type listener struct {
	transport.Listener
	ts     *Transports
	out    chan transport.CapableConn
	closed chan struct{}
	close  func()
	done   chan struct{} // closed when sort ended, err set before
	err    error
}

// handover is how many members may wait for the swarm. libp2p's QUIC listener
// holds 16 and drops what comes on top ("queue full"), so it should be emptied as
// fast as can be. Dozens in one instant still lose some, who must dial again.
const handover = 128

func newListener(l transport.Listener, ts *Transports) *listener {
	w := &listener{
		Listener: l, ts: ts,
		out:    make(chan transport.CapableConn, handover),
		closed: make(chan struct{}),
		done:   make(chan struct{}),
	}
	w.close = sync.OnceFunc(func() { close(w.closed) })
	go w.sort()
	return w
}

// sort ends when the transport's listener is closed.
func (l *listener) sort() {
	defer close(l.done)
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.err = err
			return
		}
		switch standing := l.ts.gate.Standing(c.RemotePeer()); standing {
		case trust.MemberStanding:
			select {
			case l.out <- c:
			case <-l.closed:
				_ = c.Close()
			}
		case trust.Guest:
			l.ts.guests(c)
		default:
			if !l.ts.gate.outcast(c.RemotePeer()) { // the roster changed since the handshake
				_ = c.CloseWithError(network.ConnGated)
				continue
			}
			l.ts.gate.refused(c.RemotePeer(), c.RemoteMultiaddr(), reason(standing))
			l.ts.outcasts(c)
		}
	}
}

func (l *listener) Close() error {
	l.close()
	err := l.Listener.Close()
	<-l.done // nothing is handed over any more but by Inject, which looks at closed
	l.drain()
	return err
}

func (l *listener) drain() {
	for {
		select {
		case c := <-l.out:
			_ = c.Close()
		default:
			return
		}
	}
}

func (l *listener) Accept() (transport.CapableConn, error) {
	select {
	case c := <-l.out:
		return c, nil
	case <-l.done:
		return nil, l.err
	}
}

// Inject dials a member over TCP and hands the connection to the swarm. The swarm
// itself dials nobody it is connected to.
func (ts *Transports) Inject(ctx context.Context, a ma.Multiaddr, p peer.ID) error {
	ts.mu.Lock()
	tpt := ts.tcp
	ts.mu.Unlock()
	if tpt == nil {
		return errNoTCP
	}
	c, err := tpt.Dial(ctx, a, p)
	if err != nil {
		return err
	}
	return ts.Hand(ctx, c)
}

// Hand gives a connection that this island dialled to the swarm, which takes it for
// an inbound one (Dialled knows better); with an error it is closed.
func (ts *Transports) Hand(ctx context.Context, c transport.CapableConn) error {
	ts.mu.Lock()
	l := ts.listen
	ts.mu.Unlock()
	if l == nil {
		_ = c.Close()
		return transport.ErrListenerClosed
	}
	select {
	case l.out <- handed{c}:
		select {
		case <-l.closed: // perhaps after Close has drained
			l.drain()
		default:
		}
		return nil
	case <-l.closed:
		_ = c.Close()
		return transport.ErrListenerClosed
	case <-ctx.Done():
		_ = c.Close()
		return ctx.Err()
	}
}
