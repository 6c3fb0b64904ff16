package owner

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// window is one window of a rule of which parts have come in.
type window struct {
	end       int64
	groups    map[string]*group
	sealed    map[string]bool // sources that will send no more but corrections
	pieces    map[pieceKey]map[uint32]bool
	published bool
}

// pieceKey names a window that comes in pieces.
type pieceKey struct {
	source   string
	epoch    uint64
	revision uint32
}

// seal notes that a source sealed the window, when all pieces are there.
func (w *window) seal(source string, epoch uint64, p *partial.Window) {
	if p.Pieces > 1 {
		key := pieceKey{source, epoch, p.Revision}
		w.have(key, p.Piece)
		if len(w.pieces[key]) < int(p.Pieces) {
			return
		}
	}
	w.sealed[source] = true
}

// have notes that a piece is there.
func (w *window) have(key pieceKey, piece uint32) {
	if w.pieces == nil {
		w.pieces = map[pieceKey]map[uint32]bool{}
	}
	if w.pieces[key] == nil {
		w.pieces[key] = map[uint32]bool{}
	}
	w.pieces[key][piece] = true
}

// group is one group of a window.
type group struct {
	labels labels.Labels
	hash   uint64
	parts  []part // by source, epoch
	// counted is the share in the totals so far.
	counted share
	// next is the revision of the next publication.
	next  uint32
	dirty bool
}

// part is the newest that a source said of a group in one epoch of its life.
type part struct {
	source   string
	epoch    uint64
	revision uint32
	acc      partial.Acc
}

func (p *part) compare(source string, epoch uint64) int {
	return cmp.Or(cmp.Compare(p.source, source), cmp.Compare(p.epoch, epoch))
}

// SetSources names the sources that are alive: a window is published when all of
// them have sealed it, or at its deadline.
func (o *Owner) SetSources(live []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.live = slices.Sorted(slices.Values(live))
}

// Mark says that all windows of a rule to the one that ends at through were
// delivered by a source, also those in which it had nothing.
func (o *Owner) Mark(source string, r *rule.Rule, through int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.rules[r.Hash]; s != nil {
		s.marks[source] = max(through, s.marks[source])
	}
}

// Merge takes a window, or a part of one, of a source in one epoch of its life:
// the same source begins a new epoch when it has lost its state, and what it says
// then comes on top of what it said before. Within an epoch a row of a higher
// revision replaces the row of the same group. A window that is not Open seals it
// for the source, once all its pieces are there. Merge keeps no memory of w.
func (o *Owner) Merge(source string, epoch uint64, w *partial.Window) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.rules[w.Rule.Hash]
	if s == nil {
		o.metrics.partials.WithLabelValues("unknown_rule").Add(float64(len(w.Rows)))
		return fmt.Errorf("merging a window of %s: no rule here has the hash %016x; give all nodes the same rules", source, w.Rule.Hash)
	}
	if w.End <= o.horizon(s) {
		o.metrics.partials.WithLabelValues("too_old").Add(float64(len(w.Rows)))
		return nil
	}
	win := s.windows[w.End]
	if win == nil {
		win = &window{end: w.End, groups: map[string]*group{}, sealed: map[string]bool{}}
		s.windows[w.End] = win
	}
	for i := range w.Rows {
		result := "duplicate"
		if s.merge(win, source, epoch, w.Revision, &w.Rows[i]) {
			result = "taken"
		}
		o.metrics.partials.WithLabelValues(result).Inc()
	}
	if !w.Open {
		win.seal(source, epoch, w)
	}
	return nil
}

// horizon is the end of the newest window that is forgotten.
func (o *Owner) horizon(s *ruleState) int64 {
	return o.now - s.rule.MaxAge.Milliseconds() - s.rule.MaxLag.Milliseconds() - s.rule.Interval.Milliseconds() - o.grace
}

// merge reports whether the row is news.
func (s *ruleState) merge(w *window, source string, epoch uint64, revision uint32, row *partial.Row) bool {
	key := s.key(row.Group)
	g := w.groups[string(key)]
	if g == nil {
		g = &group{labels: row.Group, hash: row.Hash}
		w.groups[string(key)] = g
	}
	i, found := slices.BinarySearchFunc(g.parts, source, func(p part, _ string) int { return p.compare(source, epoch) })
	if found && g.parts[i].revision >= revision {
		return false
	}
	p := part{source: source, epoch: epoch, revision: revision, acc: row.Acc.Clone()}
	if found {
		g.parts[i] = p
	} else {
		g.parts = slices.Insert(g.parts, i, p)
	}
	g.dirty = true
	return true
}

// merged is what all parts say together. It is a function of the parts alone:
// they are in order, whatever the order they came in.
func (g *group) merged(needs rule.Needs) partial.Acc {
	var out partial.Acc
	for i := 0; i < len(g.parts); {
		j := i + 1
		for j < len(g.parts) && g.parts[j].source == g.parts[i].source {
			j++
		}
		one := ofSource(needs, g.parts[i:j])
		out.Merge(needs, &one)
		i = j
	}
	return out
}

// ofSource adds the epochs of one source. Their samples are different ones, but
// their series are the same: of rate and count_series, which are per series, the
// epoch that saw the most holds, the newest of equals.
func ofSource(needs rule.Needs, epochs []part) partial.Acc {
	if len(epochs) == 1 {
		return epochs[0].acc
	}
	out := epochs[0].acc.Clone()
	for i := range epochs[1:] {
		e := &epochs[i+1].acc
		rate, rates, series := out.Rate, out.Rates, out.Series
		out.Merge(needs, e)
		if out.Rate, out.Rates = rate, rates; e.Rates >= rates {
			out.Rate, out.Rates = e.Rate, e.Rates
		}
		out.Series = max(series, e.Series)
	}
	return out
}

// Take returns the samples of all windows that are due at now (Unix ms), in order
// of rule, window and group, each once; and forgets what is beyond the horizon.
func (o *Owner) Take(now int64) []partial.Sample {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = max(o.now, now)
	var out []partial.Sample
	for _, s := range o.order {
		out = o.take(s, out)
		s.sweep(o.now)
	}
	o.metrics.samples.Add(float64(len(out)))
	return out
}

// take publishes windows by rising end: one that waits holds back those after it,
// for totals grow with time. All are due at their deadlines, so none waits for long.
func (o *Owner) take(s *ruleState, out []partial.Sample) []partial.Sample {
	ends := make([]int64, 0, len(s.windows))
	for end := range s.windows {
		ends = append(ends, end)
	}
	slices.Sort(ends)
	held := false
	for _, end := range ends {
		w := s.windows[end]
		if end <= o.horizon(s) && w.published {
			delete(s.windows, end)
			continue
		}
		late := w.published
		if !w.published && !held {
			w.published = o.due(s, w)
			held = !w.published
		}
		if !w.published && !s.rule.Early {
			continue
		}
		for _, g := range w.changed() {
			out = o.publish(s, w, g, late, out)
		}
		s.newest = max(s.newest, end)
	}
	return out
}

// due reports whether a window is to be published.
func (o *Owner) due(s *ruleState, w *window) bool {
	waiting := slices.ContainsFunc(o.live, func(source string) bool {
		through, marked := s.marks[source]
		return !w.sealed[source] && (!marked || through < w.end)
	})
	if !waiting && len(o.live) > 0 {
		return true
	}
	if o.now < w.end+s.rule.MaxLag.Milliseconds()+o.grace {
		return false
	}
	o.metrics.overdue.Inc()
	return true
}

// changed are the groups with something new, by their labels.
func (w *window) changed() []*group {
	var gs []*group
	for _, g := range w.groups {
		if g.dirty {
			gs = append(gs, g)
		}
	}
	slices.SortFunc(gs, func(a, b *group) int { return labels.Compare(a.labels, b.labels) })
	return gs
}

// publish settles one group. A change after the window was published follows the
// rule's policy, unless the group was not in it.
func (o *Owner) publish(s *ruleState, w *window, g *group, late bool, out []partial.Sample) []partial.Sample {
	g.dirty = false
	again := late && g.next > 0
	if again {
		o.metrics.late.WithLabelValues(s.rule.Late.String()).Inc()
		if s.rule.Late == rule.Drop {
			return out
		}
	}
	acc := g.merged(s.rule.Needs())
	t := s.total(g.labels)
	if t != nil {
		next := shareOf(s.needs, &acc)
		t.sum.remove(&g.counted)
		t.sum.add(&next)
		g.counted = next.clone()
		t.last = max(t.last, w.end)
	}
	if again && s.rule.Late == rule.Carry {
		return out
	}
	out = s.finish(out, g.labels, w.end, g.next, &acc, t)
	g.next++
	return out
}
