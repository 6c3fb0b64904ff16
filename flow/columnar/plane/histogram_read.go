package plane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
)

var errHistogram = errors.New("a histogram ends too early or has a field out of range")

// HistogramReader gives back native histograms.
type HistogramReader struct {
	heads   []byte
	cells   Reader
	buckets int
	left    int
}

// Histograms takes the columns of a HistogramWriter off src. A histogram may have
// at most so many buckets and custom values, all of them together at most total.
func (u *Unpacker) Histograms(src []byte, r *HistogramReader, buckets, total int) (rest []byte, err error) {
	r.buckets, r.left = buckets, total
	if r.heads, src, err = u.Next(src); err != nil {
		return nil, err
	}
	return u.Values(src, &r.cells)
}

// Integers reads the next histogram of a series.
func (r *HistogramReader) Integers(s *HistogramState) (*histogram.Histogram, error) {
	hint, err := r.head(s, false)
	if err != nil {
		return nil, err
	}
	h := &histogram.Histogram{
		CounterResetHint: hint, Schema: s.layout.schema, ZeroThreshold: s.layout.zeroThreshold,
		PositiveSpans: slices.Clone(s.layout.positive), NegativeSpans: slices.Clone(s.layout.negative), CustomValues: s.layout.custom,
	}
	buckets := make([]int64, len(s.cells)-fixedCells)
	for i := range s.cells {
		if i == fixedCells {
			r.cells.Row()
		}
		c := &s.cells[i]
		v, other, err := r.cells.Next(c)
		switch {
		case err != nil:
			return nil, err
		case other != 0:
			return nil, errHistogram
		case i == 0:
			h.Count = uint64(c.Integer())
		case i == 1:
			h.ZeroCount = uint64(c.Integer())
		case i == 2:
			h.Sum = v
		default:
			buckets[i-fixedCells] = c.Integer()
		}
	}
	h.PositiveBuckets, h.NegativeBuckets = split(buckets, int(bucketsOf(h.PositiveSpans)))
	return h, nil
}

// Floats reads the next float histogram of a series.
func (r *HistogramReader) Floats(s *HistogramState) (*histogram.FloatHistogram, error) {
	hint, err := r.head(s, true)
	if err != nil {
		return nil, err
	}
	h := &histogram.FloatHistogram{
		CounterResetHint: hint, Schema: s.layout.schema, ZeroThreshold: s.layout.zeroThreshold,
		PositiveSpans: slices.Clone(s.layout.positive), NegativeSpans: slices.Clone(s.layout.negative), CustomValues: s.layout.custom,
	}
	buckets := make([]float64, len(s.cells)-fixedCells)
	for i := range s.cells {
		if i == fixedCells {
			r.cells.Row()
		}
		v, other, err := r.cells.Next(&s.cells[i])
		switch {
		case err != nil:
			return nil, err
		case other != 0:
			return nil, errHistogram
		case i == 0:
			h.Count = v
		case i == 1:
			h.ZeroCount = v
		case i == 2:
			h.Sum = v
		default:
			buckets[i-fixedCells] = v
		}
	}
	h.PositiveBuckets, h.NegativeBuckets = split(buckets, int(bucketsOf(h.PositiveSpans)))
	return h, nil
}

// split gives nil for no buckets, as histograms without any have.
func split[T any](all []T, positive int) (p, n []T) {
	if positive > 0 {
		p = all[:positive:positive]
	}
	if positive < len(all) {
		n = all[positive:]
	}
	return p, n
}

func (r *HistogramReader) head(s *HistogramState, float bool) (histogram.CounterResetHint, error) {
	r.cells.Row()
	if len(r.heads) == 0 || r.heads[0] > hintMask|newLayout {
		return 0, errHistogram
	}
	b := r.heads[0]
	r.heads = r.heads[1:]
	if b&newLayout != 0 {
		l, err := r.layout()
		if err != nil {
			return 0, err
		}
		n := bucketsOf(l.positive) + bucketsOf(l.negative)
		if n > uint64(r.buckets) || len(l.custom) > r.buckets {
			return 0, fmt.Errorf("a histogram has %d buckets and %d custom values, more than %d", n, len(l.custom), r.buckets)
		}
		if err := l.check(int(bucketsOf(l.positive)), int(bucketsOf(l.negative))); err != nil {
			return 0, err
		}
		if int(n) > r.left {
			return 0, errTotal
		}
		s.begin(l, float, fixedCells+int(n))
	} else if s.float != float || len(s.cells) == 0 {
		return 0, errHistogram
	}
	if r.left -= len(s.cells) + len(s.layout.positive) + len(s.layout.negative); r.left < 0 {
		return 0, errTotal
	}
	return histogram.CounterResetHint(b & hintMask), nil
}

var errTotal = errors.New("the histograms have more buckets together than allowed")

func (r *HistogramReader) layout() (l layout, err error) {
	schema, n := binary.Varint(r.heads)
	if n <= 0 || schema != int64(int32(schema)) {
		return l, errHistogram
	}
	l.schema, r.heads = int32(schema), r.heads[n:]
	threshold, err := r.floats(1)
	if err != nil {
		return l, err
	}
	l.zeroThreshold = threshold[0]
	if l.positive, err = r.spans(); err != nil {
		return l, err
	}
	if l.negative, err = r.spans(); err != nil {
		return l, err
	}
	count, rest, ok := uvarint(r.heads)
	if !ok {
		return l, errHistogram
	}
	r.heads = rest
	l.custom, err = r.floats(count)
	return l, err
}

func (r *HistogramReader) floats(n uint64) ([]float64, error) {
	if n > uint64(len(r.heads))/8 {
		return nil, errHistogram
	}
	if n == 0 {
		return nil, nil
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = math.Float64frombits(binary.LittleEndian.Uint64(r.heads[8*i:]))
	}
	r.heads = r.heads[8*n:]
	return out, nil
}

func (r *HistogramReader) spans() ([]histogram.Span, error) {
	n, rest, ok := uvarint(r.heads)
	if !ok || n > uint64(len(rest))/2 || n > uint64(r.buckets) {
		return nil, errHistogram
	}
	r.heads = rest
	if n == 0 {
		return nil, nil
	}
	spans := make([]histogram.Span, n)
	for i := range spans {
		offset, k := binary.Varint(r.heads)
		if k <= 0 || offset != int64(int32(offset)) {
			return nil, errHistogram
		}
		length, rest, ok := uvarint(r.heads[k:])
		if !ok || length > math.MaxUint32 {
			return nil, errHistogram
		}
		spans[i], r.heads = histogram.Span{Offset: int32(offset), Length: uint32(length)}, rest
	}
	return spans, nil
}

// Spent reports an error if the columns hold more than was read.
func (r *HistogramReader) Spent() error {
	if len(r.heads) > 0 {
		return errHistogram
	}
	return r.cells.Spent()
}
