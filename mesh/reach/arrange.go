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
)

// arrangeTimeout bounds how long opening the punching protocol may take.
const arrangeTimeout = 10 * time.Second

// arranges reports whether it is this island that begins with punching. Only the side
// that was connected to may open the protocol. Where both were, as when two islands
// connected to each other at once, the one with the lower ID does: attempts of both,
// made at once, would take part in each other's dials, in each other's role, and fail.
func arranges(self, other peer.ID, conns []network.Conn) bool {
	in, out := false, false
	for _, c := range conns {
		in = in || c.Stat().Direction == network.DirInbound
		out = out || c.Stat().Direction == network.DirOutbound
	}
	return in && (!out || self < other)
}

// identified reports whether a peer has said what it speaks.
func identified(h host.Host, id peer.ID) bool {
	protos, err := h.Peerstore().GetProtocols(id)
	return err == nil && len(protos) > 0
}

// arranged is the host as the library's service for punching sees it. Nothing that
// connects is told to it: it would punch by itself, and both sides at once where both
// were connected to. And what it opens goes over a connection that the peer made, lest
// that refuses it.
type arranged struct{ host.Host }

func (h arranged) Network() network.Network { return deaf{h.Host.Network()} }

func (h arranged) NewStream(ctx context.Context, id peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	for _, c := range h.Host.Network().ConnsToPeer(id) {
		if len(protocols) == 1 && Relayed(c) && c.Stat().Direction == network.DirInbound {
			return openOver(ctx, c, protocols[0])
		}
	}
	return nil, errors.New("no relayed connection that the peer made is left")
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
