package share

import (
	"context"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/owner"
	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// batch is what is to be published at a time, and what holds once it was.
type batch struct {
	samples []partial.Sample
	done    []func()
}

// publish hands out what is due. Owners' words follow when it was taken.
func (s *Share) publish(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	if !s.stirred && s.now-s.judged < poll.Milliseconds() {
		s.mu.Unlock()
		return nil
	}
	s.stirred, s.judged = false, s.now
	b := &batch{}
	for _, rs := range s.order {
		s.due(rs, b)
	}
	s.mu.Unlock()
	if len(b.samples) > 0 {
		if err := s.o.Publish(ctx, b.samples); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range b.done {
		f()
	}
	s.m.samples.Add(float64(len(b.samples)))
	return nil
}

// due collects the windows of a rule that are complete in slots of this island.
func (s *Share) due(rs *ruleState, b *batch) {
	ready, all := s.ready(rs)
	ends := make([]int64, 0, len(rs.windows))
	for end := range rs.windows {
		ends = append(ends, end)
	}
	slices.Sort(ends)
	for _, end := range ends {
		s.dueWindow(rs, rs.windows[end], ready, b)
	}
	v := s.view
	b.done = append(b.done, func() {
		if s.view == v {
			rs.published = max(rs.published, all)
			rs.hearWord(v, s.o.Self, rs.published)
		}
	})
}

func (s *Share) dueWindow(rs *ruleState, w *window, ready *[Slots]int64, b *batch) {
	var cells []*cell
	for _, c := range w.cells {
		if s.owned[c.slot] != 0 && c.dirty() && s.isDue(rs, w, c, ready[c.slot]) {
			cells = append(cells, c)
		}
	}
	slices.SortFunc(cells, func(x, y *cell) int { return labels.Compare(x.labels, y.labels) })
	for _, c := range cells {
		g := rs.groups[string(rs.key(c.labels))]
		b.samples = s.render(rs, w, c, g, b.samples)
		version := c.version
		b.done = append(b.done, func() {
			if g != nil {
				g.shown = max(g.shown, w.end)
			}
			c.published, c.shown = true, version
			c.next++
		})
	}
	var past bits
	for k := range Slots {
		if w.end <= rs.past(k) {
			past.set(k)
		}
	}
	b.done = append(b.done, func() {
		for k := range Slots {
			if w.end <= ready[k] && !past.has(k) {
				w.done.set(k)
			}
		}
	})
}

// isDue: a window that is published elsewhere is not published here too, but for
// groups that were in no island's then, and for corrections.
func (s *Share) isDue(rs *ruleState, w *window, c *cell, ready int64) bool {
	switch {
	case c.published:
		return true
	case c.late:
		return s.now-c.touched >= settleTime.Milliseconds()
	}
	return w.end > rs.past(c.slot) && w.end <= ready
}

// render leaves the totals of past windows out: they go with the next.
func (s *Share) render(rs *ruleState, w *window, c *cell, g *group, out []partial.Sample) []partial.Sample {
	acc := rs.combined(c)
	var total *partial.Acc
	if g != nil && rs.cum != 0 && w.end > rs.past(c.slot) && w.end >= g.shown {
		sum := g.total(w.end)
		total = &sum
	}
	return owner.Render(out, rs.rule, c.labels, w.end, c.next, &acc, total)
}

// ready says for each slot of this island to which window it is complete; all is
// the least of them.
func (s *Share) ready(rs *ruleState) (*[Slots]int64, int64) {
	ready := new([Slots]int64)
	hold := s.hold(rs.rule)
	lenient := s.agreed != 0 && s.now-s.agreed >= hold
	deadline := rs.rule.Window(s.now - hold - rs.interval())
	strict, loose := s.complete(rs, 0), s.complete(rs, hold)
	// Where a source is left out, all slots go together: what this island says of
	// them to the next owner is to where it published all.
	together := int64(never)
	if lenient {
		together = max(s.least(loose), deadline)
	}
	all := int64(math.MaxInt64)
	for k := range Slots {
		ready[k] = never
		if s.owned[k] != 0 {
			ready[k] = max(strict.at(s.view, k), together, rs.past(k))
			all = min(all, ready[k])
		}
	}
	if all == math.MaxInt64 { // it owns nothing, so nobody waits for it
		all = rs.through
	}
	return ready, all
}

// least is to where all slots of this island are complete.
func (s *Share) least(c *complete) int64 {
	at := int64(math.MaxInt64)
	for k := range Slots {
		if s.owned[k] != 0 {
			at = min(at, c.at(s.view, k))
		}
	}
	return at
}

// complete is to where the sources delivered.
type complete struct {
	base   int64
	extra  *[Slots]int64 // instead of base; nil where it holds for all slots
	stored []int64       // by member: to where it has this island's own parts
}

func (c *complete) at(v *view, slot int) int64 {
	at := c.base
	if c.extra != nil {
		at = c.extra[slot]
	}
	if second := v.second[slot]; second != none {
		at = min(at, c.stored[second])
	}
	return at
}

// complete looks at all sources; or only at those that have not been silent or
// away for longer than patience (ms), if that is not 0.
func (s *Share) complete(rs *ruleState, patience int64) *complete {
	c := &complete{base: math.MaxInt64, stored: make([]int64, len(s.view.members))}
	var uneven []string
	for name, m := range s.members {
		if patience > 0 && name != s.o.Self && (s.now-m.in > patience || s.silent(m) > patience) {
			continue
		}
		at, even := int64(never), true
		for i := range rs.marks[name] {
			if m := &rs.marks[name][i]; m.view.id == s.view.id {
				at = m.through
			}
		}
		for i := range rs.marks[name] {
			even = even && rs.marks[name][i].through <= at
		}
		if !even {
			uneven = append(uneven, name)
			continue
		}
		c.base = min(c.base, at)
	}
	for i, name := range s.view.members {
		c.stored[i] = math.MaxInt64
		if name != s.o.Self && (patience == 0 || s.silent(s.members[name]) <= patience) {
			c.stored[i] = s.peers[name].stored(rs)
		}
	}
	if len(uneven) > 0 {
		c.extra = s.uneven(rs, uneven, c.base)
	}
	return c
}

// silent is for how long nothing was heard of a member, ms.
func (s *Share) silent(m *member) int64 { return s.now - max(m.since, m.heard) }

// uneven goes through sources that delivered more in another view than in the
// present one: it counts for the slots that were this island's there too.
func (s *Share) uneven(rs *ruleState, names []string, base int64) *[Slots]int64 {
	out := new([Slots]int64)
	for k := range out {
		out[k] = base
	}
	for _, name := range names {
		var best [Slots]int64
		for k := range best {
			best[k] = never
		}
		for _, m := range rs.marks[name] {
			self := m.view.index(s.o.Self)
			for k := range best {
				if m.through > best[k] && m.view.holds(self, k) {
					best[k] = m.through
				}
			}
		}
		for k := range out {
			out[k] = min(out[k], best[k])
		}
	}
	return out
}

// majority reports whether more than half of the islands that were members lately
// are heard and have the same members as this one; of an even number in two halves
// the one with the first name. So no two owners of a slot go on without a source.
func (s *Share) majority() bool {
	n, lowest := 0, ""
	first := false
	for name, m := range s.members {
		if lowest == "" || name < lowest {
			lowest, first = name, false
		}
		agrees := name == s.o.Self || m.heard > 0 && s.now-m.heard <= fresh.Milliseconds() && m.view == s.view.id
		if agrees {
			n++
			first = first || name == lowest
		}
	}
	return 2*n > len(s.members) || 2*n == len(s.members) && first
}
