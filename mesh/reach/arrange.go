package reach

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	mss "github.com/multiformats/go-multistream"

	"github.com/atoll-mesh/atoll/mesh/gate"
)

const (
	// arrangeTimeout bounds how long opening the punching protocol may take.
	arrangeTimeout = 10 * time.Second
	// secondTurn is how much later than the other side an island begins with punching
	// whose turn it is not: an attempt of that side is under way by then, if it knows
	// of the same connections.
	secondTurn = 15 * time.Second
)

// turn says how much later than it is due an attempt of this island's begins, or false
// where it cannot. Only the side that was connected to may open the punching protocol.
// Where both were, as when two islands connected to each other at once, the one with
// the lower ID goes first: attempts of both, made at once, would take part in each
// other's dials, in each other's role, and fail. The other one does not wait for ever,
// for it may know of a connection that is dead.
func turn(self, other peer.ID, conns []network.Conn) (later time.Duration, may bool) {
	in, out := false, false
	for _, c := range conns {
		if gate.Dialled(c) {
			out = true
		} else {
			in = true
		}
	}
	if in && out && self > other {
		later = secondTurn
	}
	return later, in
}

// identified reports whether a peer has said what it speaks.
func identified(h host.Host, id peer.ID) bool {
	protos, err := h.Peerstore().GetProtocols(id)
	return err == nil && len(protos) > 0
}

// arranged is the host as the library's service for punching sees it. Nothing that
// connects is told to it: it would punch by itself, and both sides at once where both
// were connected to. What it opens goes over a connection that the peer made, and of
// what it is asked it hears who made the connection: it refuses all else.
type arranged struct{ host.Host }

func (h arranged) Network() network.Network { return deaf{h.Host.Network()} }

// NewStream takes the latest connection: those before it may be dead.
func (h arranged) NewStream(ctx context.Context, id peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	var latest network.Conn
	for _, c := range h.Host.Network().ConnsToPeer(id) {
		if Relayed(c) && !gate.Dialled(c) && (latest == nil || c.Stat().Opened.After(latest.Stat().Opened)) {
			latest = c
		}
	}
	if latest == nil || len(protocols) != 1 {
		return nil, errors.New("no relayed connection that the peer made is left")
	}
	return openOver(ctx, latest, protocols[0])
}

func (h arranged) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	h.Host.SetStreamHandler(id, func(s network.Stream) { handle(asked{s}) })
}

func openOver(ctx context.Context, c network.Conn, id protocol.ID) (network.Stream, error) {
	s, err := c.NewStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a stream over %s: %w", c.RemoteMultiaddr(), err)
	}
	err = errors.Join(s.SetProtocol(id), s.SetDeadline(time.Now().Add(arrangeTimeout)))
	if err == nil {
		err = mss.SelectProtoOrFail(id, s)
	}
	if err == nil {
		err = s.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = s.Reset()
		return nil, fmt.Errorf("speak %s over %s: %w", id, c.RemoteMultiaddr(), err)
	}
	return s, nil
}

type deaf struct{ network.Network }

func (deaf) Notify(network.Notifiee)     {}
func (deaf) StopNotify(network.Notifiee) {}

// asked is a stream that the peer opened.
type asked struct{ network.Stream }

func (s asked) Conn() network.Conn { return directed{s.Stream.Conn()} }

// directed is a connection that says truly who made it.
type directed struct{ network.Conn }

func (c directed) Stat() network.ConnStats {
	stat := c.Conn.Stat()
	if gate.Dialled(c.Conn) {
		stat.Direction = network.DirOutbound
	}
	return stat
}
