package partial

import (
	"github.com/prometheus/prometheus/model/histogram"

	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/aggregate/sketch"
)

// Acc is what one group holds of one window. Which fields are in use says the
// rule's Needs; the others stay zero. The zero value is ready for use.
type Acc struct {
	// Increase is what counters grew in the window; first values count where the
	// series was born on a known source. IncreaseProm counts no first values.
	Increase, IncreaseProm Sum2
	// Rate is the sum over series of increase / (seconds that the increase covers):
	// per series, what it grew in this window divided by the time from its last
	// sample at or before the window's start to its last sample in the window, both
	// cut to the part that was spread into this window where a gap was spread.
	// Rates is the number of series in it.
	Rate  float64
	Rates uint64

	// Sum, Count and what follows are over the samples whose time is in the window.
	Sum   Sum2
	Count uint64
	// Series is the number of series with a sample in the window.
	Series uint64
	// Min, Max and Last are valid if Count > 0.
	Min, Max float64
	// Last is the value of the newest sample, the larger one of equally new; LastT its time.
	Last  float64
	LastT int64
	// Mean and M2 are the mean and the sum of squared distances from it (Welford).
	Mean, M2 float64

	// Quant, Unique, Buckets and Hist are nil until there is something to hold.
	Quant   *sketch.LogHist
	Unique  *sketch.Distinct
	Buckets *sketch.VMRange
	// Hist is the sum of what native histograms that came in grew in the window
	// (or of their samples, where they are gauges).
	Hist *histogram.FloatHistogram

	// Carry, CarryProm and CarrySum belong to windows that were published before:
	// they go into the totals and into nothing else.
	Carry, CarryProm, CarrySum Sum2

	// Lacks are the parts that are not whole, since the rule did not need them when the
	// window began: nothing can be made of them.
	Lacks rule.Needs
}

// Observe adds one sample of a series to the parts that look at values: all but
// the counters', Series and Hist. v must not be NaN. Infinities are not in Quant,
// and make the moments NaN.
func (a *Acc) Observe(needs rule.Needs, t int64, v float64) {
	if needs&rule.NeedSum != 0 {
		a.Sum.Add(v)
	}
	if needs&rule.NeedMinMax != 0 {
		if a.Count == 0 {
			a.Min, a.Max = v, v
		} else {
			a.Min, a.Max = min(a.Min, v), max(a.Max, v)
		}
	}
	if needs&rule.NeedLast != 0 && (a.Count == 0 || t > a.LastT || t == a.LastT && v > a.Last) {
		a.Last, a.LastT = v, t
	}
	if needs&(rule.NeedCount|rule.NeedMoments) != 0 {
		a.Count++
	}
	if needs&rule.NeedMoments != 0 {
		d := v - a.Mean
		a.Mean += d / float64(a.Count)
		a.M2 += d * (v - a.Mean)
	}
	a.sketch(needs, v)
}

func (a *Acc) sketch(needs rule.Needs, v float64) {
	if needs&rule.NeedQuantile != 0 {
		if a.Quant == nil {
			a.Quant = sketch.New()
		}
		a.Quant.Add(v)
	}
	if needs&rule.NeedUnique != 0 {
		if a.Unique == nil {
			a.Unique = &sketch.Distinct{}
		}
		a.Unique.AddFloat(v)
	}
	if needs&rule.NeedBuckets != 0 {
		if a.Buckets == nil {
			a.Buckets = &sketch.VMRange{}
		}
		a.Buckets.Add(v)
	}
}

// Merge adds what b holds. b is not changed and shares no memory with a after it.
func (a *Acc) Merge(needs rule.Needs, b *Acc) {
	a.Increase.AddSum(b.Increase)
	a.IncreaseProm.AddSum(b.IncreaseProm)
	a.Carry.AddSum(b.Carry)
	a.CarryProm.AddSum(b.CarryProm)
	a.CarrySum.AddSum(b.CarrySum)
	a.Rate += b.Rate
	a.Rates += b.Rates
	a.Series += b.Series
	a.Lacks |= b.Lacks
	if b.Count > 0 {
		a.mergeSamples(needs, b)
	}
	a.mergeSketches(b)
}

func (a *Acc) mergeSamples(needs rule.Needs, b *Acc) {
	a.Sum.AddSum(b.Sum)
	if a.Count == 0 {
		a.Count, a.Min, a.Max = b.Count, b.Min, b.Max
		a.Last, a.LastT, a.Mean, a.M2 = b.Last, b.LastT, b.Mean, b.M2
		return
	}
	a.Min, a.Max = min(a.Min, b.Min), max(a.Max, b.Max)
	if b.LastT > a.LastT || b.LastT == a.LastT && b.Last > a.Last {
		a.Last, a.LastT = b.Last, b.LastT
	}
	n := a.Count + b.Count
	if needs&rule.NeedMoments != 0 {
		// Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
		d, share := b.Mean-a.Mean, float64(b.Count)/float64(n)
		a.M2 += b.M2 + d*d*float64(a.Count)*share
		a.Mean += d * share
	}
	a.Count = n
}

func (a *Acc) mergeSketches(b *Acc) {
	if b.Quant != nil {
		if a.Quant == nil {
			a.Quant = sketch.New()
		}
		a.Quant.Merge(b.Quant)
	}
	if b.Unique != nil {
		if a.Unique == nil {
			a.Unique = &sketch.Distinct{}
		}
		a.Unique.Merge(b.Unique)
	}
	if b.Buckets != nil {
		if a.Buckets == nil {
			a.Buckets = &sketch.VMRange{}
		}
		a.Buckets.Merge(b.Buckets)
	}
	a.Hist = AddHistogram(a.Hist, b.Hist)
}

// AddHistogram returns the sum of two native histograms, either of which may be
// nil: into to's memory where there is some, never into b's. Histograms that do
// not fit together (custom buckets and exponential ones) leave to as it is.
func AddHistogram(to, b *histogram.FloatHistogram) *histogram.FloatHistogram {
	if b == nil {
		return to
	}
	if to == nil {
		c := b.Copy()
		c.CounterResetHint = histogram.GaugeType
		return c
	}
	sum, _, _, err := to.Add(b)
	if err != nil {
		return to
	}
	return sum
}

// Clone is an independent copy.
func (a *Acc) Clone() Acc {
	c := *a
	c.Quant, c.Unique, c.Buckets, c.Hist = nil, nil, nil, nil
	c.mergeSketches(a)
	return c
}
