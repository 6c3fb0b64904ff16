package plane

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/prometheus/prometheus/model/value"
)

// Errors of columns that do not hold what they should.
var (
	errShort = errors.New("a column of values ends too early")
	errLong  = errors.New("a column of values has bytes left over")
	errKind  = errors.New("a value has a kind that is not known, or not possible here")
)

// Reader gives back what a Writer gathered.
type Reader struct {
	changed [bitContexts]bitReader
	symbols [symbolContexts][]byte
	kinds   []byte
	numbers []byte
	low     bitReader
	near    int64
}

// Row begins a row, as Writer.Row did.
func (r *Reader) Row() { r.near = 0 }

// Next reads the next value of a series. Where other is Histogram or
// FloatHistogram, the caller knows where the value is: same says that it is the
// one before.
func (r *Reader) Next(s *State) (v float64, other Kind, err error) {
	if s.mode == NoMode {
		return r.special(s)
	}
	bit, ok := r.changed[s.bitContext()].bit()
	if !ok {
		return 0, 0, errShort
	}
	s.history = s.history<<1 | uint8(bit)
	if bit == 0 {
		r.near = 0
		return math.Float64frombits(s.Value), 0, nil
	}
	expected, width := s.predict(r.near)
	column, low := symbolContext(width)
	if len(r.symbols[column]) == 0 {
		return 0, 0, errShort
	}
	symbol := uint64(r.symbols[column][0])
	r.symbols[column] = r.symbols[column][1:]
	if symbol == escape {
		return r.special(s)
	}
	rest, ok := r.low.get(low)
	if !ok {
		return 0, 0, errShort
	}
	r.delta(s, expected+unzigzag(symbol<<low|rest))
	return math.Float64frombits(s.Value), 0, nil
}

func (r *Reader) delta(s *State, d int64) {
	s.learn(d, r.near)
	r.near = d
	if s.mode <= Bits {
		s.Value = math.Float64bits(Float(s.last, s.mode))
	}
}

// special reads what follows an escape.
func (r *Reader) special(s *State) (v float64, other Kind, err error) {
	if len(r.kinds) == 0 {
		return 0, 0, errShort
	}
	k := Kind(r.kinds[0])
	r.kinds = r.kinds[1:]
	switch {
	case k == kindFar && s.mode != NoMode:
		z, err := r.number()
		if err != nil {
			return 0, 0, err
		}
		expected, _ := s.predict(r.near)
		r.delta(s, expected+unzigzag(z))
	case k == Stale:
		return math.Float64frombits(value.StaleNaN), 0, nil
	case k == Histogram, k == FloatHistogram:
		s.start(NoMode, 0, 0)
		return 0, k, nil
	case k >= kindMode && k <= kindMode+Kind(Rank):
		z, err := r.number()
		if err != nil {
			return 0, 0, err
		}
		mode, m := Mode(k-kindMode), unzigzag(z)
		s.start(mode, m, 0)
		if mode <= Bits {
			s.Value = math.Float64bits(Float(m, mode))
		}
	default:
		return 0, 0, errKind
	}
	return math.Float64frombits(s.Value), 0, nil
}

// Integer is the newest value of the series as an integer of its mode.
func (s *State) Integer() int64 { return s.last }

func (r *Reader) number() (uint64, error) {
	z, n := binary.Uvarint(r.numbers)
	if n <= 0 {
		return 0, errShort
	}
	r.numbers = r.numbers[n:]
	return z, nil
}

// Spent reports an error if the columns hold more than was read.
func (r *Reader) Spent() error {
	for i := range r.changed {
		if !r.changed[i].spent() {
			return errLong
		}
	}
	for i := range r.symbols {
		if len(r.symbols[i]) > 0 {
			return errLong
		}
	}
	if len(r.kinds) > 0 || len(r.numbers) > 0 || !r.low.spent() {
		return errLong
	}
	return nil
}
