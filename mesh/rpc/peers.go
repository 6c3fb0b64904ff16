package rpc

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/atoll-mesh/atoll/trust"
)

// peers holds what is remembered of each caller: buckets, connections, refusals
// lately logged. A caller without a connection is forgotten after forgetAfter,
// when its buckets are full again, so that it cannot empty them anew by
// reconnecting.
type peers struct {
	limits Limits

	mu     sync.Mutex
	byKey  map[trust.Key]*peerState
	logged map[refusal]time.Time
}

// refusal is one thing that is logged once a minute.
type refusal struct {
	key  trust.Key
	what string
}

const (
	forgetAfter = 2 * time.Minute
	logEvery    = time.Minute
	// maxLogged bounds the memory for what was logged; over it nothing is.
	maxLogged = 4096
)

type peerState struct {
	all   *rate.Limiter
	class [numClasses]*rate.Limiter

	mu     sync.Mutex
	method map[*method]*rate.Limiter

	// guarded by peers.mu
	conns int
	left  time.Time

	// guarded by gate.mu, by lane
	running, waiting [numLanes]int
}

func newPeers(l Limits) *peers {
	return &peers{limits: l, byKey: map[trust.Key]*peerState{}, logged: map[refusal]time.Time{}}
}

func newPeerState(l Limits) *peerState {
	p := &peerState{all: rate.NewLimiter(rate.Limit(l.PeerRate), l.PeerBurst), method: map[*method]*rate.Limiter{}}
	for _, c := range Classes() {
		p.class[c] = rate.NewLimiter(rate.Limit(l.of(c).Rate), l.of(c).Burst)
	}
	return p
}

// connect counts a new connection of key.
func (ps *peers) connect(key trust.Key) (*peerState, error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.byKey[key]
	if p == nil {
		ps.sweep()
		p = newPeerState(ps.limits)
		ps.byKey[key] = p
	}
	if p.conns >= ps.limits.ConnectionsPerPeer {
		return nil, fmt.Errorf("island %s holds %d connections open, connections_per_peer allows no more", key.Short(), p.conns)
	}
	p.conns++
	return p, nil
}

func (ps *peers) disconnect(p *peerState) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p.conns--
	p.left = time.Now()
}

// sweep forgets callers that left a while ago. It runs when a new one comes,
// which keeps the map no larger than those who came within forgetAfter.
func (ps *peers) sweep() {
	for key, p := range ps.byKey {
		if p.conns == 0 && time.Since(p.left) > forgetAfter {
			delete(ps.byKey, key)
		}
	}
}

// firstInAWhile reports whether what was not logged for key within logEvery.
func (ps *peers) firstInAWhile(key trust.Key, what string) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	now, id := time.Now(), refusal{key, what}
	if last, ok := ps.logged[id]; ok && now.Sub(last) < logEvery {
		return false
	}
	if len(ps.logged) >= maxLogged {
		for id, last := range ps.logged {
			if now.Sub(last) >= logEvery {
				delete(ps.logged, id)
			}
		}
		if len(ps.logged) >= maxLogged {
			return false
		}
	}
	ps.logged[id] = now
	return true
}

// take takes a token from the buckets of method, class and peer. Where one is
// empty nothing is taken, and it says which and how long until it has a token.
func (p *peerState) take(m *method) (scope string, wait time.Duration) {
	buckets := [...]struct {
		scope string
		l     *rate.Limiter
	}{{"method", p.ofMethod(m)}, {"class", p.class[m.rule.Class]}, {"peer", p.all}}
	now := time.Now()
	var taken [len(buckets)]*rate.Reservation
	for i, b := range buckets {
		if b.l == nil {
			continue
		}
		r := b.l.ReserveN(now, 1)
		if wait = r.DelayFrom(now); wait == 0 {
			taken[i] = r
			continue
		}
		r.CancelAt(now)
		for _, t := range taken[:i] {
			if t != nil {
				t.CancelAt(now)
			}
		}
		return b.scope, wait
	}
	return "", 0
}

func (p *peerState) ofMethod(m *method) *rate.Limiter {
	if m.rule.RatePerSecond == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.method[m]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(m.rule.RatePerSecond), m.rule.Burst)
		p.method[m] = l
	}
	return l
}
