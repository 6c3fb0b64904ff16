package session

import (
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"

	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/trust"
)

// maxHeld is how many streams of one peer may wait for its hello.
const maxHeld = 64

// Always lists what a roster member may speak whatever its standing.
func Always() []protocol.ID { return []protocol.ID{Protocol, ping.ID, identify.ID, identify.IDPush} }

// Gate returns a swarm's stream handler that negotiates as libp2p's host does
// and then asks the peer's standing. Peers in quarantine may speak what is in
// quarantined too. turnedAway counts the streams that were reset.
func (s *Sessions) Gate(mux protocol.Switch, quarantined []protocol.ID, turnedAway func(Standing)) network.StreamHandler {
	always := append(Always(), s.o.Open...)
	return func(stream network.Stream) {
		k, ok := ident.Key(stream.Conn().RemotePeer())
		if !ok || s.o.State().Standing(k) != trust.MemberStanding {
			_ = stream.ResetWithError(network.StreamGated) // its connection is about to end
			return
		}
		_ = stream.SetDeadline(time.Now().Add(Timeout))
		id, handle, err := mux.Negotiate(stream)
		if err != nil {
			_ = stream.ResetWithError(network.StreamProtocolNegotiationFailed)
			return
		}
		if !slices.Contains(always, id) {
			standing := s.settle(k)
			if standing != Member && (standing != Quarantined || !slices.Contains(quarantined, id)) {
				turnedAway(standing)
				_ = stream.ResetWithError(network.StreamGated)
				return
			}
		}
		_ = stream.SetDeadline(time.Time{})
		if err := stream.SetProtocol(id); err != nil {
			_ = stream.ResetWithError(network.StreamResourceLimitExceeded)
			return
		}
		_ = handle(id, stream) // handlers end their streams, and tell of errors, themselves
	}
}

// settle returns a peer's standing, waiting for its hello where there was none
// and not too many wait already.
func (s *Sessions) settle(k trust.Key) Standing {
	if standing := s.Standing(k); standing != Pending {
		return standing
	}
	e := s.entry(k)
	s.mu.Lock()
	if e.held >= maxHeld {
		s.mu.Unlock()
		return Pending
	}
	e.held++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		e.held--
		s.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	standing, err := s.Wait(ctx, k)
	if err != nil {
		return Pending
	}
	return standing
}
