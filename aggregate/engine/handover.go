package engine

import (
	"maps"
	"slices"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// HandOver seals all windows of distributed rules and hands them to emit, also those
// that are under way: others go on with them. What comes for them afterwards is late.
func (e *Engine) HandOver(now int64, emit func(*partial.Window) error) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	e.wake(now)
	var all []decision
	for _, rs := range e.rules.Load().active {
		if rs.distribute {
			all = append(all, e.everything(rs, now))
		}
	}
	e.letGo(all, now, true)
	e.carryOut(all, now, true)
	return e.flush(emit)
}

// everything is all that a rule has, be it due or not.
func (e *Engine) everything(rs *ruleState, now int64) decision {
	d := decision{rs: rs, sealed: max(rs.sealed.Load(), rs.rule.Load().Window(now)), last: true}
	late := map[int64]bool{}
	for _, s := range e.shards {
		s.mu.Lock()
		if rw := s.rules[rs.slot]; rw != nil {
			for end, w := range rw.open {
				if w.late {
					late[end] = true
				} else {
					d.sealed = max(d.sealed, end)
				}
			}
		}
		s.mu.Unlock()
	}
	d.late = slices.Sorted(maps.Keys(late))
	return d
}

// Undecided is how many series with samples wait for an answer about their home.
func (e *Engine) Undecided() (n int) {
	for _, s := range e.shards {
		s.visit(s.away.waiting, func(_ uint32, a *away) {
			if a.since != 0 {
				n++
			}
		})
	}
	return n
}
