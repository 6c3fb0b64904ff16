package share

import (
	"context"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// publish hands out what is due. Owners' words follow when it was taken.
func (s *Share) publish(ctx context.Context) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	for {
		b := s.decide()
		if b == nil {
			return nil
		}
		if err := s.offer(ctx, b); err != nil {
			return err
		}
	}
}

// decide is what is to be published next; nil: nothing for now.
func (s *Share) decide() *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.decided != nil {
		return s.decided
	}
	if s.self == none || !s.stirred && s.now-s.judged < poll.Milliseconds() {
		return nil
	}
	s.number++
	b := begin(s.number, s.note)
	for _, rs := range s.order {
		s.due(rs, b)
	}
	if s.stirred = b.full(); !s.stirred {
		s.judged = s.now
	}
	s.decided = b
	return b
}

// due collects the windows of a rule that are complete in slots of this island.
func (s *Share) due(rs *ruleState, b *batch) {
	r := s.reach(rs)
	ends := make([]int64, 0, len(rs.windows))
	for end := range rs.windows {
		ends = append(ends, end)
	}
	slices.Sort(ends)
	for _, end := range ends {
		s.dueWindow(rs, rs.windows[end], r, b)
	}
	if b.full() {
		return
	}
	rs.shown = r
	all := r.least()
	if all == math.MaxInt64 { // it owns nothing, so nobody waits for it
		all = rs.through
	}
	b.done = append(b.done, func() {
		if s.view == r.view {
			rs.published = max(rs.published, all)
			rs.hearWord(r.view, s.o.Self, rs.published)
		}
	})
}

func (s *Share) dueWindow(rs *ruleState, w *window, r *reach, b *batch) {
	if b.full() {
		return
	}
	var cells []*cell
	incomplete := false
	for _, c := range w.cells {
		if s.view.First[c.slot] != s.self || !c.dirty() || !s.isDue(rs, w, c, r) {
			continue
		}
		if (c.published || c.late || c.loose || c.claim != nil) && !s.vouched(rs, w, c) {
			if !c.published && !c.late { // nobody may take the window for published
				r.most = min(r.most, w.end-rs.interval())
			}
			continue
		}
		cells = append(cells, c)
		incomplete = incomplete || !c.late && !c.published && w.end > r.complete.at(r.view, c.slot)
	}
	if len(cells) == 0 {
		return
	}
	slices.SortFunc(cells, func(x, y *cell) int { return labels.Compare(x.labels, y.labels) })
	b.window(rs, w.end, s.view.apart)
	for i := 0; i < len(cells) && !b.full(); i++ {
		b.add(rs, w.end, s.show(rs, w, cells[i]))
	}
	if incomplete {
		b.done = append(b.done, func() { s.m.lacking(s.view.apart) })
	}
}

// isDue: nothing of a window is published before it is complete. One that is published
// elsewhere is not published here too, but for groups that were in no island's then,
// and for corrections. Both wait until all sources have also said here what they had
// said to an owner before.
func (s *Share) isDue(rs *ruleState, w *window, c *cell, r *reach) bool {
	at := r.at(c.slot)
	if w.end > at {
		return false
	}
	if c.behind && !c.published && !rs.remembers() { // marks do not say that its deputy has the same parts
		c.late = true
	}
	switch {
	case c.published:
		return rs.remembers() && c.revision() > c.last && at >= rs.turned && rs.isWhole(w.end) && (!c.adopted || !s.misses(c))
	case c.late && c.again && w.end <= rs.origin && !rs.remembers():
		return false // whether the group was in it knows who published it
	case c.late:
		return s.now-c.touched >= settleTime.Milliseconds() && at >= rs.turned
	}
	return w.end > rs.past(c.slot)
}

// misses reports whether an island is gone that may have had a share in a cell, and
// cannot say so again: then it is better left as it was published.
func (s *Share) misses(c *cell) bool {
	for name := range s.members {
		_, in := slices.BinarySearch(s.listed, name)
		if !in && !slices.ContainsFunc(c.parts, func(x said) bool { return x.source.name == name }) {
			return true
		}
	}
	return false
}

// isWhole reports whether all parts of a window could be sent again.
func (rs *ruleState) isWhole(end int64) bool {
	for _, at := range rs.gaps {
		if end <= at {
			return false
		}
	}
	return end > rs.lost
}

func (rs *ruleState) gapOf(source string) int64 {
	if at, ok := rs.gaps[source]; ok {
		return at
	}
	return never
}

// show decides that a cell is published as it is.
func (s *Share) show(rs *ruleState, w *window, c *cell) *verdict {
	g := rs.group(c.labels, c.hash)
	next, first := c.claim, !c.published
	if next == nil {
		next = &fixed{rs.combined(c), c.version, c.revision()}
	}
	if !rs.remembers() {
		next.revision = 0
	}
	x := &verdict{c.labels, first, next.revision, next.acc, s.totalOf(rs, w, c, g)}
	g.shown = max(g.shown, w.end)
	g.publishedIn(w.end, s.view.apart, rs.interval())
	c.published, c.shown, c.last = true, next.version, next.revision
	if first && c.claim != nil { // nobody's word says that it is out
		s.tell(rs, w, c, s.view.Second[c.slot], func(bool) {})
	}
	c.claim, c.vouch = nil, vouch{}
	return x
}

// totalOf is the total of a group; nil for past windows, of which it goes with the
// next, and where those who know it are out of reach.
func (s *Share) totalOf(rs *ruleState, w *window, c *cell, g *group) *partial.Acc {
	if rs.cum == 0 || w.end <= rs.past(c.slot) || w.end < g.shown || !s.knows(c.slot) {
		return nil
	}
	sum := g.total(w.end)
	return &sum
}

// knows reports whether an island that held a slot when all were together is
// within reach.
func (s *Share) knows(slot int) bool {
	if !s.view.apart || s.whole == nil {
		return true
	}
	in := func(m int16) bool { return m != none && s.view.Index(s.whole.Members[m]) != none }
	return in(s.whole.First[slot]) || in(s.whole.Second[slot])
}
