package share

import (
	"cmp"
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// group is what the sources counted in one group, and where it was published.
type group struct {
	labels labels.Labels
	hash   uint64
	slot   int
	last   int64 // newest asOf, or end of a window
	shown  int64 // the newest window whose total was published here
	// in are the windows that it was published in by islands that went on for all,
	// apart those that others published, to the horizon.
	in, apart spans
	counts    []count // by source, asOf; of each source the newest to through and those after it
	// recent are the amounts of own windows that may come again, with late: correct.
	recent []amount
}

type amount struct {
	end int64
	acc partial.Acc
}

func (rs *ruleState) key(ls labels.Labels) []byte {
	rs.scratch = ls.Bytes(rs.scratch)
	return rs.scratch
}

// group finds or makes a group.
func (rs *ruleState) group(ls labels.Labels, hash uint64) *group {
	key := rs.key(ls)
	g := rs.groups[string(key)]
	if g == nil {
		g = &group{labels: ls, hash: hash, slot: slotOf(rs.rule.Hash, hash), last: never, shown: never}
		rs.groups[string(key)] = g
	}
	return g
}

// publishedIn notes that the group was published in a window.
func (g *group) publishedIn(end int64, apart bool, step int64) {
	if apart {
		g.apart.add(span{end, end}, step)
		return
	}
	g.in.add(span{end, end}, step)
}

// isIn reports whether the group was in a window that is published; as to one that
// is not past, those count alone who went on for all.
func (g *group) isIn(end int64, past bool) bool { return g.in.has(end) || past && g.apart.has(end) }

func (c *count) compare(s source, asOf int64) int {
	return cmp.Or(c.source.compare(s), cmp.Compare(c.asOf, asOf))
}

// put notes what a source counted; of two as of the same time the newer stays.
func (g *group) put(c count, through int64) {
	i, found := slices.BinarySearchFunc(g.counts, c, func(a, b count) int { return a.compare(b.source, b.asOf) })
	switch {
	case found && g.counts[i].seq >= c.seq:
		return
	case found:
		g.counts[i] = c
	default:
		g.counts = slices.Insert(g.counts, i, c)
	}
	g.last = max(g.last, c.asOf)
	g.prune(through)
}

// prune drops what a newer count up to through replaces.
func (g *group) prune(through int64) {
	keep := g.counts[:0]
	for i := range g.counts {
		c := &g.counts[i]
		if next := i + 1; next < len(g.counts) && g.counts[next].source == c.source && g.counts[next].asOf <= through {
			continue
		}
		keep = append(keep, *c)
	}
	clear(g.counts[len(keep):])
	g.counts = keep
}

// total is what all sources counted to the end of a window.
func (g *group) total(end int64) partial.Acc {
	var sum partial.Acc
	for i := range g.counts {
		c := &g.counts[i]
		if c.asOf > end {
			continue
		}
		if next := i + 1; next < len(g.counts) && g.counts[next].source == c.source && g.counts[next].asOf <= end {
			continue
		}
		count1(&sum, &c.acc)
	}
	return sum
}

// of is the newest count of a source; nil if there is none.
func (g *group) of(s source) *count {
	var newest *count
	for i := range g.counts {
		if g.counts[i].source == s {
			newest = &g.counts[i]
		}
	}
	return newest
}

// count1 adds the cumulative parts of one accumulator to another.
func count1(to, a *partial.Acc) {
	to.Increase.AddSum(a.Increase)
	to.Increase.AddSum(a.Carry)
	to.IncreaseProm.AddSum(a.IncreaseProm)
	to.IncreaseProm.AddSum(a.CarryProm)
	to.Sum.AddSum(a.Sum)
	to.Sum.AddSum(a.CarrySum)
	to.Merge(0, &partial.Acc{Quant: a.Quant, Buckets: a.Buckets, Hist: a.Hist})
}

// remembers reports whether windows of this island come again as a whole.
func (rs *ruleState) remembers() bool { return rs.rule.Late == rule.Correct || rs.rule.Early }

// counted are the parts of an accumulator that the totals are made of.
func (rs *ruleState) counted(a *partial.Acc) *partial.Acc {
	c, needs := *a, rs.cum&^a.Lacks
	if needs&rule.NeedCounter == 0 {
		c.Increase, c.Carry = partial.Sum2{}, partial.Sum2{}
	}
	if needs&rule.NeedCounterProm == 0 {
		c.IncreaseProm, c.CarryProm = partial.Sum2{}, partial.Sum2{}
	}
	if needs&rule.NeedSum == 0 {
		c.Sum, c.CarrySum = partial.Sum2{}, partial.Sum2{}
	}
	if needs&rule.NeedQuantile == 0 {
		c.Quant = nil
	}
	if needs&rule.NeedBuckets == 0 {
		c.Buckets = nil
	}
	if needs&rule.NeedNative == 0 {
		c.Hist = nil
	}
	return &c
}

// own counts a window of this island and returns the new sum. Windows that may
// come again are kept apart from the sum of those that may not.
func (rs *ruleState) own(g *group, s source, end int64, a *partial.Acc) partial.Acc {
	var sum partial.Acc
	a = rs.counted(a)
	if rs.remembers() {
		g.recent = slices.DeleteFunc(g.recent, func(x amount) bool { return x.end == end })
		horizon := rs.newest - rs.rule.MaxAge.Milliseconds() - 2*rs.interval()
		var base amount
		rest := g.recent[:0]
		for _, x := range g.recent {
			if x.end <= horizon {
				count1(&base.acc, &x.acc)
				base.end = never
			} else {
				rest = append(rest, x)
			}
		}
		var mine partial.Acc
		count1(&mine, a)
		rest = append(rest, amount{end, mine})
		g.recent = rest
		if base.end == never {
			g.recent = append(g.recent, base)
		}
		slices.SortFunc(g.recent, func(x, y amount) int { return cmp.Compare(x.end, y.end) })
		for i := range g.recent {
			count1(&sum, &g.recent[i].acc)
		}
		return sum
	}
	if c := g.of(s); c != nil {
		count1(&sum, &c.acc)
	}
	count1(&sum, a)
	return sum
}

// sweep forgets groups that no source speaks of any more.
func (rs *ruleState) sweep(wall, horizon int64) {
	const parts = 4
	if wall-rs.swept < rs.rule.ForgetAfter.Milliseconds()/parts && wall >= rs.swept {
		return
	}
	rs.swept = wall
	old := min(wall, max(rs.latest, rs.newest)) - max(rs.rule.ForgetAfter, rs.rule.MaxAge).Milliseconds() - 2*rs.interval()
	for key, g := range rs.groups {
		g.in.prune(horizon)
		g.apart.prune(horizon)
		if g.last < old {
			delete(rs.groups, key)
		}
	}
}

// stateOf is what is known of a group, for an island that holds it too: with the
// parts of sources that are not there.
func (rs *ruleState) stateOf(g *group, there func(source) bool) stateGroup {
	x := stateGroup{labels: g.labels, hash: g.hash, counts: g.counts, in: g.in, apart: g.apart}
	key := string(rs.key(g.labels))
	for _, end := range slices.Backward(slices.Sorted(maps.Keys(rs.windows))) {
		if c := rs.windows[end].cells[key]; c != nil {
			rs.addCell(&x, end, c, there)
		}
	}
	return x
}

// stateIn is what is known of a group in one window.
func (rs *ruleState) stateIn(g *group, end int64, there func(source) bool) stateGroup {
	x := stateGroup{labels: g.labels, hash: g.hash, in: g.in, apart: g.apart}
	if w := rs.windows[end]; w != nil {
		if c := w.cells[string(rs.key(g.labels))]; c != nil {
			rs.addCell(&x, end, c, there)
		}
	}
	return x
}

// addCell adds a window to a state. Of what was corrected, and of backlogs that are
// gathered, it has the parts of those too who are there, as far as there is room: a
// source may have no memory for what all have.
func (rs *ruleState) addCell(x *stateGroup, end int64, c *cell, there func(source) bool) {
	if c.claim != nil && !c.published {
		x.claims = append(x.claims, claim{end, c.late, c.claim.revision, c.claim.acc})
	}
	corrects := c.published && rs.remembers()
	if corrects && (c.corrected || !c.adopted && c.dirty()) {
		x.changed = append(x.changed, end)
	}
	open := !c.published && c.claim == nil
	if !open && !corrects {
		return
	}
	all := (open && c.late || corrects && c.corrected) && x.weight() < bytesPerMessage
	for i := range c.parts {
		if all || !there(c.parts[i].source) {
			x.left = append(x.left, leftPart{end, open, c.behind, c.parts[i]})
		}
	}
}
