package plane

import (
	"encoding/binary"
	"math"

	"github.com/prometheus/prometheus/model/value"
)

// Kind says what follows an escape.
type Kind uint8

// Kinds of values that are not a small change of the last one.
const (
	kindFar Kind = iota // the residual is in the column of numbers
	// Stale is a staleness marker of floats. The series' state stays as it is.
	Stale
	// Histogram and FloatHistogram are coded by the caller, elsewhere.
	Histogram
	FloatHistogram
	// kindMode + m sets the mode m; the integer is in the column of numbers.
	kindMode
)

// smallerAfter is how many values in a row a smaller mode must have sufficed for,
// before the writer changes to it.
const smallerAfter = 8

// Writer gathers values in columns. The zero Writer is ready.
type Writer struct {
	changed [bitContexts]bitWriter
	symbols [symbolContexts][]byte
	kinds   []byte
	numbers []byte
	low     bitWriter
	near    int64
}

// Reset empties the columns.
func (w *Writer) Reset() {
	for i := range w.changed {
		w.changed[i].reset()
	}
	for i := range w.symbols {
		w.symbols[i] = w.symbols[i][:0]
	}
	w.kinds, w.numbers, w.near = w.kinds[:0], w.numbers[:0], 0
	w.low.reset()
}

// Row begins a row: the next value has no neighbour.
func (w *Writer) Row() { w.near = 0 }

// Float writes the next value of a series.
func (w *Writer) Float(s *State, v float64) {
	b := math.Float64bits(v)
	if b == s.Value && s.mode != NoMode {
		w.mark(s, 0)
		w.near = 0
		return
	}
	if s.mode != NoMode {
		w.mark(s, 1)
	}
	if b == value.StaleNaN {
		w.escape(s, Stale)
		return
	}
	mode, m := s.choose(v)
	if mode != s.mode {
		w.escape(s, kindMode+Kind(mode))
		w.numbers = binary.AppendVarint(w.numbers, m)
		s.start(mode, m, b)
		return
	}
	s.Value = b
	w.delta(s, m)
}

// Integer writes the next value of a series that holds integers of one mode.
func (w *Writer) Integer(s *State, mode Mode, m int64) {
	switch {
	case s.mode != mode:
		w.escape(s, kindMode+Kind(mode))
		w.numbers = binary.AppendVarint(w.numbers, m)
		s.start(mode, m, 0)
	case s.last == m:
		w.mark(s, 0)
		w.near = 0
	default:
		w.mark(s, 1)
		w.delta(s, m)
	}
}

// Kind writes that the next value of the series is one the caller codes.
func (w *Writer) Kind(s *State, k Kind) {
	if s.mode != NoMode {
		w.mark(s, 1)
	}
	w.escape(s, k)
	s.start(NoMode, 0, 0)
}

func (w *Writer) mark(s *State, bit uint64) {
	w.changed[s.bitContext()].put(bit, 1)
	s.history = s.history<<1 | uint8(bit)
}

func (w *Writer) escape(s *State, k Kind) {
	if s.mode != NoMode {
		_, width := s.predict(w.near)
		column, _ := symbolContext(width)
		w.symbols[column] = append(w.symbols[column], escape)
	}
	w.kinds = append(w.kinds, byte(k))
}

func (w *Writer) delta(s *State, m int64) {
	d := m - s.last
	expected, width := s.predict(w.near)
	column, low := symbolContext(width)
	z := zigzag(d - expected)
	if symbol := z >> low; symbol < escape {
		w.symbols[column] = append(w.symbols[column], byte(symbol))
		w.low.put(z&(1<<low-1), low)
	} else {
		w.symbols[column] = append(w.symbols[column], escape)
		w.kinds = append(w.kinds, byte(kindFar))
		w.numbers = binary.AppendUvarint(w.numbers, z)
	}
	s.learn(d, w.near)
	w.near = d
}

// choose gives the mode for v: the series' own as long as it is exact, a larger
// one when it is not, a smaller one when that has been enough for a while.
func (s *State) choose(v float64) (Mode, int64) {
	switch s.mode {
	case NoMode:
		return Decimal(v, 0)
	case Bits:
		if mode, m := Decimal(v, 0); mode != Bits {
			if s.spare++; s.spare >= smallerAfter {
				return mode, m
			}
		} else {
			s.spare = 0
		}
		return Bits, int64(math.Float64bits(v))
	}
	m, ok := Integer(v, s.mode)
	if !ok {
		return Decimal(v, s.mode+1)
	}
	if s.mode > 0 && m%10 == 0 {
		if s.spare++; s.spare >= 4*smallerAfter {
			return Decimal(v, 0)
		}
	} else {
		s.spare = 0
	}
	return s.mode, m
}
