package plane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
)

// layout is what histograms of a series mostly have in common.
type layout struct {
	schema             int32
	zeroThreshold      float64
	positive, negative []histogram.Span
	custom             []float64
}

func (l *layout) same(o *layout) bool {
	return l.schema == o.schema && math.Float64bits(l.zeroThreshold) == math.Float64bits(o.zeroThreshold) &&
		slices.Equal(l.positive, o.positive) && slices.Equal(l.negative, o.negative) &&
		slices.EqualFunc(l.custom, o.custom, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })
}

// HistogramState is what both sides remember of a series of native histograms: a
// State for the count, the zero count, the sum and each bucket.
type HistogramState struct {
	layout layout
	float  bool
	cells  []State
}

// Cells is the number of States that s keeps.
func (s *HistogramState) Cells() int {
	if s == nil {
		return 0
	}
	return len(s.cells)
}

// Cells is the number of States that a histogram of so many buckets needs.
func Cells(positive, negative int) int { return fixedCells + positive + negative }

const fixedCells = 3 // count, zero count, sum

const (
	hintMask  = 3
	newLayout = 4
)

// HistogramWriter gathers native histograms. The zero HistogramWriter is ready.
type HistogramWriter struct {
	heads []byte
	cells Writer
}

// Reset empties the columns.
func (w *HistogramWriter) Reset() {
	w.heads = w.heads[:0]
	w.cells.Reset()
}

// Len is the bytes of what heads the histograms gathered so far: 0 if there are none.
func (w *HistogramWriter) Len() int { return len(w.heads) }

// Integers writes the next histogram of a series.
func (w *HistogramWriter) Integers(s *HistogramState, h *histogram.Histogram) {
	l := layout{h.Schema, h.ZeroThreshold, h.PositiveSpans, h.NegativeSpans, h.CustomValues}
	w.head(s, &l, false, h.CounterResetHint, len(h.PositiveBuckets), len(h.NegativeBuckets))
	w.cells.Integer(&s.cells[0], 0, int64(h.Count))
	w.cells.Integer(&s.cells[1], 0, int64(h.ZeroCount))
	w.cells.Float(&s.cells[2], h.Sum)
	w.cells.Row()
	for i, b := range h.PositiveBuckets {
		w.cells.Integer(&s.cells[fixedCells+i], 0, b)
	}
	for i, b := range h.NegativeBuckets {
		w.cells.Integer(&s.cells[fixedCells+len(h.PositiveBuckets)+i], 0, b)
	}
}

// Floats writes the next float histogram of a series.
func (w *HistogramWriter) Floats(s *HistogramState, h *histogram.FloatHistogram) {
	l := layout{h.Schema, h.ZeroThreshold, h.PositiveSpans, h.NegativeSpans, h.CustomValues}
	w.head(s, &l, true, h.CounterResetHint, len(h.PositiveBuckets), len(h.NegativeBuckets))
	w.cells.Float(&s.cells[0], h.Count)
	w.cells.Float(&s.cells[1], h.ZeroCount)
	w.cells.Float(&s.cells[2], h.Sum)
	w.cells.Row()
	for i, b := range h.PositiveBuckets {
		w.cells.Float(&s.cells[fixedCells+i], b)
	}
	for i, b := range h.NegativeBuckets {
		w.cells.Float(&s.cells[fixedCells+len(h.PositiveBuckets)+i], b)
	}
}

func (w *HistogramWriter) head(s *HistogramState, l *layout, float bool, hint histogram.CounterResetHint, positive, negative int) {
	w.cells.Row()
	if s.float == float && s.Cells() == Cells(positive, negative) && s.layout.same(l) {
		w.heads = append(w.heads, byte(hint)&hintMask)
		return
	}
	w.heads = append(w.heads, byte(hint)&hintMask|newLayout)
	w.heads = binary.AppendVarint(w.heads, int64(l.schema))
	w.heads = binary.LittleEndian.AppendUint64(w.heads, math.Float64bits(l.zeroThreshold))
	for _, spans := range [][]histogram.Span{l.positive, l.negative} {
		w.heads = binary.AppendUvarint(w.heads, uint64(len(spans)))
		for _, s := range spans {
			w.heads = binary.AppendVarint(w.heads, int64(s.Offset))
			w.heads = binary.AppendUvarint(w.heads, uint64(s.Length))
		}
	}
	w.heads = binary.AppendUvarint(w.heads, uint64(len(l.custom)))
	for _, v := range l.custom {
		w.heads = binary.LittleEndian.AppendUint64(w.heads, math.Float64bits(v))
	}
	s.begin(l.clone(), float, Cells(positive, negative))
}

func (l *layout) clone() layout {
	return layout{l.schema, l.zeroThreshold, slices.Clone(l.positive), slices.Clone(l.negative), slices.Clone(l.custom)}
}

func (s *HistogramState) begin(l layout, float bool, cells int) {
	s.layout, s.float = l, float
	if cap(s.cells) < cells {
		s.cells = make([]State, cells)
	}
	s.cells = s.cells[:cells]
	for i := range s.cells {
		s.cells[i] = NewState()
	}
}

// Check reports an error for a histogram of integers that cannot be written.
func Check(h *histogram.Histogram) error {
	l := layout{h.Schema, h.ZeroThreshold, h.PositiveSpans, h.NegativeSpans, h.CustomValues}
	return l.check(len(h.PositiveBuckets), len(h.NegativeBuckets))
}

// CheckFloat reports an error for a float histogram that cannot be written.
func CheckFloat(h *histogram.FloatHistogram) error {
	l := layout{h.Schema, h.ZeroThreshold, h.PositiveSpans, h.NegativeSpans, h.CustomValues}
	return l.check(len(h.PositiveBuckets), len(h.NegativeBuckets))
}

// check holds a layout to what iterating over buckets relies on. Counts are not
// looked at: those of a difference may be negative.
func (l *layout) check(positive, negative int) error {
	if !histogram.IsValidSchema(l.schema) {
		return fmt.Errorf("a histogram has the schema %d: want -4 to 8, or -53", l.schema)
	}
	if p, n := bucketsOf(l.positive), bucketsOf(l.negative); p != uint64(positive) || n != uint64(negative) {
		return fmt.Errorf("a histogram's spans have %d and %d buckets, but it has %d and %d", p, n, positive, negative)
	}
	last := int64(math.MaxInt32)
	if histogram.IsCustomBucketsSchema(l.schema) {
		last = int64(len(l.custom))
		if len(l.negative) > 0 {
			return errors.New("a histogram with custom buckets has negative ones")
		}
	}
	for _, spans := range [][]histogram.Span{l.positive, l.negative} {
		next := int64(0)
		for i, s := range spans {
			if i > 0 && s.Offset < 0 {
				return fmt.Errorf("span %d of a histogram begins %d buckets before the end of the one before", i, -int64(s.Offset))
			}
			if next += int64(s.Offset) + int64(s.Length); next > last+1 {
				return fmt.Errorf("span %d of a histogram ends at bucket %d, beyond the last one", i, next-1)
			}
		}
	}
	for i := 1; i < len(l.custom); i++ {
		if !(l.custom[i-1] < l.custom[i]) {
			return fmt.Errorf("custom bound %d of a histogram is not above the one before", i)
		}
	}
	return nil
}

func bucketsOf(spans []histogram.Span) (n uint64) {
	for _, s := range spans {
		n += uint64(s.Length)
	}
	return n
}

// AppendHistograms adds the columns of w.
func (p *Packer) AppendHistograms(dst []byte, w *HistogramWriter) []byte {
	return p.AppendValues(p.Append(dst, w.heads), &w.cells)
}
