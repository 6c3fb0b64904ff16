package engine

import (
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// maxCarryWindows is for how many windows late amounts wait for their group to
// have something of its own again.
const maxCarryWindows = 3

func (rs *ruleState) publication(end int64) *publication {
	p := rs.published[end]
	if p == nil {
		p = &publication{}
		rs.published[end] = p
	}
	return p
}

// join merges the parts of a window that was taken away, and recycles them.
func (e *Engine) joinParts(t taken) *merged {
	m := &merged{}
	for k, w := range t.parts {
		if w == nil {
			continue
		}
		m.add(t.rs, w, k)
		t.rs.recycle(w.cols)
	}
	return m
}

// publish makes a sealed window known.
func (e *Engine) publish(t taken, now int64) {
	rs := t.rs
	r := rs.rule.Load()
	m := e.joinParts(t)
	p := rs.publication(t.end)
	rows := m.rows(rs, r.Late == rule.Correct, nil)
	m.ordinals(func(ord uint32, _ *columns, _ int) { p.add(ord) })
	if t.end == rs.sealed.Load() {
		rows = rs.addCarry(rows, m, t.last)
	}
	e.put(r, p, t.end, now, rows)
	if r.Late == rule.Correct {
		p.kept = m
		return
	}
	rs.recycle(m.cols)
}

// put queues a window; its revision is one more than the last one's.
func (e *Engine) put(r *rule.Rule, p *publication, end, now int64, rows []partial.Row) {
	p.revise(r, end, now)
	e.outbox = append(e.outbox, &partial.Window{Rule: r, End: end, Revision: p.revision, Rows: rows})
}

// revise: where windows are published early, revisions follow the seconds since
// the window began, so that they go on rising after a restart.
func (p *publication) revise(r *rule.Rule, end, now int64) {
	if p.again {
		p.revision++
	}
	p.again = true
	if r.Early {
		p.revision = max(p.revision, uint32(max(0, (now-end+r.Interval.Milliseconds())/1000))+1)
	}
}

// addCarry attaches late amounts to the rows of the newest window; to the last one
// all of them.
func (rs *ruleState) addCarry(rows []partial.Row, m *merged, last bool) []partial.Row {
	if len(rs.carry) == 0 {
		return rows
	}
	n := 0
	m.ordinals(func(ord uint32, _ *columns, _ int) {
		if c := rs.carry[ord]; c != nil {
			rows[n].Acc.Carry, rows[n].Acc.CarryProm, rows[n].Acc.CarrySum = c.increase, c.prom, c.sum
			delete(rs.carry, ord)
		}
		n++
	})
	for ord, c := range rs.carry {
		if c.windows++; c.windows < maxCarryWindows && !last {
			continue
		}
		delete(rs.carry, ord)
		row := partial.Row{Acc: partial.Acc{Carry: c.increase, CarryProm: c.prom, CarrySum: c.sum}}
		if row.Group, row.Hash = rs.groups.get(ord); row.Hash != 0 {
			rows = append(rows, row)
		}
	}
	return rows
}

// publishLate deals with what came for a window that had been sealed: groups that
// were not published in it are published now, for the others the rule's policy holds.
func (e *Engine) publishLate(t taken, now int64) {
	rs := t.rs
	r := rs.rule.Load()
	m := e.joinParts(t)
	p := rs.publication(t.end)
	if r.Late == rule.Correct {
		e.correct(t, p, m, now)
		return
	}
	fresh := m.rows(rs, false, func(ord uint32) bool { return !p.has(ord) })
	m.ordinals(func(ord uint32, c *columns, i int) {
		switch {
		case !p.has(ord):
			p.add(ord)
			rs.late[lateNew].Add(1)
		case r.Late == rule.Carry && rs.carryOver(ord, c, i):
			rs.late[lateCarried].Add(1)
		default:
			rs.late[lateDropped].Add(1)
		}
	})
	if len(fresh) > 0 {
		e.put(r, p, t.end, now, fresh)
	}
	rs.recycle(m.cols)
}

// carryOver keeps the amounts of a group for the totals; false: there is none.
func (rs *ruleState) carryOver(ord uint32, c *columns, i int) bool {
	a := c.acc(i, false)
	if a.Increase.IsZero() && a.IncreaseProm.IsZero() && a.Sum.IsZero() {
		return false
	}
	have := rs.carry[ord]
	if have == nil {
		have = &carried{}
		rs.carry[ord] = have
	}
	have.increase.AddSum(a.Increase)
	have.prom.AddSum(a.IncreaseProm)
	have.sum.AddSum(a.Sum)
	return true
}

// correct publishes the whole rows again of the groups that changed.
func (e *Engine) correct(t taken, p *publication, late *merged, now int64) {
	rs := t.rs
	if p.kept == nil {
		p.kept = &merged{}
	}
	changed := map[uint32]bool{}
	late.ordinals(func(ord uint32, _ *columns, _ int) {
		changed[ord] = true
		outcome := lateCorrected
		if !p.has(ord) {
			outcome = lateNew
		}
		rs.late[outcome].Add(1)
		p.add(ord)
	})
	for k, rates := range late.rates {
		p.kept.add(rs, &window{rates: rates}, k)
	}
	p.kept.add(rs, &window{cols: late.cols}, 0)
	rs.recycle(late.cols)
	rows := p.kept.rows(rs, true, func(ord uint32) bool { return changed[ord] })
	e.put(rs.rule.Load(), p, t.end, now, rows)
}

// publishEarly publishes open windows as far as they have grown, for sinks that
// keep the newest value.
func (e *Engine) publishEarly(set *ruleSet, now int64) {
	for _, rs := range set.active {
		r := rs.rule.Load()
		if !r.Early {
			continue
		}
		for end, m := range e.grown(rs) {
			rows := m.rows(rs, true, nil)
			p := rs.publication(end)
			p.revise(r, end, now)
			e.outbox = append(e.outbox, &partial.Window{Rule: r, End: end, Revision: p.revision, Open: true, Rows: rows})
			rs.recycle(m.cols)
		}
	}
}

// grown copies the open windows that changed since the last time.
func (e *Engine) grown(rs *ruleState) map[int64]*merged {
	dirty := map[int64]*merged{}
	for _, s := range e.shards {
		s.mu.Lock()
		for end, w := range s.rules[rs.slot].open {
			if !w.late && w.dirty {
				dirty[end] = &merged{}
				w.dirty = false
			}
		}
		s.mu.Unlock()
	}
	for _, s := range e.shards {
		for end, m := range dirty {
			for n := 0; s.grownSome(rs, end, m, n); n++ {
			}
		}
	}
	return dirty
}

// grownSome copies a chunk of the groups and one of the rates, so that what grew may be
// newer in one of them than in another, and reports whether there are more.
func (s *shard) grownSome(rs *ruleState, end int64, m *merged, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.rules[rs.slot].open[end]
	if w == nil || n >= max(len(w.cols), len(w.rates)) {
		return false
	}
	if n < len(w.cols) {
		m.addColumns(rs, n, w.cols[n])
	}
	if n < len(w.rates) {
		m.addRates(int(s.number), n, w.rates[n])
	}
	return true
}
