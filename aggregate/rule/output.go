package rule

import "strings"

// Output is one function that a rule computes over the samples of a window.
type Output uint8

// The outputs, named as in a vmagent stream aggregation file; the last two are our own.
const (
	Avg Output = iota + 1
	CountSamples
	CountSeries
	HistogramBucket
	Increase
	IncreasePrometheus
	Last
	Max
	Min
	Quantiles
	RateAvg
	RateSum
	Stddev
	Stdvar
	SumSamples
	SumSamplesTotal
	Total
	TotalPrometheus
	UniqueSamples
	// NativeHistogram folds gauge samples, and native histograms that come in, into
	// one cumulative native histogram per group.
	NativeHistogram
	// Sketch is the window's own distribution as a native gauge histogram at the
	// sketch's full resolution, for merging elsewhere.
	Sketch
	outputs
)

// String is the name in the configuration and at the end of the output's metric name.
func (o Output) String() string {
	switch o {
	case Avg:
		return "avg"
	case CountSamples:
		return "count_samples"
	case CountSeries:
		return "count_series"
	case HistogramBucket:
		return "histogram_bucket"
	case Increase:
		return "increase"
	case IncreasePrometheus:
		return "increase_prometheus"
	case Last:
		return "last"
	case Max:
		return "max"
	case Min:
		return "min"
	case Quantiles:
		return "quantiles"
	case RateAvg:
		return "rate_avg"
	case RateSum:
		return "rate_sum"
	case Stddev:
		return "stddev"
	case Stdvar:
		return "stdvar"
	case SumSamples:
		return "sum_samples"
	case SumSamplesTotal:
		return "sum_samples_total"
	case Total:
		return "total"
	case TotalPrometheus:
		return "total_prometheus"
	case UniqueSamples:
		return "unique_samples"
	case NativeHistogram:
		return "native_histogram"
	case Sketch:
		return "sketch"
	}
	return "unknown"
}

func outputByName(name string) (Output, bool) {
	for o := Avg; o < outputs; o++ {
		if o.String() == name {
			return o, true
		}
	}
	return 0, false
}

func outputNames() []string {
	var names []string
	for o := Avg; o < outputs; o++ {
		names = append(names, o.String())
	}
	return names
}

// Cumulative reports whether the output adds up over windows: its value is a
// counter kept per group by the owner, not a property of one window.
func (o Output) Cumulative() bool {
	switch o {
	case Total, TotalPrometheus, SumSamplesTotal, HistogramBucket, NativeHistogram:
		return true
	}
	return false
}

// Needs says which parts of a group's accumulator the outputs of a rule read.
type Needs uint16

// The parts. NeedMinMax, NeedLast, NeedMoments and NeedSum always come with NeedCount.
const (
	// NeedCounter: Increase and Carry.
	NeedCounter Needs = 1 << iota
	// NeedCounterProm: IncreaseProm and CarryProm, in which first samples never count.
	NeedCounterProm
	// NeedRate: Rate and Rates.
	NeedRate
	// NeedSum: Sum (and CarrySum).
	NeedSum
	// NeedCount: Count.
	NeedCount
	// NeedMinMax: Min and Max.
	NeedMinMax
	// NeedLast: Last and LastT.
	NeedLast
	// NeedMoments: Mean and M2.
	NeedMoments
	// NeedSeries: Series.
	NeedSeries
	// NeedUnique: Unique.
	NeedUnique
	// NeedBuckets: Buckets.
	NeedBuckets
	// NeedQuantile: Quant.
	NeedQuantile
	// NeedNative: Hist, where the input are native histograms.
	NeedNative
	allNeeds = NeedNative<<1 - 1
)

// Has reports whether all of the parts are needed.
func (n Needs) Has(parts Needs) bool { return n&parts == parts }

// Counters reports whether any part follows the deltas of counters.
func (n Needs) Counters() bool { return n&(NeedCounter|NeedCounterProm|NeedRate) != 0 }

// Samples reports whether any part looks at sample values.
func (n Needs) Samples() bool {
	return n&(NeedSum|NeedCount|NeedMinMax|NeedLast|NeedMoments|NeedUnique|NeedBuckets|NeedQuantile) != 0
}

// String lists the parts, for the printed form of a rule.
func (n Needs) String() string {
	names := []string{"counter", "counter_prom", "rate", "sum", "count", "min_max", "last", "moments", "series", "unique", "buckets", "quantile", "native"}
	var has []string
	for i, name := range names {
		if n&(1<<i) != 0 {
			has = append(has, name)
		}
	}
	return strings.Join(has, "+")
}

// Needs are the parts that this output reads.
func (o Output) Needs() Needs {
	switch o {
	case Avg:
		return NeedSum | NeedCount
	case CountSamples:
		return NeedCount
	case CountSeries:
		return NeedSeries
	case HistogramBucket:
		return NeedBuckets | NeedCount
	case Increase, Total:
		return NeedCounter | NeedNative
	case IncreasePrometheus, TotalPrometheus:
		return NeedCounterProm | NeedNative
	case Last:
		return NeedLast | NeedCount
	case Max, Min:
		return NeedMinMax | NeedCount
	case Quantiles:
		return NeedQuantile | NeedCount | NeedNative
	case RateAvg:
		return NeedRate
	case RateSum:
		return NeedRate | NeedNative
	case Stddev, Stdvar:
		return NeedMoments | NeedCount
	case SumSamples, SumSamplesTotal:
		return NeedSum | NeedCount
	case UniqueSamples:
		return NeedUnique | NeedCount
	case NativeHistogram, Sketch:
		return NeedQuantile | NeedNative
	}
	return 0
}
