package engine

import (
	"maps"
	"slices"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

const (
	// settle is how long a window that was begun after it had been sealed (a
	// backlog) is left alone since its last change, before it is looked at.
	settle = 10 * 1000
	// settleMost bounds that where it never ends.
	settleMost = 60 * 1000
)

// decision is which windows of a rule are taken away.
type decision struct {
	rs     *ruleState
	sealed int64
	late   []int64 // ends, ascending
	last   bool    // nothing of the rule stays behind
}

// taken is one window that was taken away from the shards.
type taken struct {
	rs    *ruleState
	end   int64
	late  bool
	last  bool
	parts []*window // by shard, nil where there was none
}

// Advance seals what is due at now and hands it to emit, oldest windows of a rule
// first. Windows that emit refuses are offered again, first of all, by the next
// Advance. emit is called without locks that a batch needs.
func (e *Engine) Advance(now int64, emit func(*partial.Window) error) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	e.wake(now)
	e.overdue(now)
	set := e.rules.Load()
	decisions := e.decide(set, now)
	e.letGo(decisions, now, true)
	e.carryOut(decisions, now, true)
	e.publishEarly(set, now)
	e.tidy(set, now)
	return e.flush(emit)
}

func (e *Engine) flush(emit func(*partial.Window) error) error {
	for len(e.outbox) > 0 {
		if err := emit(e.outbox[0]); err != nil {
			return err
		}
		e.count.windows.Add(1)
		e.outbox[0] = nil
		e.outbox = e.outbox[1:]
	}
	e.outbox = nil
	return nil
}

// decide: a window seals when all sources that hold its rule have passed its end,
// or max_lag after its end.
func (e *Engine) decide(set *ruleSet, now int64) (all []decision) {
	var marks []int64
	passed := func(rs *ruleState) int64 {
		if marks == nil {
			marks = e.watermarks(set, now)
		}
		return marks[rs.slot]
	}
	for _, rs := range set.active {
		sealed := rs.sealed.Load()
		d := decision{rs: rs, sealed: max(sealed, rs.floor(now-rs.maxLag))}
		if due := rs.floor(now); due > d.sealed {
			d.sealed = max(d.sealed, min(due, rs.floor(passed(rs))))
		}
		// A source that begins with a lag is waited for as one that was there before.
		d.late = slices.DeleteFunc(e.settled(rs, now), func(end int64) bool {
			return now < end+rs.maxLag && end > passed(rs)
		})
		if d.sealed > sealed || len(d.late) > 0 {
			all = append(all, d)
		}
	}
	return all
}

// settled lists the late windows that nothing came for recently.
func (e *Engine) settled(rs *ruleState, now int64) []int64 {
	ready := map[int64]bool{}
	for _, s := range e.shards {
		s.mu.Lock()
		if rw := s.rules[rs.slot]; rw != nil {
			for end, w := range rw.open {
				if !w.late {
					continue
				}
				quiet := now-w.touched >= min(settle, rs.maxLag) || now-w.begun >= settleMost
				before, known := ready[end]
				ready[end] = quiet && (before || !known)
			}
		}
		s.mu.Unlock()
	}
	maps.DeleteFunc(ready, func(_ int64, ok bool) bool { return !ok })
	return slices.Sorted(maps.Keys(ready))
}

// carryOut takes the windows away between two batches, then makes rows of them at
// leisure: nobody else has them any more.
func (e *Engine) carryOut(decisions []decision, now int64, journal bool) {
	if len(decisions) == 0 {
		return
	}
	var failed error
	e.cut.Lock()
	if journal && e.journal != nil {
		e.frame = appendSeal(e.frame[:0], frameSeal, decisions, now)
		failed = e.journal.Append(e.frame)
	}
	var all []taken
	for _, d := range decisions {
		all = append(all, e.take(d, now)...)
	}
	e.cut.Unlock()
	e.fail(failed)
	for _, t := range all {
		if t.late {
			e.publishLate(t, now)
		} else {
			e.publish(t, now)
		}
	}
	for _, d := range decisions {
		e.prune(d.rs, now)
	}
}

// take detaches the windows of one decision.
func (e *Engine) take(d decision, now int64) []taken {
	rs := d.rs
	before := rs.sealed.Load()
	if d.sealed > before {
		rs.sealed.Store(d.sealed)
		rs.lag.Store(max(0, now-d.sealed))
	}
	byEnd := map[int64]*taken{}
	for k, s := range e.shards {
		s.mu.Lock()
		rw := s.rules[rs.slot]
		for end, w := range rw.open {
			if w.late && !slices.Contains(d.late, end) || !w.late && end > d.sealed {
				continue
			}
			t := byEnd[end]
			if t == nil {
				t = &taken{rs: rs, end: end, late: w.late, parts: make([]*window, len(e.shards))}
				byEnd[end] = t
			}
			t.late = t.late && w.late
			t.parts[k] = w
			delete(rw.open, end)
			if rw.cur == w {
				rw.cur = nil
			}
		}
		s.mu.Unlock()
	}
	if d.sealed > before && byEnd[d.sealed] == nil {
		byEnd[d.sealed] = &taken{rs: rs, end: d.sealed} // says that nothing was seen
	}
	if t := byEnd[d.sealed]; t != nil {
		t.last = d.last
	}
	var all []taken
	for _, end := range slices.Sorted(maps.Keys(byEnd)) {
		all = append(all, *byEnd[end])
	}
	return all
}

// prune forgets what was published before the horizon.
func (e *Engine) prune(rs *ruleState, now int64) {
	for end := range rs.published {
		if end < now-rs.maxAge-rs.interval {
			delete(rs.published, end)
		}
	}
}
