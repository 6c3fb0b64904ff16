package share

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// window is one window of a rule of which parts have come in.
type window struct {
	end   int64
	cells map[string]*cell // by the bytes of the group's labels
	done  bits             // slots that were published here
}

// cell is one group of a window.
type cell struct {
	labels    labels.Labels
	hash      uint64
	slot      int
	parts     []said // by source
	published bool
	late      bool   // it came when the window was past, and was never in it
	version   uint64 // counts the changes
	shown     uint64 // the version that was published
	touched   int64  // when a part came last, Unix ms
	next      uint32 // revision of the next publication
}

// said is the newest that a source said of a cell.
type said struct {
	source   source
	revision uint32
	acc      partial.Acc
}

// Handle takes a message of another island and returns the answer.
func (s *Share) Handle(_ context.Context, from string, data []byte) ([]byte, error) {
	b, err := s.codec.unpack(data)
	if err != nil {
		s.m.messages.WithLabelValues("malformed").Inc()
		return nil, fmt.Errorf("reading parts of %s: %w", from, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := decodeMessage(b, s.find)
	if err != nil {
		s.m.messages.WithLabelValues("malformed").Inc()
		return nil, fmt.Errorf("reading parts of %s: %w", from, err)
	}
	s.m.receivedBytes.Add(float64(len(data)))
	r := &reply{boot: s.o.Start, unknown: m.unknown}
	if s.view == nil { // Run has not begun
		return s.codec.pack(r.append(nil)), nil
	}
	s.now = max(s.now, s.o.Now().UnixMilli())
	s.hear(from, m)
	if r.taken = m.boot == s.o.Start; r.taken {
		s.take(from, m)
		r.viewed = slices.Equal(m.members, s.view.members)
		s.signal()
	}
	for _, rs := range s.order {
		if at := rs.says(r.viewed); at > never {
			r.published = append(r.published, mark{rs.rule.Hash, at})
		}
	}
	return s.codec.pack(r.append(nil)), nil
}

func (rs *ruleState) says(viewed bool) int64 {
	if viewed {
		return rs.published
	}
	return rs.through
}

// hear notes that an island is there, and what it knows to be published.
func (s *Share) hear(from string, m *message) {
	if known := s.members[from]; known != nil {
		known.heard = s.now
		known.view = idOf(m.members)
	}
	for _, name := range m.members {
		if s.members[name] == nil {
			s.members[name] = &member{since: s.now, in: s.now - 1}
		}
	}
	for _, x := range m.away {
		if s.members[x.name] == nil && x.ms >= 0 && x.ms < forgetMember.Milliseconds() {
			s.members[x.name] = &member{since: s.now, in: s.now - x.ms}
		}
	}
	for _, x := range m.sealed {
		if rs := s.rules[x.rule]; rs != nil {
			rs.raise(x.through)
		}
	}
	for _, x := range m.words {
		if rs := s.rules[x.rule]; rs != nil {
			rs.hearWord(s.views.get(x.members), x.owner, x.through)
		}
	}
}

// take merges what a message carries.
func (s *Share) take(from string, m *message) {
	s.stirred = true
	for i := range m.states {
		s.takeState(&m.states[i])
	}
	v := s.views.get(m.members)
	for _, p := range m.parts {
		rs := s.rules[p.rule.Hash]
		s.takePart(rs, source{from, m.life}, p)
		if p.last && !p.late {
			rs.mark(from, v, p.end)
		}
	}
}

func (s *Share) takeState(st *state) {
	rs := s.rules[st.rule.Hash]
	for i := range st.groups {
		x := &st.groups[i]
		g := rs.group(x.labels, x.hash)
		for _, c := range x.counts {
			g.put(c, rs.through)
		}
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

func (s *Share) takePart(rs *ruleState, from source, p *part) {
	for i := range p.rows {
		r := &p.rows[i]
		slot := slotOf(rs.rule.Hash, r.Hash)
		s.load[slot]++
		if r.total != nil {
			rs.group(r.Group, r.Hash).put(count{from, p.asOf, p.seq, *r.total}, rs.through)
		}
		s.m.rows.WithLabelValues(s.takeRow(rs, from, p, r, slot)).Inc()
	}
}

// takeRow returns what became of a row.
func (s *Share) takeRow(rs *ruleState, from source, p *part, r *row, slot int) string {
	if p.end <= s.horizon(rs) {
		return "too_old"
	}
	w := rs.windows[p.end]
	past := p.end <= rs.past(slot) || w != nil && w.done.has(slot)
	var c *cell
	if w != nil {
		c = w.cells[string(rs.key(r.Group))]
	}
	if past {
		if _, known := slices.BinarySearch(rs.done[p.end], r.Hash); known || c != nil && (c.published || !c.late) {
			return rs.again(c, from, p, r)
		}
		// Whether the group was in the window knows who published it; a source's
		// backlog never was.
		if c == nil && !p.late && (w == nil || !w.done.has(slot)) {
			return "unknown"
		}
	}
	if c == nil {
		c = rs.window(p.end).cell(rs, r, slot)
		c.late = past
	}
	if !c.merge(from, p.revision, &r.Acc) {
		return "duplicate"
	}
	c.touched = s.now
	return "taken"
}

// again deals with a row of a group that was published in the window.
func (rs *ruleState) again(c *cell, from source, p *part, r *row) string {
	if c == nil || !rs.remembers() {
		return "late"
	}
	if !c.merge(from, p.revision, &r.Acc) {
		return "duplicate"
	}
	return "corrected"
}

func (rs *ruleState) window(end int64) *window {
	w := rs.windows[end]
	if w == nil {
		w = &window{end: end, cells: map[string]*cell{}}
		rs.windows[end] = w
	}
	return w
}

func (w *window) cell(rs *ruleState, r *row, slot int) *cell {
	c := &cell{labels: r.Group, hash: r.Hash, slot: slot}
	w.cells[string(rs.key(r.Group))] = c
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

// horizon is the end of the newest window that is too old for anything.
func (s *Share) horizon(rs *ruleState) int64 {
	return s.now - rs.rule.MaxAge.Milliseconds() - s.hold(rs.rule) - rs.interval()
}

// dirty: there is more than was published.
func (c *cell) dirty() bool { return c.version != c.shown }

// prune forgets windows that are over and remembers which groups were in them.
func (s *Share) prune() {
	for _, rs := range s.order {
		horizon := s.horizon(rs)
		for end, w := range rs.windows {
			if end <= horizon || end <= rs.through {
				rs.finish(w, end <= horizon)
			}
			if end <= horizon || end <= rs.through && len(w.cells) == 0 {
				delete(rs.windows, end)
			}
		}
		for end := range rs.done {
			if end <= horizon {
				delete(rs.done, end)
			}
		}
		for name := range rs.marks {
			if s.members[name] == nil {
				delete(rs.marks, name)
			}
		}
		rs.sweep(s.now)
	}
}

// finish takes the cells out of a window that is published, here or elsewhere, and
// need not be kept. A backlog that is still gathered stays, and what this island
// published and may correct.
func (rs *ruleState) finish(w *window, all bool) {
	var hashes []uint64
	for key, c := range w.cells {
		switch {
		case all || c.published && !rs.remembers():
		case c.published || c.late:
			continue
		}
		hashes = append(hashes, c.hash)
		delete(w.cells, key)
	}
	if len(hashes) > 0 {
		merged := slices.Concat(rs.done[w.end], hashes)
		slices.Sort(merged)
		rs.done[w.end] = slices.Compact(merged)
	}
}
