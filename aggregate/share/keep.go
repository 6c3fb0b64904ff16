package share

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/owner"
	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// window is one window of a rule of which parts have come in.
type window struct {
	end   int64
	cells map[string]*cell // by the bytes of the group's labels
}

// cell is one group of a window.
type cell struct {
	labels labels.Labels
	hash   uint64
	slot   int
	parts  []said // by source
	// published: the group was published in the window, here or, where it is
	// adopted, elsewhere before its parts came here.
	published, adopted bool
	late               bool   // it came when the window was past, and was never in it
	again              bool   // a late one of a part that was not late at its source
	behind             bool   // all its parts were late at their sources
	loose              bool   // some are such that no mark says who has them
	corrected          bool   // it was published again, or is about to be, here or elsewhere
	version            uint64 // counts the changes
	shown              uint64 // the version that was published
	touched            int64  // when a part came last
	last               uint32 // revision of the last publication here

	claim *fixed // what is published next; nil: what the parts say then
	vouch vouch
}

// said is the newest that a source said of a cell.
type said struct {
	source   source
	revision uint32
	acc      partial.Acc
}

func (s *Share) takePart(rs *ruleState, from source, p *part) {
	for i := range p.rows {
		r := &p.rows[i]
		g := rs.group(r.Group, r.Hash)
		g.last = max(g.last, p.end)
		s.load[g.slot]++
		if r.total != nil {
			g.put(count{from, p.asOf, p.seq, *r.total}, rs.through)
		}
		s.m.rows.WithLabelValues(s.takeRow(rs, from, p, r, g)).Inc()
	}
}

// takeRow returns what became of a row.
func (s *Share) takeRow(rs *ruleState, from source, p *part, r *row, g *group) string {
	if p.end <= s.horizon(rs) {
		return "too_old"
	}
	w := rs.windows[p.end]
	var c *cell
	if w != nil {
		c = w.cells[string(rs.key(r.Group))]
	}
	past := p.end <= rs.past(g.slot)
	known := c != nil && c.published || g.isIn(p.end, past)
	if known && !rs.remembers() {
		return "late"
	}
	if past && !known && (!p.late || p.after) && p.end <= rs.origin && !rs.remembers() && (c == nil || !c.late) {
		return "unknown" // whether the group was in it knows who published it
	}
	if c == nil {
		w = rs.window(p.end)
		c = w.cell(rs, r.Group, r.Hash, g.slot)
		c.late, c.behind = past && !known, true
		c.again = c.late && (!p.late || p.after)
	}
	if known && !c.published {
		c.adopt()
	}
	clean := !c.dirty()
	if !c.merge(from, p.revision, &r.Acc) {
		return "duplicate"
	}
	c.touched, c.behind, c.loose = s.now, c.behind && p.late, c.loose || p.late
	switch {
	case !known:
		return "taken"
	case c.adopted && clean && !p.late && !p.after: // it was in what the other one published
		c.shown = c.version
		return "taken"
	}
	if owner := s.view.First[g.slot]; owner != s.self && !c.adopted { // who may take it for old
		version := c.version
		s.tell(rs, w, c, owner, func(bool) { c.shown = max(c.shown, version) })
	}
	return "corrected"
}

// adopt: another one published it as it is here; whether with what sources changed
// is not known.
func (c *cell) adopt() {
	if c.published, c.adopted = true, true; !c.changed() && c.claim == nil {
		c.shown = c.version
	}
	c.claim = nil
}

func (rs *ruleState) window(end int64) *window {
	w := rs.windows[end]
	if w == nil {
		w = &window{end: end, cells: map[string]*cell{}}
		rs.windows[end] = w
	}
	return w
}

func (w *window) cell(rs *ruleState, ls labels.Labels, hash uint64, slot int) *cell {
	c := &cell{labels: ls, hash: hash, slot: slot}
	w.cells[string(rs.key(ls))] = c
	return c
}

// merge reports whether it is news.
func (c *cell) merge(from source, revision uint32, acc *partial.Acc) bool {
	i, found := slices.BinarySearchFunc(c.parts, from, func(a said, b source) int { return a.source.compare(b) })
	switch {
	case found && c.parts[i].revision >= revision:
		return false
	case found:
		c.parts[i] = said{from, revision, *acc}
	default:
		c.parts = slices.Insert(c.parts, i, said{from, revision, *acc})
	}
	c.version++
	return true
}

// changed: a source changed its part, be it before or after the publication.
func (c *cell) changed() bool {
	return slices.ContainsFunc(c.parts, func(x said) bool { return x.revision > 0 })
}

// dirty: there is more than was published.
func (c *cell) dirty() bool { return c.version != c.shown || !c.published }

// revision of the next publication: it follows from the parts, so that all owners
// give the same value the same one, and rises with each change. The first is 0 but
// where sources had changed their parts before.
func (c *cell) revision() (n uint32) {
	for i := range c.parts {
		n += c.parts[i].revision
		if c.published {
			n++
		}
	}
	return n
}

// combined is what all parts of a cell say.
func (rs *ruleState) combined(c *cell) partial.Acc {
	parts := make([]owner.Part, len(c.parts))
	for i := range c.parts {
		p := &c.parts[i]
		parts[i] = owner.Part{Source: p.source.name, Epoch: p.source.life, Acc: p.acc}
	}
	return owner.Combine(rs.rule.Needs(), parts)
}

// prune forgets windows that are over and remembers which groups were in them.
func (s *Share) prune() {
	for _, rs := range s.order {
		horizon := s.horizon(rs)
		for end, w := range rs.windows {
			if end <= horizon {
				delete(rs.windows, end)
			} else if end <= rs.through {
				if rs.put(w, rs.remembers() && rs.waits(end)); len(w.cells) == 0 {
					delete(rs.windows, end)
				}
			}
		}
		for name := range rs.marks {
			if s.members[name] == nil {
				delete(rs.marks, name)
				delete(rs.gaps, name)
			}
		}
		rs.sweep(s.wall, horizon)
	}
}

// put takes the cells out of a window that is published, here or elsewhere, and
// need not be kept. A backlog that is still gathered stays, and what may be
// corrected.
// With own parts that wait the window was published without them.
func (rs *ruleState) put(w *window, waits bool) {
	for key, c := range w.cells {
		switch {
		case c.published || c.late:
		case c.behind, waits: // whether it was in the window the owner will tell
			c.late = true
		default:
			rs.group(c.labels, c.hash).in.add(span{w.end, w.end}, rs.interval())
			c.published = true
			if !c.changed() {
				c.shown = c.version
			}
		}
		if c.published && !rs.remembers() {
			delete(w.cells, key)
		}
	}
}

// waits reports whether parts of this island have not reached all yet.
func (rs *ruleState) waits(end int64) bool {
	return slices.ContainsFunc(rs.pending, func(p *pending) bool { return p.end == end && !p.spare })
}
