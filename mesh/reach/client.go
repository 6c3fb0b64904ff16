package reach

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	relayclient "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	circuitpb "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	// refreshEvery is how often a reservation (good for an hour) is renewed: a relay
	// that restarted is noticed by its closed connection, one that merely forgot us
	// by this.
	refreshEvery   = 10 * time.Minute
	reserveTimeout = 10 * time.Second
	// A relay that could not be had is asked again after this, doubled up to the
	// second figure.
	relayBackoff    = 2 * time.Second
	relayBackoffMax = 5 * time.Minute
	// addrsPerRelay bounds what is advertised of one relay: QUIC and TCP, IPv4 and IPv6.
	addrsPerRelay = 4
	// spares is how many slots a public island keeps, because the Internet between
	// it and another one may have a hole. Two, for one may be at the very island
	// that is beyond the hole.
	spares = 2
)

// Candidate is a member that offered to relay.
type Candidate struct {
	ID peer.ID
	// Region is where it stands; reservations are spread over regions. Empty where
	// it says nothing.
	Region string
}

// Reservation is a slot at a relay.
type Reservation struct {
	Relay   peer.ID
	Region  string
	Since   time.Time
	Expires time.Time
	Addrs   []ma.Multiaddr // of the relay, as advertised
}

type refusal struct {
	until time.Time
	wait  time.Duration
	text  string
}

// client keeps reservations. All but list is called from the goroutine of run.
type client struct {
	host    host.Host
	want    int
	relays  func() []Candidate
	log     *slog.Logger
	metrics *metrics
	emit    event.Emitter
	kick    chan struct{}
	changed func()

	refused map[peer.ID]refusal

	mu   sync.Mutex
	held map[peer.ID]*Reservation
	told []ma.Multiaddr
}

func (c *client) list() []Reservation {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Reservation
	for _, r := range c.held {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Reservation) int { return a.Since.Compare(b.Since) })
	return out
}

// circuits are the relayed addresses that others are told of.
func (c *client) circuits() []ma.Multiaddr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

func (c *client) holds(p peer.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held[p] != nil
}

// round brings the reservations in line with what is wanted and returns when the
// next look is due. forget drops what earlier refusals taught; renew asks again
// for what is held, because the network below may have lost it.
func (c *client) round(ctx context.Context, want int, forget, renew bool, now time.Time) time.Time {
	c.want = want
	if forget {
		clear(c.refused)
	}
	offered := map[peer.ID]Candidate{}
	for _, r := range c.relays() {
		if r.ID != c.host.ID() {
			offered[r.ID] = r
		}
	}
	c.dropLost(offered)
	for _, surplus := range c.list()[min(len(c.held), want):] {
		c.release(surplus.Relay)
	}
	c.renew(ctx, renew, now)
	for len(c.held) < c.want && ctx.Err() == nil {
		next, ok := c.pick(offered, now)
		if !ok {
			break
		}
		c.reserve(ctx, next)
	}
	c.tell()
	return c.nextLook(now)
}

// dropLost gives up slots at relays that are gone or no longer offered.
func (c *client) dropLost(offered map[peer.ID]Candidate) {
	for p := range c.held {
		_, wanted := offered[p]
		if wanted && direct(c.host.Network().ConnsToPeer(p)) != nil {
			continue
		}
		c.release(p)
	}
	for p := range c.refused {
		if _, wanted := offered[p]; !wanted {
			delete(c.refused, p)
		}
	}
}

func (c *client) release(p peer.ID) {
	c.mu.Lock()
	delete(c.held, p)
	c.mu.Unlock()
	c.host.ConnManager().Unprotect(p, protectTag)
}

const protectTag = "atoll-relay"

func (c *client) renew(ctx context.Context, all bool, now time.Time) {
	for p, r := range c.held {
		if all || now.Sub(r.Since) >= refreshEvery || now.Add(2*refreshEvery).After(r.Expires) {
			c.reserve(ctx, Candidate{ID: p, Region: r.Region})
		}
	}
}

// pick prefers regions that have no relay of ours yet, then relays that are
// connected already, then the nearest.
func (c *client) pick(offered map[peer.ID]Candidate, now time.Time) (Candidate, bool) {
	taken := map[string]int{}
	for _, r := range c.held {
		taken[r.Region]++
	}
	var list []Candidate
	for p, r := range offered {
		if c.held[p] == nil && !now.Before(c.refused[p].until) {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return Candidate{}, false
	}
	rank := func(r Candidate) (int, time.Duration) {
		if direct(c.host.Network().ConnsToPeer(r.ID)) == nil {
			return 1, 0
		}
		return 0, c.host.Peerstore().LatencyEWMA(r.ID)
	}
	return slices.MinFunc(list, func(a, b Candidate) int {
		far, rttA := rank(a)
		farB, rttB := rank(b)
		return cmp.Or(cmp.Compare(taken[a.Region], taken[b.Region]), cmp.Compare(far, farB),
			cmp.Compare(rttA, rttB), strings.Compare(string(a.ID), string(b.ID)))
	}), true
}

func (c *client) reserve(ctx context.Context, r Candidate) {
	ctx, cancel := context.WithTimeout(ctx, reserveTimeout)
	defer cancel()
	rsvp, err := c.ask(ctx, r.ID)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return
		}
		result := "unreachable"
		if re := (relayclient.ReservationError{}); errors.As(err, &re) && re.Status != circuitpb.Status_CONNECTION_FAILED {
			result = "refused"
		}
		c.metrics.reserve.WithLabelValues(result).Inc()
		wait := min(max(2*c.refused[r.ID].wait, relayBackoff), relayBackoffMax)
		c.refused[r.ID] = refusal{until: time.Now().Add(wait), wait: wait, text: err.Error()}
		c.log.Debug("relay gave no slot", "relay", r.ID, "err", err, "again_in", wait)
		if c.holds(r.ID) {
			c.release(r.ID)
		}
		return
	}
	c.metrics.reserve.WithLabelValues("ok").Inc()
	delete(c.refused, r.ID)
	c.host.ConnManager().Protect(r.ID, protectTag)
	addrs := relayAddrs(rsvp.Addrs, direct(c.host.Network().ConnsToPeer(r.ID)))
	c.mu.Lock()
	c.held[r.ID] = &Reservation{Relay: r.ID, Region: r.Region, Since: time.Now(), Expires: rsvp.Expiration, Addrs: addrs}
	c.mu.Unlock()
}

// ask makes sure that the connection is direct: a slot cannot be had through
// another relay.
func (c *client) ask(ctx context.Context, p peer.ID) (*relayclient.Reservation, error) {
	if direct(c.host.Network().ConnsToPeer(p)) == nil {
		if err := c.host.Connect(network.WithForceDirectDial(ctx, "relay"), peer.AddrInfo{ID: p}); err != nil {
			return nil, err
		}
	}
	rsvp, err := relayclient.Reserve(network.WithNoDial(ctx, "relay"), hasty{c.host}, peer.AddrInfo{ID: p})
	if err == nil && (rsvp.LimitData != 0 || rsvp.LimitDuration != 0) {
		c.log.Warn("relay limits what it carries", "relay", p, "bytes", rsvp.LimitData, "duration", rsvp.LimitDuration)
	}
	return rsvp, err
}

// relayAddrs are the relay's addresses worth telling others: the one that works
// for us, and what it says of itself, public ones first, one per transport and IP version
// in each round.
func relayAddrs(claimed []ma.Multiaddr, conn network.Conn) []ma.Multiaddr {
	var list []ma.Multiaddr
	for _, a := range claimed {
		a, _ = peer.SplitAddr(a)
		if a != nil && !relayed(a) {
			list = append(list, a)
		}
	}
	if conn != nil {
		list = append(list, conn.RemoteMultiaddr())
	}
	list = usable(unique(list))
	slices.SortStableFunc(list, func(a, b ma.Multiaddr) int {
		return cmp.Compare(rankPublic(a), rankPublic(b))
	})
	if len(list) > addrsPerRelay {
		list = list[:addrsPerRelay]
	}
	return list
}

func rankPublic(a ma.Multiaddr) int {
	if manet.IsPublicAddr(a) {
		return 0
	}
	return 1
}

// tell advertises the relayed addresses if they have changed.
func (c *client) tell() {
	var addrs []ma.Multiaddr
	for _, r := range c.list() {
		suffix := ma.StringCast("/p2p/" + r.Relay.String() + "/p2p-circuit")
		for _, a := range r.Addrs {
			addrs = append(addrs, a.Encapsulate(suffix))
		}
	}
	slices.SortFunc(addrs, ma.Multiaddr.Compare)
	c.metrics.reservations.Set(float64(len(c.list())))
	c.mu.Lock()
	same := slices.EqualFunc(addrs, c.told, ma.Multiaddr.Equal)
	c.told = addrs
	c.mu.Unlock()
	if same {
		return
	}
	_ = c.emit.Emit(event.EvtAutoRelayAddrsUpdated{RelayAddrs: addrs})
	c.changed()
}

func (c *client) nextLook(now time.Time) time.Time {
	next := now.Add(refreshEvery)
	if len(c.held) < c.want {
		for _, r := range c.refused {
			if r.until.After(now) && r.until.Before(next) {
				next = r.until
			}
		}
	}
	return next
}
