package owner

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/aggregate/sketch"
)

// nativeSchema is that of the cumulative native histograms: buckets grow by 9 %,
// as those of Prometheus' client libraries by default.
const nativeSchema = 3

// share is what one window adds to the totals of a group.
type share struct {
	increase, prom, sum partial.Sum2
	buckets             *sketch.VMRange
	grown               *histogram.FloatHistogram // native histograms that came in
	native              *histogram.FloatHistogram // those and the gauge samples
}

// cumulativeNeeds are the parts that the cumulative outputs of a rule read.
func cumulativeNeeds(r *rule.Rule) (needs rule.Needs) {
	for _, o := range r.Outputs {
		if o.Cumulative() {
			needs |= o.Needs()
		}
	}
	return needs
}

func shareOf(needs rule.Needs, a *partial.Acc) (s share) {
	needs &^= a.Lacks
	if needs&rule.NeedCounter != 0 {
		s.increase = a.Increase
		s.increase.AddSum(a.Carry)
	}
	if needs&rule.NeedCounterProm != 0 {
		s.prom = a.IncreaseProm
		s.prom.AddSum(a.CarryProm)
	}
	if needs&rule.NeedSum != 0 {
		s.sum = a.Sum
		s.sum.AddSum(a.CarrySum)
	}
	if needs&rule.NeedBuckets != 0 {
		s.buckets = a.Buckets
	}
	if needs&rule.NeedNative != 0 {
		s.grown = a.Hist
	}
	if needs&rule.NeedQuantile != 0 {
		s.native = folded(a, nativeSchema)
	}
	return s
}

// folded is the distribution of a window: of samples and of histograms; nil if
// there was neither. It may be the accumulator's own memory.
func folded(a *partial.Acc, schema int32) *histogram.FloatHistogram {
	if a.Quant == nil || a.Quant.Count() == 0 {
		return a.Hist
	}
	return partial.AddHistogram(a.Quant.Native(schema), a.Hist)
}

func (s *share) add(o *share) {
	s.increase.AddSum(o.increase)
	s.prom.AddSum(o.prom)
	s.sum.AddSum(o.sum)
	if o.buckets != nil {
		if s.buckets == nil {
			s.buckets = &sketch.VMRange{}
		}
		s.buckets.Merge(o.buckets)
	}
	s.grown = partial.AddHistogram(s.grown, o.grown)
	s.native = partial.AddHistogram(s.native, o.native)
}

// remove takes away what was added before.
func (s *share) remove(o *share) {
	s.increase.SubSum(o.increase)
	s.prom.SubSum(o.prom)
	s.sum.SubSum(o.sum)
	if s.buckets != nil {
		s.buckets.Subtract(o.buckets)
	}
	s.grown = without(s.grown, o.grown)
	s.native = without(s.native, o.native)
}

func without(from, h *histogram.FloatHistogram) *histogram.FloatHistogram {
	if from == nil || h == nil {
		return from
	}
	if rest, _, _, err := from.Sub(h.Copy()); err == nil {
		return rest.Compact(0)
	}
	return from
}

// only drops what is not needed.
func (s *share) only(needs rule.Needs) {
	for part, sum := range map[rule.Needs]*partial.Sum2{rule.NeedCounter: &s.increase, rule.NeedCounterProm: &s.prom, rule.NeedSum: &s.sum} {
		if needs&part == 0 {
			*sum = partial.Sum2{}
		}
	}
	if needs&rule.NeedBuckets == 0 {
		s.buckets = nil
	}
	if needs&rule.NeedNative == 0 {
		s.grown = nil
	}
	if needs&rule.NeedQuantile == 0 {
		s.native = nil
	}
}

// clone is independent of the accumulator that it came from.
func (s *share) clone() share {
	var c share
	c.add(s)
	return c
}

// total are the cumulative outputs of one group.
type total struct {
	group labels.Labels
	// sum is what all windows so far added.
	sum share
	// last is the end of the newest window that was finished: totals of older ones
	// are not published, their amounts go with the next.
	last int64
	// recent are the shares of windows that may come again, by rising end.
	recent []dated
}

type dated struct {
	end   int64
	share share
}

// settle counts a window, instead of what the same window was counted before if
// the rule publishes windows again.
func (t *total) settle(needs rule.Needs, end int64, a *partial.Acc, remember bool, horizon int64) {
	next := shareOf(needs, a)
	if remember {
		t.replace(end, next.clone(), horizon)
	} else {
		t.sum.add(&next)
	}
	t.last = max(t.last, end)
}

func (t *total) replace(end int64, next share, horizon int64) {
	keep := t.recent[:0]
	for i := range t.recent {
		switch r := &t.recent[i]; {
		case r.end == end:
			t.sum.remove(&r.share)
		case r.end >= t.last-horizon:
			keep = append(keep, *r)
		}
	}
	clear(t.recent[len(keep):])
	keep = append(keep, dated{end, next})
	t.recent = keep
	t.sum.add(&next)
}
