package home

import (
	"context"
	"math"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/aggregate/slots"
)

// A will says how far an island that leaves has counted a series that nobody follows.
// It lies where the directory of the series is from then on, for whoever receives the
// series next.
type will struct {
	id   uint64
	t    int64
	v    float64
	step uint8
}

// legacy is a will as its directory keeps it.
type legacy struct {
	will
	place uint32 // by which it is asked for, as by that of a series
	by    uint64
	at    int64 // when it came, Unix ms
	// to has it, as its series there; 0: nobody yet.
	to    uint64
	there uint32
}

// mostLegacies bounds what a directory keeps: 100 MB.
const mostLegacies = 1 << 20

// heir has the directory of a series when this island is gone; nil for nobody.
func (h *Home) heir(id uint64) *peer {
	k := slots.Of(id)
	n := h.view.First[k]
	if n == h.self {
		n = h.view.Second[k]
	}
	if n == slots.None {
		return nil
	}
	return h.peers[h.view.Members[n]]
}

// bequeath leaves all series that this island counts to the others, and waits until
// they have the wills. It counts no more of them, and goes on where it was if it stays.
func (h *Home) bequeath(ctx context.Context) {
	for at, more := uint64(0), true; more && ctx.Err() == nil; more = at != 0 {
		at = h.draw(at)
	}
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for h.unread() {
		h.signal()
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// draw makes the wills of some series and returns where to go on.
func (h *Home) draw(at uint64) (next uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.view == nil {
		return 0
	}
	var all []engine.Decision
	next = h.o.Engine.Owned(at, func(c engine.Claim) {
		if p := h.heir(c.ID); p != nil && !c.Waiting {
			all = append(all, engine.Decision{Verb: engine.Cede, Series: c.Series, Home: p.token, T: math.MinInt64})
		}
	})
	h.o.Engine.Decide(h.now, all)
	for i := range all {
		if d := &all[i]; d.Verb == engine.Give && d.Known && d.V-d.V == 0 {
			p := h.heir(d.ID)
			p.wills = append(p.wills, will{id: d.ID, t: d.T, v: d.V, step: d.Step})
		}
	}
	return next
}

// unread reports whether a will has not come to where it goes.
func (h *Home) unread() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.peers {
		if len(p.wills)+p.reading > 0 {
			return true
		}
	}
	return false
}

// reclaim asks for the series back that are counted by another island, be it that it
// only keeps their wills.
func (h *Home) reclaim() {
	for _, p := range h.peers {
		h.o.Engine.Following(p.token, func(x engine.Series, there uint32) {
			p.watches = append(p.watches, watch{id: x.ID, there: there, here: x.Ref, t: math.MinInt64})
		})
	}
}

// keep reports whether there is room for it.
func (d *directory) keep(by uint64, w will, now int64) bool {
	if d.legacies[w.id] == nil && len(d.legacies) >= mostLegacies {
		return false
	}
	if d.legacies == nil {
		d.legacies = map[uint64]*legacy{}
	}
	d.places--
	d.legacies[w.id] = &legacy{will: w, place: d.places, by: by, at: now}
	return true
}

// leftBy reports whether home has left the series to others.
func (x *legacy) leftBy(home uint64) bool { return x != nil && x.by == home && x.to != home }

// claimed notes who counts the series.
func (x *legacy) claimed(from uint64, c claim) {
	if x != nil && (c.kind == claimTook || c.kind == claimHeld && from != x.by) {
		x.to, x.there = from, c.Ref
	}
}

// give hands a legacy over, once; nil where there is none.
func (d *directory) give(id, to uint64, there uint32) *legacy {
	x := d.legacies[id]
	if x != nil && x.to == 0 {
		x.to, x.there = to, there
	}
	return x
}

// inherit answers this island's claim with what lies in its own directory.
func (h *Home) inherit(c claim) bool {
	x := h.dir.give(c.ID, h.token, c.Ref)
	switch {
	case x == nil || x.to == h.token && x.there != c.Ref:
		return false
	case x.to != h.token:
		h.follow(c.Series, x.to, x.there)
		return true
	}
	h.o.Engine.Decide(h.now, []engine.Decision{
		{Verb: engine.Follow, Series: c.Series, Home: h.token, T: h.now},
		{Verb: engine.Take, Series: c.Series, Home: h.token, T: x.t, V: x.v, Step: x.step, Known: true},
	})
	return true
}

// legacyOf turns the answer about a series that is not here into what was left of it.
func (h *Home) legacyOf(p *peer, w watch, s state) state {
	x := h.dir.give(w.id, p.token, w.here)
	switch {
	case x == nil:
	case x.to == p.token:
		s.kind, s.t, s.v, s.step = stateGiven, x.t, x.v, x.step
	default:
		s.kind, s.home, s.there = stateMoved, x.to, x.there
	}
	return s
}
