package partial

import (
	"encoding/binary"
	"math"

	"github.com/prometheus/prometheus/model/histogram"

	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/aggregate/sketch"
)

// Which parts of an accumulator follow, in this order. The most common have the
// low bits, so that the mask is one byte.
const (
	hasIncrease = 1 << iota
	hasProm
	hasRate
	hasCount
	hasSum
	hasSeries
	hasMinMax
	hasLast
	hasMoments
	hasQuant
	hasUnique
	hasBuckets
	hasHist
	hasCarry
	hasCarryProm
	hasCarrySum
	hasLacks
	allParts = hasLacks<<1 - 1
)

// parts are those that are needed and hold something.
func (a *Acc) parts(needs rule.Needs) (mask uint64) {
	set := func(need rule.Needs, bit uint64, full bool) {
		if full && needs&need != 0 {
			mask |= bit
		}
	}
	set(rule.NeedCounter, hasIncrease, a.Increase != Sum2{})
	set(rule.NeedCounterProm, hasProm, a.IncreaseProm != Sum2{})
	set(rule.NeedRate, hasRate, a.Rates > 0)
	set(rule.NeedCount|rule.NeedMoments, hasCount, a.Count > 0)
	set(rule.NeedSum, hasSum, a.Sum != Sum2{})
	set(rule.NeedSeries, hasSeries, a.Series > 0)
	set(rule.NeedMinMax, hasMinMax, a.Count > 0)
	set(rule.NeedLast, hasLast, a.Count > 0)
	set(rule.NeedMoments, hasMoments, a.Count > 0)
	set(rule.NeedQuantile, hasQuant, a.Quant != nil && a.Quant.Count() > 0)
	set(rule.NeedUnique, hasUnique, a.Unique != nil)
	set(rule.NeedBuckets, hasBuckets, a.Buckets != nil)
	set(rule.NeedNative, hasHist, a.Hist != nil)
	set(rule.NeedCounter, hasCarry, a.Carry != Sum2{})
	set(rule.NeedCounterProm, hasCarryProm, a.CarryProm != Sum2{})
	set(rule.NeedSum, hasCarrySum, a.CarrySum != Sum2{})
	set(a.Lacks, hasLacks, true)
	return mask
}

// AppendAcc appends the parts of a that the rule needs and that hold something.
// end is the window's: times are written relative to it.
func AppendAcc(b []byte, needs rule.Needs, end int64, a *Acc) []byte {
	mask := a.parts(needs)
	b = binary.AppendUvarint(b, mask)
	for _, s := range a.sums() {
		if mask&s.bit != 0 {
			b = appendSum(b, *s.sum)
		}
	}
	if mask&hasRate != 0 {
		b = binary.AppendUvarint(appendNumber(b, a.Rate), a.Rates)
	}
	if mask&hasCount != 0 {
		b = binary.AppendUvarint(b, a.Count)
	}
	if mask&hasSeries != 0 {
		b = binary.AppendUvarint(b, a.Series)
	}
	if mask&hasMinMax != 0 {
		b = appendNumber(appendNumber(b, a.Min), a.Max)
	}
	if mask&hasLast != 0 {
		b = binary.AppendVarint(appendNumber(b, a.Last), end-a.LastT)
	}
	if mask&hasMoments != 0 {
		b = appendNumber(appendNumber(b, a.Mean), a.M2)
	}
	if mask&hasQuant != 0 {
		b = a.Quant.AppendBinary(b)
	}
	if mask&hasUnique != 0 {
		b = a.Unique.AppendBinary(b)
	}
	if mask&hasBuckets != 0 {
		b = a.Buckets.AppendBinary(b)
	}
	if mask&hasHist != 0 {
		b = appendHistogram(b, a.Hist)
	}
	if mask&hasLacks != 0 {
		b = binary.AppendUvarint(b, uint64(a.Lacks&needs))
	}
	return b
}

type sumPart struct {
	bit uint64
	sum *Sum2
}

// sums are the parts that are sums, in their order on the wire.
func (a *Acc) sums() [6]sumPart {
	return [...]sumPart{
		{hasIncrease, &a.Increase}, {hasProm, &a.IncreaseProm}, {hasSum, &a.Sum},
		{hasCarry, &a.Carry}, {hasCarryProm, &a.CarryProm}, {hasCarrySum, &a.CarrySum},
	}
}

// DecodeAcc reads one from the front of b and returns what is left.
func DecodeAcc(b []byte, end int64) (Acc, []byte, error) {
	r := &reader{b: b}
	a := r.acc(end)
	return a, r.b, r.err
}

func (r *reader) acc(end int64) (a Acc) {
	mask := r.upTo(allParts)
	for _, s := range a.sums() {
		if mask&s.bit != 0 {
			*s.sum = r.sum()
		}
	}
	if mask&hasRate != 0 {
		a.Rate, a.Rates = r.number(), r.uvarint()
	}
	if mask&hasCount != 0 {
		a.Count = r.uvarint()
	}
	if mask&hasSeries != 0 {
		a.Series = r.uvarint()
	}
	if mask&hasMinMax != 0 {
		a.Min, a.Max = r.number(), r.number()
	}
	if mask&hasLast != 0 {
		a.Last, a.LastT = r.number(), end-r.varint()
	}
	if mask&hasMoments != 0 {
		a.Mean, a.M2 = r.number(), r.number()
	}
	r.sketches(mask, &a)
	if mask&hasLacks != 0 {
		a.Lacks = rule.Needs(r.upTo(math.MaxUint16))
	}
	return a
}

func (r *reader) sketches(mask uint64, a *Acc) {
	var err error
	if mask&hasQuant != 0 && r.err == nil {
		if a.Quant, r.b, err = sketch.DecodeLogHist(r.b); err != nil {
			r.fail(err)
		}
	}
	if mask&hasUnique != 0 && r.err == nil {
		if a.Unique, r.b, err = sketch.DecodeDistinct(r.b); err != nil {
			r.fail(err)
		}
	}
	if mask&hasBuckets != 0 && r.err == nil {
		if a.Buckets, r.b, err = sketch.DecodeVMRange(r.b); err != nil {
			r.fail(err)
		}
	}
	if mask&hasHist != 0 && r.err == nil {
		a.Hist = r.histogram()
	}
}

func appendHistogram(b []byte, h *histogram.FloatHistogram) []byte {
	b = binary.AppendVarint(b, int64(h.Schema))
	b = append(b, byte(h.CounterResetHint))
	for _, v := range []float64{h.ZeroThreshold, h.ZeroCount, h.Count, h.Sum} {
		b = appendNumber(b, v)
	}
	for _, side := range []struct {
		spans  []histogram.Span
		counts []float64
	}{{h.PositiveSpans, h.PositiveBuckets}, {h.NegativeSpans, h.NegativeBuckets}} {
		b = binary.AppendUvarint(b, uint64(len(side.spans)))
		for _, s := range side.spans {
			b = binary.AppendUvarint(binary.AppendVarint(b, int64(s.Offset)), uint64(s.Length))
		}
		b = appendNumbers(b, side.counts)
	}
	return appendNumbers(b, h.CustomValues)
}

func appendNumbers(b []byte, vs []float64) []byte {
	b = binary.AppendUvarint(b, uint64(len(vs)))
	for _, v := range vs {
		b = appendNumber(b, v)
	}
	return b
}

// histogram reads one that Prometheus takes for valid, or fails.
func (r *reader) histogram() *histogram.FloatHistogram {
	h := &histogram.FloatHistogram{}
	schema := r.varint()
	if schema < math.MinInt8 || schema > math.MaxInt8 {
		r.fail(errRange)
	}
	h.Schema = int32(schema)
	if hint := r.bytes(1); hint != nil {
		h.CounterResetHint = histogram.CounterResetHint(hint[0])
	}
	if h.CounterResetHint > histogram.GaugeType {
		r.fail(errRange)
	}
	for _, v := range []*float64{&h.ZeroThreshold, &h.ZeroCount, &h.Count, &h.Sum} {
		*v = r.number()
	}
	h.PositiveSpans, h.PositiveBuckets = r.spans(), r.numbers()
	h.NegativeSpans, h.NegativeBuckets = r.spans(), r.numbers()
	h.CustomValues = r.numbers()
	if r.err == nil {
		if err := h.Validate(); err != nil {
			r.fail(err)
		}
	}
	if r.err != nil {
		return nil
	}
	return h
}

// spans reads no more of them than there are bytes.
func (r *reader) spans() []histogram.Span {
	n := r.upTo(uint64(len(r.b)))
	var out []histogram.Span
	for range n {
		offset, length := r.varint(), r.upTo(math.MaxInt16)
		if offset != int64(int32(offset)) {
			r.fail(errRange)
		}
		if r.err != nil {
			return nil
		}
		out = append(out, histogram.Span{Offset: int32(offset), Length: uint32(length)})
	}
	return out
}

func (r *reader) numbers() []float64 {
	n := r.upTo(uint64(len(r.b)))
	var out []float64
	for range n {
		v := r.number()
		if r.err != nil {
			return nil
		}
		out = append(out, v)
	}
	return out
}
