package sketch

import (
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
)

// The zero bucket of native histograms: what Prometheus' client libraries use.
const zeroThreshold = 0x1p-128

// Schemas of exponential native histograms: 2^(2^-schema) is the growth of a bucket.
const (
	minSchema = -4
	maxSchema = 8
)

// FullSchema is the finest schema that adds nothing but rounding to the sketch's
// own error: its buckets grow by 1.1 %.
const FullSchema = 6

// Native converts to a native histogram of that schema (-4 to 8): each bucket's
// values go to the native bucket that holds its middle. Values up to 2^-128 are
// in the zero bucket. The result is a gauge histogram of its own memory.
func (h *LogHist) Native(schema int32) *histogram.FloatHistogram {
	schema = max(minSchema, min(maxSchema, schema))
	out := &histogram.FloatHistogram{
		CounterResetHint: histogram.GaugeType,
		Schema:           schema,
		ZeroThreshold:    zeroThreshold,
		ZeroCount:        float64(h.zeros),
		Count:            float64(h.count),
		Sum:              h.Sum(),
	}
	out.PositiveSpans, out.PositiveBuckets = h.pos.native(schema, &out.ZeroCount)
	out.NegativeSpans, out.NegativeBuckets = h.neg.native(schema, &out.ZeroCount)
	return out
}

func (s *store) native(schema int32, zero *float64) (spans []histogram.Span, counts []float64) {
	last := int32(math.MinInt32)
	s.each(func(key uint32, n uint64) bool {
		v := middle(key)
		if v <= zeroThreshold {
			*zero += float64(n)
			return true
		}
		at := nativeIndex(v, schema)
		switch {
		case len(spans) == 0:
			spans = append(spans, histogram.Span{Offset: at, Length: 1})
			counts = append(counts, 0)
		case at == last:
		case at == last+1:
			spans[len(spans)-1].Length++
			counts = append(counts, 0)
		default:
			spans = append(spans, histogram.Span{Offset: at - last - 1, Length: 1})
			counts = append(counts, 0)
		}
		counts[len(counts)-1] += float64(n)
		last = at
		return true
	})
	return slices.Clip(spans), slices.Clip(counts)
}

// nativeIndex is the bucket (b^(i-1), b^i] that holds v > 0, b = 2^(2^-schema).
func nativeIndex(v float64, schema int32) int32 {
	frac, exp := math.Frexp(v) // v = frac · 2^exp, frac in [0.5, 1)
	if schema <= 0 {
		if frac == 0.5 {
			exp-- // powers of two belong to the bucket they end
		}
		// Rounds up, for negative exponents too.
		return int32((exp + 1<<-schema - 1) >> -schema)
	}
	per := float64(int32(1) << schema)
	return int32(math.Ceil(math.Log2(frac)*per-1e-9)) + int32(exp)<<schema
}

// AddNative counts what a native histogram counted, each bucket's values at one
// place: the geometric middle of exponential buckets, so that a quantile is off by
// the factor 2^(2^-schema/2) at most (4.4 % with schema 3) beside the sketch's own
// error; the middle between custom bounds, so that it is off by half their distance.
// A bucket without a lower bound counts from 0 where its upper bound is positive, else at
// its upper bound; one without an upper bound at its lower one, as histogram_quantile
// has it. Fractions of counts are made whole so that ranks are off by less than one.
func (h *LogHist) AddNative(n *histogram.FloatHistogram) {
	if n == nil {
		return
	}
	var sum float64
	var given uint64
	custom := histogram.IsCustomBucketsSchema(n.Schema)
	for it := n.AllBucketIterator(); it.Next(); {
		b := it.At()
		if !(b.Count > 0) {
			continue
		}
		sum += b.Count
		upto := uint64(math.Ceil(min(sum, 1<<62)))
		h.AddN(place(b, custom), upto-given)
		given = upto
	}
}

// place is the value that stands for those of a bucket.
func place(b histogram.Bucket[float64], custom bool) float64 {
	switch low, high := b.Lower, b.Upper; {
	case math.IsInf(high, 1):
		return low
	case math.IsInf(low, -1) && high <= 0:
		return high
	case math.IsInf(low, -1):
		return high / 2
	case low <= 0 && high >= 0 && !custom:
		return 0
	case custom:
		return low + (high-low)/2
	case high <= 0:
		return -math.Sqrt(-low) * math.Sqrt(-high)
	default:
		return math.Sqrt(low) * math.Sqrt(high)
	}
}
