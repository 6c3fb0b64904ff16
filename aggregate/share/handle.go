package share

import (
	"context"
	"fmt"
	"slices"
)

// Handle takes a message of another island and returns the answer.
func (s *Share) Handle(_ context.Context, from string, data []byte) ([]byte, error) {
	b, err := s.codec.unpack(data)
	if err != nil {
		s.m.messages.WithLabelValues("malformed").Inc()
		return nil, fmt.Errorf("reading parts of %s: %w", from, err)
	}
	m, err := decodeMessage(b, s.find)
	if err != nil {
		s.m.messages.WithLabelValues("malformed").Inc()
		return nil, fmt.Errorf("reading parts of %s: %w", from, err)
	}
	s.m.receivedBytes.Add(float64(len(data)))
	if len(m.unknown) > 0 {
		s.m.messages.WithLabelValues("unknown_rule").Inc()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &reply{boot: s.o.Start}
	if s.view == nil { // Run has not begun
		return s.codec.pack(r.append(nil)), nil
	}
	s.clock()
	views, clear := s.resolve(m)
	s.hear(from, m, views)
	if r.taken = clear && m.boot == s.o.Start; r.taken {
		s.take(from, m, views[0])
		r.viewed = views[0].id == s.view.id
		r.even = r.viewed && s.gave(from, m)
		s.signal()
	}
	if known := s.members[from]; known != nil {
		s.hearStance(known, m.stance, m.done && r.viewed)
	}
	for _, rs := range s.order {
		at := rs.through
		if r.viewed {
			at = rs.published
		}
		r.rules = append(r.rules, told{rs.rule.Hash, rs.birth, at})
	}
	return s.codec.pack(r.append(nil)), nil
}

// gave reports whether an island has all that this one had to give of the rules that
// it speaks of, since the view came.
func (s *Share) gave(to string, m *message) bool {
	p := s.peers[to]
	return p != nil && p.boot == m.stance.start && !slices.ContainsFunc(m.states, func(x state) bool {
		l := p.links[x.rule.Hash]
		return l == nil || !l.synced
	})
}

// resolve finds the views that a message names; nil for those of unknown plans.
func (s *Share) resolve(m *message) (out []*view, all bool) {
	for _, p := range m.plans {
		s.learnPlan(p)
	}
	all = true
	for _, x := range m.views {
		var v *view
		if p := s.findPlan(x.plan); p != nil || x.plan == 0 {
			v = s.views.get(x.members, x.apart, p)
		}
		out = append(out, v)
		all = all && v != nil
	}
	return out, all
}

// hear notes that an island is there, and what it knows to be published.
func (s *Share) hear(from string, m *message, views []*view) {
	if len(m.sealed) > 0 { // one for each of its rules
		s.spoken = s.now
	}
	if known := s.members[from]; known != nil {
		known.heard, known.known, known.view, known.life = s.now, s.now, 0, m.life
		if views[0] != nil {
			known.view = views[0].id
		}
	}
	for _, x := range m.islands {
		if x.name != s.o.Self {
			s.meet(x)
		}
	}
	for _, x := range m.sealed {
		if rs := s.rules[x.rule]; rs != nil {
			rs.raise(x.through)
		}
	}
	for _, x := range m.lost {
		if rs := s.rules[x.rule]; rs != nil {
			rs.gaps[from] = max(x.through, rs.gapOf(from))
		}
	}
	for _, x := range m.words {
		rs, v := s.rules[x.rule], views[x.view]
		if rs != nil && v != nil && (!v.apart || s.view.apart) {
			rs.hearWord(v, x.owner, x.through)
		}
	}
	if m.loadView != 0 {
		s.report(from, m.loadView, m.loads)
	}
}

// take merges what a message carries.
func (s *Share) take(from string, m *message, v *view) {
	s.stirred = true
	owns := func(slot int) bool { return v.id == s.view.id && v.Members[v.First[slot]] == from }
	for i := range m.states {
		if rs := s.rules[m.states[i].rule.Hash]; rs != nil {
			s.takeState(rs, &m.states[i], owns)
		}
	}
	for _, p := range m.parts {
		rs := s.rules[p.rule.Hash]
		if rs == nil { // it went since the message was decoded
			continue
		}
		s.takePart(rs, source{from, m.life}, p)
		s.arrived(rs, p.end)
		if !p.late && rs.first[from] {
			rs.first[from] = false
			rs.origin = max(rs.origin, p.end-rs.interval())
		}
		if p.last && !p.late {
			rs.mark(from, v, p.end)
		}
	}
}

// takeState notes what another one knows of groups; owns: it is the owner of a slot.
func (s *Share) takeState(rs *ruleState, st *state, owns func(slot int) bool) {
	for i := range st.groups {
		x := &st.groups[i]
		g := rs.group(x.labels, x.hash)
		for _, c := range x.counts {
			g.put(c, rs.through)
		}
		for _, in := range x.in {
			g.in.add(in, rs.interval())
			g.last = max(g.last, in.to)
		}
		for _, in := range x.apart {
			g.apart.add(in, rs.interval())
			g.last = max(g.last, in.to)
		}
		if len(g.in)+len(g.apart) > 0 {
			rs.knownIn(g)
		}
		for i := range x.left {
			s.takeLeft(rs, g, &x.left[i])
		}
		for _, end := range x.changed {
			if w := rs.windows[end]; w != nil {
				if c := w.cells[string(rs.key(g.labels))]; c != nil {
					if !c.published {
						c.adopt()
					}
					c.shown, c.corrected = 0, true
					c.unvouch() // it may be older than what was published elsewhere
				}
			}
		}
		for _, c := range x.claims {
			if c.end > s.horizon(rs) && !g.isIn(c.end, true) {
				s.takeClaim(rs, g, &c, owns(g.slot))
			}
		}
	}
}

// knownIn adopts what was gathered of windows that another one published.
func (rs *ruleState) knownIn(g *group) {
	key := rs.key(g.labels)
	for end, w := range rs.windows {
		if c := w.cells[string(key)]; c != nil && !c.published && g.isIn(end, c.late) {
			c.adopt()
		}
	}
}

// takeClaim notes what another one is about to publish; who owns the group knows
// better than an owner before.
func (s *Share) takeClaim(rs *ruleState, g *group, x *claim, owns bool) {
	w := rs.window(x.end)
	c := w.cells[string(rs.key(g.labels))]
	if c == nil {
		c = w.cell(rs, g.labels, g.hash, g.slot)
		c.touched = s.now
	}
	if !c.published && (c.claim == nil || owns) {
		c.late = c.late || x.late || x.end <= rs.past(g.slot)
		c.claim, c.last = &fixed{x.acc, 0, x.revision}, x.revision
	}
}

// takeLeft merges a part that was in a published window.
func (s *Share) takeLeft(rs *ruleState, g *group, x *leftPart) {
	if x.open {
		s.takeOpen(rs, g, x)
		return
	}
	if x.end <= s.horizon(rs) || !rs.remembers() {
		return
	}
	w := rs.window(x.end)
	c := w.cells[string(rs.key(g.labels))]
	if c == nil {
		c = w.cell(rs, g.labels, g.hash, g.slot)
		c.adopt()
	}
	clean := !c.dirty()
	if c.merge(x.source, x.revision, &x.acc) && clean && c.adopted && !c.changed() {
		c.shown = c.version
	}
}

// takeOpen merges a part of an island that is not there, of a group that is not known
// to be published in the window. Of one that is past the next owner needs it to publish
// the same value again.
func (s *Share) takeOpen(rs *ruleState, g *group, x *leftPart) {
	past := x.end <= rs.past(g.slot)
	if x.end <= s.horizon(rs) || g.isIn(x.end, past) {
		return
	}
	w := rs.window(x.end)
	c := w.cells[string(rs.key(g.labels))]
	if c == nil {
		c = w.cell(rs, g.labels, g.hash, g.slot)
		c.late, c.again, c.behind = past, past && !x.behind, true
	}
	if c.published || c.claim != nil {
		return
	}
	if c.merge(x.source, x.revision, &x.acc) {
		c.touched, c.behind, c.loose = s.now, c.behind && x.behind, true
	}
}

// mark notes that a source delivered all to a window.
func (rs *ruleState) mark(from string, v *view, through int64) {
	marks := rs.marks[from]
	for i := range marks {
		if marks[i].view.id == v.id {
			marks[i].through = max(marks[i].through, through)
			return
		}
	}
	if len(marks) >= mostViews {
		marks = marks[1:]
	}
	rs.marks[from] = append(marks, sourceMark{v, through})
}
