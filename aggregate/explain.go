package aggregate

import (
	"cmp"
	"iter"
	"slices"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// Explanation says what a rule takes and makes of some series.
type Explanation struct {
	Rule *rule.Rule
	// Series are those that the rule takes; Discarded of them are dropped by its
	// input relabelling.
	Series, Discarded int
	// Groups are what they fold into. Overflow of them are over max_groups.
	Groups, Overflow int
	// Largest are the groups of most series, at most as many as were asked for.
	Largest []GroupSize
	// Example is one series that is taken, and Outputs are the series to which it
	// contributes; those of a distribution stand for all its buckets.
	Example labels.Labels
	Outputs []labels.Labels
	// Running: it is what a rule of this name takes in an island, see Recall.
	Running bool
}

// GroupSize is a group and the number of series in it.
type GroupSize struct {
	Group  labels.Labels
	Series int
}

// Explain shows series to every rule, without aggregating anything, and names the
// largest groups of each.
func Explain(set *rule.Set, series iter.Seq[labels.Labels], largest int) []Explanation {
	out := make([]Explanation, len(set.Rules))
	sizes := make([]map[uint64]*GroupSize, len(set.Rules))
	for i, r := range set.Rules {
		out[i].Rule, sizes[i] = r, map[uint64]*GroupSize{}
	}
	builder := labels.NewBuilder(labels.EmptyLabels())
	for ls := range series {
		for i, r := range set.Rules {
			if r.Match(ls) {
				out[i].show(ls, sizes[i], builder)
			}
		}
	}
	for i := range out {
		out[i].count(sizes[i], largest)
	}
	return out
}

func (e *Explanation) show(ls labels.Labels, sizes map[uint64]*GroupSize, builder *labels.Builder) {
	e.Series++
	group, ok := e.Rule.Group(ls, builder)
	if !ok {
		e.Discarded++
		return
	}
	hash := group.Hash()
	if sizes[hash] == nil {
		sizes[hash] = &GroupSize{Group: group}
	}
	sizes[hash].Series++
	if e.Example.IsEmpty() {
		e.Example = ls
		e.outputs(group)
	}
}

// outputs are the series that a group is made into.
func (e *Explanation) outputs(group labels.Labels) {
	for _, o := range e.Rule.Outputs {
		for _, extra := range extras(e.Rule, o) {
			if made, ok := e.Rule.Series(group, o, extra...); ok {
				e.Outputs = append(e.Outputs, made)
			}
		}
	}
}

// Recall says of a rule that no series were shown to what a running island says of the
// rule of that name, the largest groups only: so it is where samples are not stored.
func (e *Explanation) Recall(t Tops, largest int) {
	i := slices.IndexFunc(t.Rules, func(r RuleTop) bool { return r.Rule == e.Rule.Label })
	if e.Series > 0 || i < 0 || t.Rules[i].Series == 0 {
		return
	}
	e.Running, e.Series, e.Groups = true, t.Rules[i].Series, t.Rules[i].Groups
	for _, g := range t.Groups {
		if g.Rule != e.Rule.Label {
			continue
		}
		if e.Outputs == nil {
			e.outputs(g.Group)
		}
		if len(e.Largest) < largest {
			e.Largest = append(e.Largest, GroupSize{Group: g.Group, Series: g.Series})
		}
	}
}

// extras are the labels that an output adds, for each of its series.
func extras(r *rule.Rule, o rule.Output) [][]labels.Label {
	switch o {
	case rule.Quantiles:
		var all [][]labels.Label
		for _, phi := range r.Quantiles {
			all = append(all, []labels.Label{{Name: "quantile", Value: strconv.FormatFloat(phi, 'g', -1, 64)}})
		}
		return all
	case rule.HistogramBucket:
		return [][]labels.Label{{{Name: "vmrange", Value: "..."}}}
	}
	return [][]labels.Label{nil}
}

func (e *Explanation) count(sizes map[uint64]*GroupSize, largest int) {
	e.Groups = len(sizes)
	if e.Rule.MaxGroups > 0 {
		tenants := map[string]int{}
		for _, s := range sizes {
			if t := e.Rule.Tenant(s.Group); tenants[t] < e.Rule.MaxGroups {
				tenants[t]++
			} else {
				e.Overflow++
			}
		}
	}
	for _, s := range sizes {
		e.Largest = append(e.Largest, *s)
	}
	slices.SortFunc(e.Largest, func(a, b GroupSize) int {
		return cmp.Or(b.Series-a.Series, labels.Compare(a.Group, b.Group))
	})
	e.Largest = e.Largest[:min(len(e.Largest), max(0, largest))]
}
