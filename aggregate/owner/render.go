package owner

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// Part is what one source said of a group of a window in one epoch of its life.
type Part struct {
	Source string
	Epoch  uint64
	Acc    partial.Acc
}

// Combine is what parts say together, which must be sorted by source and epoch.
// It shares memory with parts where there is one only.
func Combine(needs rule.Needs, parts []Part) partial.Acc {
	g := group{parts: make([]part, len(parts))}
	for i := range parts {
		g.parts[i] = part{source: parts[i].Source, epoch: parts[i].Epoch, acc: parts[i].Acc}
	}
	return g.merged(needs)
}

// CumulativeNeeds are the parts of an accumulator that the cumulative outputs of
// a rule read; 0 if it has none.
func CumulativeNeeds(r *rule.Rule) rule.Needs { return cumulativeNeeds(r) }

// Render appends the samples of one group of one window, for those who keep the
// totals of the cumulative outputs by themselves: total holds the sums over all
// windows so far; nil leaves the cumulative outputs out.
func Render(out []partial.Sample, r *rule.Rule, group labels.Labels, end int64, revision uint32, a, total *partial.Acc) []partial.Sample {
	w := &writer{rule: r, group: group, end: end, revision: revision, acc: a, out: out}
	var sum share
	if total != nil {
		sum = shareOf(cumulativeNeeds(r), total)
	}
	for _, o := range r.Outputs {
		switch {
		case a.Lacks&o.Needs() != 0:
		case !o.Cumulative():
			w.output(o)
		case total != nil:
			w.cumulative(o, &sum)
		}
	}
	return w.out
}
