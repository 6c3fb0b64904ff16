package reach

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	identifypb "github.com/libp2p/go-libp2p/p2p/protocol/identify/pb"
	"github.com/libp2p/go-msgio/pbio"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"
)

const (
	// sightEvery is how often a relay is asked that could not be, or whose word was lost.
	sightEvery   = 10 * time.Minute
	sightTick    = 30 * time.Second
	sightTimeout = 5 * time.Second
	// maxIdentify is the library's bound of one message.
	maxIdentify = 8 << 10
)

// sight has relays say under which address they see this island over QUIC, where it is
// connected to them over TCP only. Holes for TCP cannot be punched again soon after an
// attempt failed: the mapping that it left lets the other side's SYN through before
// this island dials. Its listener answers, out of the window that the NAT remembers, and
// for a minute the half-open connection keeps dials from the port. Packets of QUIC have
// no such memory.
func (r *Reach) sight(ctx context.Context) {
	asked := map[peer.ID]time.Time{}
	tick := time.NewTicker(sightTick)
	defer tick.Stop()
	for {
		if r.sightAgain.Swap(false) {
			clear(asked)
		}
		held := map[peer.ID]bool{}
		for _, relay := range r.relays.list() {
			held[relay.Relay] = true
			if time.Since(asked[relay.Relay]) < sightEvery || !r.unseen(relay.Relay) {
				continue
			}
			asked[relay.Relay] = time.Now()
			if err := r.sightBy(ctx, relay.Relay); err != nil && ctx.Err() == nil {
				r.log.Debug("a relay did not say how it sees this island over QUIC", "relay", relay.Relay, "err", err)
			}
		}
		for id := range asked {
			if !held[id] {
				delete(asked, id)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-r.sightKick:
		case <-tick.C:
		}
	}
}

// unseen reports whether a relay is connected over TCP and sees nothing over QUIC.
func (r *Reach) unseen(relay peer.ID) bool {
	c := direct(r.bound().Network().ConnsToPeer(relay))
	if c == nil {
		return false
	}
	e, ok := endpointOf(c.RemoteMultiaddr())
	return ok && e.proto == "tcp" && !r.book.has(observer{relay, family{proto: "udp", v6: e.family().v6}})
}

// sightBy makes a connection over QUIC beside the one that there is, for as long as
// the relay needs to identify itself on it.
func (r *Reach) sightBy(ctx context.Context, relay peer.ID) error {
	h := r.bound()
	swarm, ok := h.Network().(interface {
		TransportForDialing(ma.Multiaddr) transport.Transport
	})
	current := direct(h.Network().ConnsToPeer(relay))
	if !ok || current == nil {
		return nil
	}
	over, _ := endpointOf(current.RemoteMultiaddr())
	ctx, cancel := context.WithTimeout(ctx, sightTimeout)
	defer cancel()
	err := fmt.Errorf("%s has no address for QUIC at %s", r.name(relay), over.ip)
	for _, a := range h.Peerstore().Addrs(relay) {
		if e, ok := endpointOf(a); !ok || transportName(a) != "quic" || e.ip != over.ip {
			continue
		}
		t := swarm.TransportForDialing(a)
		if t == nil {
			return nil // this island does not speak QUIC
		}
		if err = r.sightOver(ctx, t, a, relay); err == nil {
			return nil
		}
	}
	return err
}

func (r *Reach) sightOver(ctx context.Context, t transport.Transport, a ma.Multiaddr, relay peer.ID) error {
	c, err := t.Dial(ctx, a, relay)
	if err != nil {
		return fmt.Errorf("dial %s: %w", a, err)
	}
	defer c.Close()
	s, err := c.OpenStream(ctx)
	if err != nil {
		return fmt.Errorf("open a stream to %s: %w", a, err)
	}
	defer func() { _ = s.Reset() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = s.SetDeadline(deadline) // QUIC's can be set
	}
	if err := mss.SelectProtoOrFail(identify.ID, s); err != nil {
		return fmt.Errorf("ask %s to identify itself: %w", a, err)
	}
	var m identifypb.Identify
	if err := pbio.NewDelimitedReader(s, maxIdentify).ReadMsg(&m); err != nil {
		return fmt.Errorf("hear how %s sees this island: %w", a, err)
	}
	observed, err := ma.NewMultiaddrBytes(m.GetObservedAddr())
	if err != nil {
		return fmt.Errorf("hear how %s sees this island: %w", a, err)
	}
	if r.book.add(relay, c.RemoteMultiaddr(), c.LocalMultiaddr(), observed, r.listenPorts(), time.Now()) {
		poke(r.kick)
		r.punch.again("")
	}
	return nil
}
