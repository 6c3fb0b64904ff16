package plane

import "math/bits"

// Number of contexts, see State.bitContext and symbolContext.
const (
	bitContexts    = 9
	symbolContexts = 4
)

const (
	// symbolBits is how many leading bits of a residual go into its symbol.
	symbolBits = 3
	// escape is the symbol of what does not fit one.
	escape = 255
	// trendUnit is one in the fixed point of State.trend.
	trendUnit = 4
	// costUnit is one bit in the fixed point of State.cost.
	costUnit = 3
	// firstCost is the cost of predictors before the first delta, firstBitsCost that
	// in mode Bits, where deltas are most of a mantissa.
	firstCost     = 8 << costUnit
	firstBitsCost = 49 << costUnit
	// mostShift is the weight of history in trend and cost: 2^-mostShift for the newest.
	mostShift = 3
)

// State is what both sides remember of a series. The zero State is not usable:
// see NewState.
type State struct {
	last    int64 // the newest value as an integer of mode
	trend   int64 // moving average of its deltas
	Value   uint64
	cost    [3]uint16 // moving average of each predictor's bits
	seen    uint8     // deltas seen since the mode was set, at most mostShift
	history uint8     // newest bit last: 1 where the value changed
	mode    Mode
	spare   uint8 // the writer's: how long a smaller mode would have done
}

// NewState is the state of a series without values.
func NewState() State { return State{mode: NoMode} }

// Mode is how the series' newest value was coded.
func (s *State) Mode() Mode { return s.mode }

// start begins again from the value m of mode.
func (s *State) start(mode Mode, m int64, value uint64) {
	c := uint16(firstCost)
	if mode == Bits {
		c = firstBitsCost
	}
	*s = State{last: m, Value: value, mode: mode, history: s.history, cost: [3]uint16{c, c, c}}
}

// predict gives the number of the predictor in use, what it expects of the next
// delta, and the bits its residuals took lately. near is the delta of the
// neighbour.
func (s *State) predict(near int64) (expected int64, width uint) {
	c, expected := s.cost[0], int64(0)
	if s.cost[1] < c {
		c, expected = s.cost[1], s.slope()
	}
	if s.cost[2] < c {
		c, expected = s.cost[2], near
	}
	return expected, uint(c+1<<(costUnit-1)) >> costUnit
}

func (s *State) slope() int64 { return (s.trend + 1<<(trendUnit-1)) >> trendUnit }

// learn takes in the delta d.
func (s *State) learn(d, near int64) {
	shift := s.seen
	if s.seen < mostShift {
		s.seen++
	}
	s.cost[0] = average(s.cost[0], d, shift)
	s.cost[1] = average(s.cost[1], d-s.slope(), shift)
	s.cost[2] = average(s.cost[2], d-near, shift)
	if d > -1<<56 && d < 1<<56 {
		s.trend += (d<<trendUnit - s.trend) >> shift
	} else {
		s.trend = 0
	}
	s.last += d
}

func average(cost uint16, residual int64, shift uint8) uint16 {
	b := int32(bits.Len64(zigzag(residual))) << costUnit
	return uint16(int32(cost) + (b-int32(cost))>>shift)
}

func (s *State) bitContext() int { return bits.OnesCount8(s.history) }

// symbolContext gives the column of a symbol and how many bits below it are
// written as they are, by the width expected of the residual.
func symbolContext(width uint) (column int, low uint) {
	if width < symbolBits {
		low = 0
	} else {
		low = width - symbolBits
	}
	return int(min(width, symbolContexts-1)), low
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
