package reach

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/time/rate"
)

const (
	// relayBuffer is how much is read at once per direction of a relayed connection.
	// Two are reserved per circuit; the library's 2 KiB would cost eight times the
	// system calls.
	relayBuffer = 16 << 10
	// Fleets stand behind one cloud NAT: per IP and ASN nearly as many as in all.
	maxSlots    = 2048
	maxCircuits = 1024 // per member
)

// relayResources replaces limits that are made for strangers (8 slots per IP, 32
// per ASN, 128 KiB and 2 minutes per connection): whom the ACL lets in is known.
func relayResources() relay.Resources {
	return relay.Resources{
		ReservationTTL:        time.Hour,
		MaxReservations:       maxSlots,
		MaxCircuits:           maxCircuits,
		BufferSize:            relayBuffer,
		MaxReservationsPerIP:  maxSlots / 2,
		MaxReservationsPerASN: maxSlots,
	}
}

// Limits raises what the resource manager allows relaying to what relays of this
// package need: 8,192 circuits, 1,024 per member. Call it after
// libp2p.SetDefaultServiceLimits.
func Limits(c *rcmgr.ScalingLimitConfig) {
	all := rcmgr.BaseLimit{Streams: 32768, StreamsInbound: 16384, StreamsOutbound: 16384, Memory: 512 << 20}
	one := rcmgr.BaseLimit{Streams: 4096, StreamsInbound: 2048, StreamsOutbound: 2048, Memory: 128 << 20}
	c.AddServiceLimit(relay.ServiceName, all, rcmgr.BaseLimitIncrease{})
	c.AddServicePeerLimit(relay.ServiceName, one, rcmgr.BaseLimitIncrease{})
	c.AddProtocolLimit(circuit.ProtoIDv2Hop, all, rcmgr.BaseLimitIncrease{})
	c.AddProtocolLimit(circuit.ProtoIDv2Stop, all, rcmgr.BaseLimitIncrease{})
	c.AddProtocolPeerLimit(circuit.ProtoIDv2Hop, one, rcmgr.BaseLimitIncrease{})
	c.AddProtocolPeerLimit(circuit.ProtoIDv2Stop, one, rcmgr.BaseLimitIncrease{})
}

// permitted is the relay's ACL.
type permitted func(peer.ID) bool

func (ok permitted) AllowReserve(p peer.ID, _ ma.Multiaddr) bool { return ok(p) }
func (ok permitted) AllowConnect(src peer.ID, _ ma.Multiaddr, dest peer.ID) bool {
	return ok(src) && ok(dest)
}

// service is the relay that this island is for others. Its methods are called
// from one goroutine.
type service struct {
	host    host.Host
	permit  permitted
	rate    int
	metrics *relayMetrics
	relay   *relay.Relay
	stop    context.CancelFunc
}

// set starts or stops relaying. Stopping refuses new circuits; those that run are
// left to end by themselves, or with their connections.
func (s *service) set(on bool) error {
	if on == (s.relay != nil) {
		return nil
	}
	if !on {
		s.relay.Close()
		s.stop()
		s.relay = nil
		s.metrics.serving.Set(0)
		s.metrics.slots.Set(0)
		return nil
	}
	// A waiting copy loop must not outlive the service.
	ctx, stop := context.WithCancel(context.Background())
	t := relayTracer{m: s.metrics, limited: s.rate > 0}
	if t.limited {
		limit := rate.NewLimiter(rate.Limit(s.rate), max(s.rate, relayBuffer))
		t.wait = func(n int) { _ = limit.WaitN(ctx, n) }
	}
	r, err := relay.New(s.host,
		relay.WithResources(relayResources()),
		relay.WithInfiniteLimits(),
		relay.WithACL(s.permit),
		// Sites may be joined by a private network only: its addresses are told too.
		relay.WithReservationAddressFilter(func(a ma.Multiaddr) bool { return !relayed(a) }),
		relay.WithMetricsTracer(t),
	)
	if err != nil {
		stop()
		return fmt.Errorf("start relaying: %w", err)
	}
	s.relay, s.stop = r, stop
	s.metrics.serving.Set(1)
	return nil
}
