package rpc

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
)

// lane is where a call takes its slot: that of its class, or the one for
// standing streams.
type lane int

const (
	standingLane lane = numClasses
	numLanes          = numClasses + 1
)

func (m *method) lane() lane {
	if m.rule.Standing {
		return standingLane
	}
	return lane(m.rule.Class)
}

func (l lane) String() string {
	if l == standingLane {
		return "standing"
	}
	return Class(l).String()
}

// gate admits calls. Each lane has slots of its own, so no class ever waits for
// another's. Within a lane a freed slot goes to the caller with the fewest calls
// running, then to who came first.
type gate struct {
	m *serverMetrics

	// above counts what runs and waits in the lanes more pressing than a class.
	above [numClasses]atomic.Int64

	mu    sync.Mutex
	lanes [numLanes]laneState
	calm  chan struct{} // closed and replaced when above falls to 0 for some class
	calls map[*method]int
}

type laneState struct {
	slots, peerSlots, queue int
	running                 int
	waiting                 []*waiter
	mean                    time.Duration // of a call's running time, exponentially weighted
}

type waiter struct {
	peer  *peerState
	ready chan struct{} // closed when the slot is its own
}

func newGate(l Limits, m *serverMetrics) *gate {
	g := &gate{m: m, calm: make(chan struct{}), calls: map[*method]int{}}
	for _, c := range Classes() {
		cl := l.of(c)
		g.lanes[c] = laneState{slots: cl.Slots, peerSlots: cl.PeerSlots, queue: cl.Queue}
	}
	g.lanes[standingLane] = laneState{slots: l.Standing, peerSlots: max(1, l.Standing/4)}
	return g
}

// enter waits for a slot. Where the queue is full, or the deadline will pass
// before a slot is likely to be free, it refuses at once.
func (g *gate) enter(ctx context.Context, c *call) (release func(), err error) {
	ln, p := c.m.lane(), c.peer
	g.mu.Lock()
	l := &g.lanes[ln]
	if l.running < l.slots && p.running[ln] < l.peerSlots {
		g.start(ln, p)
		g.begin(c.m)
		g.mu.Unlock()
		return g.leave(c), nil
	}
	if err := g.shed(ctx, ln, p); err != nil {
		g.mu.Unlock()
		return nil, err
	}
	w := &waiter{peer: p, ready: make(chan struct{})}
	l.waiting = append(l.waiting, w)
	p.waiting[ln]++
	g.press(ln, 1)
	g.m.queued[ln].Inc()
	g.mu.Unlock()

	begun := time.Now()
	select {
	case <-w.ready:
	case <-ctx.Done():
		if g.abandon(ln, w) {
			g.m.shed.WithLabelValues(ln.String(), "deadline").Inc()
			return nil, fmt.Errorf("waited %s for one of %d %s slots: %w", time.Since(begun).Round(time.Millisecond), l.slots, ln, ctx.Err())
		}
	}
	g.m.waited.Observe(time.Since(begun).Seconds())
	g.mu.Lock()
	g.begin(c.m)
	g.mu.Unlock()
	return g.leave(c), nil
}

// shed refuses a call that would wait in vain.
func (g *gate) shed(ctx context.Context, ln lane, p *peerState) error {
	l := &g.lanes[ln]
	wait := max(time.Second, l.expected(len(l.waiting)+1))
	switch {
	case p.waiting[ln] > 0 && p.waiting[ln] >= l.queue/2, l.queue == 0 && p.running[ln] >= l.peerSlots:
		g.m.shed.WithLabelValues(ln.String(), "peer").Inc()
		return retryLater(codes.Unavailable, wait, fmt.Sprintf("%d %s calls of the same island run and %d wait here already", p.running[ln], ln, p.waiting[ln]))
	case len(l.waiting) >= l.queue:
		g.m.shed.WithLabelValues(ln.String(), "full").Inc()
		return retryLater(codes.Unavailable, wait, fmt.Sprintf("%d %s calls run and %d wait here already", l.running, ln, len(l.waiting)))
	}
	// A peer at its own limit waits for its own calls only.
	expected := l.expected(len(l.waiting) + 1)
	if p.running[ln] >= l.peerSlots {
		expected = max(expected, l.mean*time.Duration(p.waiting[ln]+1)/time.Duration(l.peerSlots))
	}
	if deadline, ok := ctx.Deadline(); ok && expected > time.Until(deadline) {
		g.m.shed.WithLabelValues(ln.String(), "hopeless").Inc()
		return retryLater(codes.Unavailable, expected, fmt.Sprintf("the deadline is in %s and a %s slot is free in about %s",
			time.Until(deadline).Round(time.Millisecond), ln, expected.Round(time.Millisecond)))
	}
	return nil
}

// expected is how long the nth in the queue will wait, by the mean of late.
func (l *laneState) expected(n int) time.Duration {
	return l.mean * time.Duration(n) / time.Duration(l.slots)
}

func (g *gate) start(ln lane, p *peerState) {
	g.lanes[ln].running++
	p.running[ln]++
	g.press(ln, 1)
}

// begin and its end in leave keep what stop reports.
func (g *gate) begin(m *method) { g.calls[m]++ }

func (g *gate) leave(c *call) func() {
	ln, p, begun := c.m.lane(), c.peer, time.Now()
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.calls[c.m]--; g.calls[c.m] == 0 {
			delete(g.calls, c.m)
		}
		l := &g.lanes[ln]
		l.mean += (time.Since(begun) - l.mean) / 8
		l.running--
		p.running[ln]--
		g.press(ln, -1)
		g.promote(ln)
	}
}

// promote gives free slots to those who wait.
func (g *gate) promote(ln lane) {
	l := &g.lanes[ln]
	for l.running < l.slots {
		next := -1
		for i, w := range l.waiting {
			if r := w.peer.running[ln]; r < l.peerSlots && (next < 0 || r < l.waiting[next].peer.running[ln]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		w := l.waiting[next]
		g.drop(ln, next)
		g.start(ln, w.peer)
		close(w.ready)
	}
}

// abandon takes a waiter out, unless it has been given a slot meanwhile.
func (g *gate) abandon(ln lane, w *waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.lanes[ln].waiting, w)
	if i >= 0 {
		g.drop(ln, i)
	}
	return i >= 0
}

func (g *gate) drop(ln lane, i int) {
	l := &g.lanes[ln]
	l.waiting[i].peer.waiting[ln]--
	l.waiting = slices.Delete(l.waiting, i, i+1)
	g.press(ln, -1)
	g.m.queued[ln].Dec()
}

// press tells the classes below that there is more or less to give way to.
func (g *gate) press(ln lane, n int64) {
	if ln == standingLane {
		return
	}
	calm := false
	for c := range Class(numClasses) {
		if rank(Class(ln)) < rank(c) {
			calm = g.above[c].Add(n) == 0 || calm
		}
	}
	if calm && n < 0 {
		close(g.calm)
		g.calm = make(chan struct{})
	}
}

// rank orders classes, the most pressing first.
func rank(c Class) int { return [numClasses]int{Urgent: 0, Normal: 1, Bulk: 2}[c] }

// running names the methods that calls are open to.
func (g *gate) running() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for m, n := range g.calls {
		out = append(out, fmt.Sprintf("%s ×%d", m.full, n))
	}
	slices.Sort(out)
	return out
}

// yieldMost bounds one wait for more pressing calls.
const yieldMost = 20 * time.Millisecond

// yielder is what one call knows of having given way.
type yielder struct {
	mu    sync.Mutex
	until time.Time // no further wait before
}

// Yield lets calls of more pressing classes go first: it returns at once where
// there are none, or else waits until they are done, 20 ms at most. A handler
// gives away no more than half of its time. Handlers of class Bulk yield by
// themselves when they send or receive a message; one that computes for long in
// between should call it every few milliseconds. The error is that of ctx.
func Yield(ctx context.Context) error {
	c, ok := ctx.Value(callerKey{}).(*call)
	if !ok {
		return ctx.Err()
	}
	return c.yield(ctx)
}

func (c *call) yield(ctx context.Context) error {
	g := c.s.gate
	above := &g.above[c.m.rule.Class]
	if above.Load() == 0 {
		return nil
	}
	c.give.mu.Lock()
	defer c.give.mu.Unlock()
	begun := time.Now()
	if begun.Before(c.give.until) {
		return ctx.Err()
	}
	limit := time.NewTimer(yieldMost)
	defer limit.Stop()
	c.s.m.yields.Inc()
	for above.Load() > 0 {
		g.mu.Lock()
		calm := g.calm
		g.mu.Unlock()
		if above.Load() == 0 {
			break
		}
		select {
		case <-calm:
			continue
		case <-limit.C:
		case <-ctx.Done():
		}
		break
	}
	now := time.Now()
	c.give.until = now.Add(now.Sub(begun))
	return ctx.Err()
}
