package engine

import (
	"cmp"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// TopEntry is something that takes many series: a rule, a group of a rule, or a
// value of a label over the groups of a rule.
type TopEntry struct {
	Kind string // "rule", "group" or "label"
	Rule string // its label
	// Group are the labels of a group.
	Group labels.Labels
	// Label and Value are set for a label.
	Label, Value string
	// Series is the number of input series, Groups that of the groups.
	Series, Groups int
	// Overflow: series of a rule that found its groups full.
	Overflow uint64
}

// Top lists, of each kind, the n entries with the most series.
func (e *Engine) Top(n int) []TopEntry {
	var rules, groups, values []TopEntry
	for _, rs := range e.rules.Load().active {
		r, gs, vs := rs.top()
		rules, groups, values = append(rules, r), append(groups, gs...), append(values, vs...)
	}
	return slices.Concat(largest(rules, n), largest(groups, n), largest(values, n))
}

// Full is a rule that has all the groups it may have.
type Full struct {
	Rule   string // its label
	Groups int
	Series int // input series in overflow groups now
}

// Full lists the rules with series in an overflow group.
func (e *Engine) Full() (all []Full) {
	for _, rs := range e.rules.Load().active {
		if f := rs.full(); f.Series > 0 {
			all = append(all, f)
		}
	}
	return all
}

func (rs *ruleState) full() Full {
	g := &rs.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	f := Full{Rule: rs.label(), Groups: g.count}
	for i := range g.all {
		if p := &g.all[i]; p.used && p.extra {
			f.Series += int(p.refs)
		}
	}
	return f
}

func largest(all []TopEntry, n int) []TopEntry {
	slices.SortFunc(all, func(a, b TopEntry) int {
		return cmp.Or(cmp.Compare(b.Series, a.Series), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Label, b.Label),
			cmp.Compare(a.Value, b.Value), labels.Compare(a.Group, b.Group))
	})
	return all[:min(max(0, n), len(all))]
}

func (rs *ruleState) top() (r TopEntry, gs, vs []TopEntry) {
	g := &rs.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	name := rs.label()
	r = TopEntry{Kind: "rule", Rule: name, Groups: g.count, Overflow: g.over.Load()}
	byLabel := map[labels.Label]*TopEntry{}
	for i := range g.all {
		p := &g.all[i]
		if !p.used || p.refs == 0 {
			continue
		}
		r.Series += int(p.refs)
		gs = append(gs, TopEntry{Kind: "group", Rule: name, Group: p.labels, Series: int(p.refs), Groups: 1})
		p.labels.Range(func(l labels.Label) {
			v := byLabel[l]
			if v == nil {
				v = &TopEntry{Kind: "label", Rule: name, Label: l.Name, Value: l.Value}
				byLabel[l] = v
			}
			v.Series += int(p.refs)
			v.Groups++
		})
	}
	for _, v := range byLabel {
		vs = append(vs, *v)
	}
	return r, gs, vs
}
