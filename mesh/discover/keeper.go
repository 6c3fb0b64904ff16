package discover

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/atoll-mesh/atoll/mesh/gate"
)

const (
	dialTimeout = 15 * time.Second
	dialsAtOnce = 16
	// The wait after the first failed dial, doubled up to the second figure, each
	// between a half and one and a half of itself.
	firstWait = time.Second
	lastWait  = 5 * time.Minute
	// After deadAfter failures in a row a member counts as gone when choosing; it is
	// still tried.
	deadAfter = 3
	// A connection must last this long before the failures before it are forgotten:
	// a refusal by the other side comes after a dial that worked.
	stableAfter = 20 * time.Second
	keeperTick  = 30 * time.Second
	// An island that does not know where those are that it has chosen, and has fewer
	// connections than guides, dials others whose addresses it knows, to ask them.
	guides = 3
	// lostWait is between tries while there is nobody to ask.
	lostWait = 2 * time.Second
	// yieldFor is how long the one of two that find each other lets the other begin.
	yieldFor = 200 * time.Millisecond
	// beginFor is the same where both have just begun to want each other, and much
	// else: a dial among many takes its time.
	beginFor = time.Second
)

// yield is when self should dial p where both may have reason to: at once for the
// lesser key, else after a moment, lest two connections are made.
func yield(self, p peer.ID, now time.Time) time.Time {
	if self < p {
		return time.Time{}
	}
	return now.Add(yieldFor + rand.N(yieldFor))
}

// beginLocked is when self should dial p for the first time: at once, unless p is
// likely to dial too and has the lesser key.
func (d *Discover) beginLocked(p peer.ID, now time.Time) time.Time {
	if d.opts.Host.ID() < p || !d.wantedByLocked(p) {
		return time.Time{}
	}
	return now.Add(beginFor + rand.N(beginFor))
}

// target is a member that is to be dialled.
type target struct {
	failures int
	next     time.Time
	last     string
	dialing  bool
	lost     bool      // there was nobody to ask for its address
	since    time.Time // connected since
}

// keeper dials who is missing and closes who is surplus. Its methods are called
// from Run's goroutine.
type keeper struct {
	d     *Discover
	slots chan struct{}
	wg    *sync.WaitGroup
}

// heard notes a connection that came or went and reports whether to act on it.
func (k *keeper) heard(e event.EvtPeerConnectednessChanged) bool {
	d := k.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, member := d.members[e.Peer]; !member {
		return false
	}
	t := d.targets[e.Peer]
	if t == nil {
		t = &target{}
		d.targets[e.Peer] = t
	}
	now := time.Now()
	if e.Connectedness == network.NotConnected {
		if !t.since.IsZero() && now.Sub(t.since) < stableAfter {
			t.fail(now, "the connection was closed at once: the other side may have refused it")
		} else if !t.dialing && !now.Before(t.next) {
			t.next = yield(d.opts.Host.ID(), e.Peer, now) // it misses this island just now, too
		}
		t.since = time.Time{}
		return d.wanted[e.Peer]
	}
	if t.since.IsZero() {
		t.since = now
	}
	return true
}

func (t *target) fail(now time.Time, why string) {
	t.failures++
	wait := min(firstWait<<min(t.failures-1, 16), lastWait)
	t.next = now.Add(wait/2 + rand.N(wait))
	t.last = why
}

// round dials who is due and returns when to look again.
func (k *keeper) round(ctx context.Context, now time.Time) time.Time {
	d := k.d
	d.mu.Lock()
	fresh := d.fresh
	d.mu.Unlock()
	if fresh {
		d.readMembers()
	}
	due, next := k.due(now)
	for _, p := range due {
		select {
		case k.slots <- struct{}{}:
			k.wg.Go(func() {
				defer func() { <-k.slots; poke(d.kick) }()
				k.done(p, d.dial(ctx, p, "keep"))
			})
		default:
			// All slots are busy: whoever ends pokes.
			d.mu.Lock()
			d.targets[p].dialing = false
			d.mu.Unlock()
		}
	}
	k.closeSurplus(now)
	return next
}

// due marks and returns the wanted members that are to be dialled now.
func (k *keeper) due(now time.Time) (due []peer.ID, next time.Time) {
	d := k.d
	next = now.Add(keeperTick)
	missing, waiting, lost := 0, 0, false
	d.mu.Lock()
	defer d.mu.Unlock()
	roused := d.roused
	d.roused = false
	rechoose := false
	for p := range d.wanted {
		t := d.targets[p]
		if t == nil {
			t = &target{next: d.beginLocked(p, now)}
			d.targets[p] = t
		}
		if roused && !t.dialing {
			rechoose = rechoose || t.failures >= deadAfter
			t.failures, t.next = 0, time.Time{}
		}
		if connected(d.opts.Host, p) {
			if t.since.IsZero() {
				t.since = now
			}
			if t.failures > 0 && now.Sub(t.since) >= stableAfter {
				rechoose = rechoose || t.failures >= deadAfter
				t.failures, t.last, t.next = 0, "", time.Time{}
			}
			continue
		}
		missing++
		lost = lost || t.lost
		switch {
		case t.dialing:
		case !now.Before(t.next):
			t.dialing = true
			due = append(due, p)
		default:
			waiting++
			if t.next.Before(next) {
				next = t.next
			}
		}
	}
	if rechoose {
		d.chooseLocked()
	}
	if lost {
		due = append(due, d.guidesLocked(now)...)
	}
	d.metrics.missing.Set(float64(missing))
	d.metrics.waiting.Set(float64(waiting))
	return due, next
}

// guidesLocked marks and returns members to dial for want of anybody to ask.
func (d *Discover) guidesLocked(now time.Time) (due []peer.ID) {
	room := guides
	for _, p := range d.opts.Host.Network().Peers() {
		if _, member := d.members[p]; member {
			room--
		}
	}
	if room <= 0 {
		return nil
	}
	for p := range d.members { // in random order
		t := d.targets[p]
		if d.wanted[p] || t != nil && (t.dialing || now.Before(t.next)) || connected(d.opts.Host, p) {
			continue
		}
		if len(d.addressesLocked(p)) == 0 && len(d.opts.Host.Peerstore().Addrs(p)) == 0 {
			continue
		}
		if t == nil {
			t = &target{}
			d.targets[p] = t
		}
		t.dialing = true
		if due = append(due, p); len(due) == room {
			break
		}
	}
	return due
}

func (k *keeper) done(p peer.ID, err error) {
	d := k.d
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.targets[p]
	if t == nil {
		return
	}
	t.dialing = false
	t.lost = errors.Is(err, errLost)
	if err == nil {
		return
	}
	if t.lost {
		t.next, t.last = time.Now().Add(lostWait/2+rand.N(lostWait)), err.Error()
		return
	}
	t.fail(time.Now(), err.Error())
	if t.failures == deadAfter {
		d.chooseLocked()
	}
	d.log.Debug("neighbour was not reached", "peer", p, "failures", t.failures, "err", err)
}

// closeSurplus ends connections that this island opened, that it has not chosen,
// and that nobody used for a while. What others opened is theirs to close, what
// is protected or a relay of ours stays.
func (k *keeper) closeSurplus(now time.Time) {
	d := k.d
	idle := time.Duration(d.opts.Config.IdleFor)
	cm := d.opts.Host.ConnManager()
	for _, c := range d.opts.Host.Network().Conns() {
		p := c.RemotePeer()
		if !gate.Dialled(c) || now.Sub(c.Stat().Opened) < idle || cm.IsProtected(p, "") || d.opts.Keep(p) {
			continue
		}
		d.mu.Lock()
		keep := d.wanted[p] || now.Sub(d.used[p]) < idle
		d.mu.Unlock()
		if !keep {
			c.Close()
			d.metrics.surplus.Inc()
		}
	}
}

// clearBackoff: the waits are kept here, the swarm's own would come on top.
func clearBackoff(h host.Host, p peer.ID) {
	if s, ok := h.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(p)
	}
}
