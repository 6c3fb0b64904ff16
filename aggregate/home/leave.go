package home

import (
	"context"
	"math"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/engine"
)

// Leave gives the series that others follow to them, and waits until they have said
// that they have them, until it is known who counts the series that are new, and until
// the others know how far all other series were counted; or until ctx ends: then a
// follower goes on by what it knows of this island. It needs Run.
func (h *Home) Leave(ctx context.Context) {
	h.setLeaves(true)
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for h.followed() || h.o.Engine.Undecided() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
	h.bequeath(ctx)
}

// Stay ends what Leave began.
func (h *Home) Stay() {
	h.setLeaves(false)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reclaim()
}

func (h *Home) setLeaves(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaves = on
}

// followed reports whether a peer does not know yet that it has a series.
func (h *Home) followed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.peers {
		for _, w := range p.watched {
			if w.told == 0 || w.told == stateAlive || w.told == stateOffer {
				return true
			}
		}
	}
	return false
}

// cede gives a peer all that it follows.
func (h *Home) cede(p *peer) {
	var all []engine.Decision
	for here, w := range p.watched {
		all = append(all, engine.Decision{Verb: engine.Cede, Series: engine.Series{ID: w.id, Ref: here}, Home: p.token, There: w.here, T: math.MinInt64})
	}
	h.o.Engine.Decide(h.now, all)
	for i := range all {
		if d := &all[i]; d.Verb == engine.Give {
			h.m.given.Inc()
			p.watches = append(p.watches, watch{id: d.ID, there: d.There, here: d.Ref, t: math.MinInt64})
		}
	}
}
