package owner

import (
	"math"
	"strconv"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/aggregate/sketch"
)

// writer makes the samples of one group of one window.
type writer struct {
	rule     *rule.Rule
	group    labels.Labels
	end      int64
	revision uint32
	acc      *partial.Acc
	out      []partial.Sample
}

// finish appends the samples of one group.
//
// What follows counters (increase, total, rate) is there in every window of the
// group. What is made of samples is left out where the window has none.
func (s *ruleState) finish(out []partial.Sample, group labels.Labels, end int64, revision uint32, a *partial.Acc, t *total) []partial.Sample {
	w := &writer{rule: s.rule, group: group, end: end, revision: revision, acc: a, out: out}
	for _, o := range s.rule.Outputs {
		switch {
		case a.Lacks&o.Needs() != 0: // it begins with the next window
		case !o.Cumulative():
			w.output(o)
		case end >= t.last:
			w.cumulative(o, &t.sum)
		}
	}
	return w.out
}

func (w *writer) add(o rule.Output, v float64, h *histogram.FloatHistogram, extra ...labels.Label) {
	ls, ok := w.rule.Series(w.group, o, extra...)
	if !ok {
		return
	}
	w.out = append(w.out, partial.Sample{Labels: ls, T: w.end, V: v, H: h, Revision: w.revision, Rule: w.rule})
}

// output writes what belongs to this window alone.
//
// rate_sum is the sum over series of increase per second, where each series is
// divided by the time that its own increase covers (see partial.Acc.Rate);
// rate_avg divides it by the number of such series. Of native histograms the rate
// is the increase divided by the interval.
func (w *writer) output(o rule.Output) {
	a := w.acc
	switch o {
	case rule.Increase:
		w.grown(o, a.Increase.Value(), 1)
	case rule.IncreasePrometheus:
		w.grown(o, a.IncreaseProm.Value(), 1)
	case rule.RateSum:
		if a.Rates > 0 || a.Hist != nil {
			w.grown(o, a.Rate, 1/w.rule.Interval.Seconds())
		}
	case rule.RateAvg:
		if a.Rates > 0 {
			w.add(o, a.Rate/float64(a.Rates), nil)
		}
	case rule.CountSeries:
		if a.Series > 0 {
			w.add(o, float64(a.Series), nil)
		}
	case rule.Sketch:
		if h := folded(a, sketch.FullSchema); h != nil {
			w.histogram(o, h, histogram.GaugeType)
		}
	case rule.Quantiles:
		w.quantiles()
	default:
		if a.Count > 0 {
			w.samples(o)
		}
	}
}

// grown writes an increase: of native histograms if there were any, else of floats.
func (w *writer) grown(o rule.Output, v, factor float64) {
	if w.acc.Hist == nil {
		w.add(o, v, nil)
		return
	}
	w.histogram(o, w.acc.Hist.Copy().Mul(factor), histogram.GaugeType)
}

// histogram writes a copy: what it was made of goes on changing.
func (w *writer) histogram(o rule.Output, h *histogram.FloatHistogram, hint histogram.CounterResetHint) {
	c := h.Copy().Compact(0)
	c.CounterResetHint = hint
	w.add(o, 0, c)
}

// samples writes what is made of at least one sample.
func (w *writer) samples(o rule.Output) {
	a := w.acc
	count := float64(a.Count)
	switch o {
	case rule.Avg:
		w.add(o, a.Sum.Value()/count, nil)
	case rule.CountSamples:
		w.add(o, count, nil)
	case rule.Last:
		w.add(o, a.Last, nil)
	case rule.Max:
		w.add(o, a.Max, nil)
	case rule.Min:
		w.add(o, a.Min, nil)
	case rule.SumSamples:
		w.add(o, a.Sum.Value(), nil)
	case rule.Stdvar:
		w.add(o, a.M2/count, nil)
	case rule.Stddev:
		w.add(o, math.Sqrt(a.M2/count), nil)
	case rule.UniqueSamples:
		if a.Unique != nil {
			w.add(o, float64(a.Unique.Estimate()), nil)
		}
	}
}

// quantiles are of samples and of what native histograms counted.
func (w *writer) quantiles() {
	q := w.acc.Quant
	if w.acc.Hist != nil {
		q = sketch.New()
		q.Merge(w.acc.Quant)
		q.AddNative(w.acc.Hist)
	}
	if q == nil || q.Count() == 0 {
		return
	}
	for _, phi := range w.rule.Quantiles {
		label := labels.Label{Name: "quantile", Value: strconv.FormatFloat(phi, 'g', -1, 64)}
		w.add(rule.Quantiles, q.Quantile(phi), nil, label)
	}
}

// cumulative writes what adds up over windows.
func (w *writer) cumulative(o rule.Output, sum *share) {
	switch o {
	case rule.Total, rule.TotalPrometheus:
		v := sum.increase.Value()
		if o == rule.TotalPrometheus {
			v = sum.prom.Value()
		}
		if sum.grown != nil {
			w.histogram(o, sum.grown, histogram.UnknownCounterReset)
			return
		}
		w.add(o, v, nil)
	case rule.SumSamplesTotal:
		w.add(o, sum.sum.Value(), nil)
	case rule.HistogramBucket:
		if sum.buckets != nil {
			sum.buckets.Buckets(func(vmrange string, n uint64) {
				w.add(o, float64(n), nil, labels.Label{Name: "vmrange", Value: vmrange})
			})
		}
	case rule.NativeHistogram:
		if sum.native != nil {
			w.histogram(o, sum.native, histogram.UnknownCounterReset)
		}
	}
}
