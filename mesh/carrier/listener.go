package carrier

import (
	"net"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// backlog is how many streams may wait for Accept.
const backlog = 256

// Listener is a net.Listener for the streams of one protocol.
type Listener struct {
	self    peer.ID
	streams chan network.Stream
	closed  chan struct{}
	once    sync.Once
}

var _ net.Listener = (*Listener)(nil)

// NewListener returns a listener whose Handle is to be registered.
func NewListener(self peer.ID) *Listener {
	return &Listener{self: self, streams: make(chan network.Stream, backlog), closed: make(chan struct{})}
}

// Handle takes a stream that a peer opened.
func (l *Listener) Handle(s network.Stream) {
	select {
	case <-l.closed:
		_ = s.Reset()
		return
	default:
	}
	select {
	case l.streams <- s:
	default:
		_ = s.ResetWithError(network.StreamResourceLimitExceeded)
	}
}

// Accept waits for a stream.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case s := <-l.streams:
		return wrap(s, s), nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and resets what it did not take.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	for {
		select {
		case s := <-l.streams:
			_ = s.Reset()
		default:
			return nil
		}
	}
}

// Addr is this island.
func (l *Listener) Addr() net.Addr { return Addr{Peer: l.self, Address: ma.StringCast("/memory/0")} }
