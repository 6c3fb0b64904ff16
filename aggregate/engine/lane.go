package engine

import (
	"math/bits"
	"sync/atomic"
)

// lanes keep apart the records of series that batches learn side by side: who sends
// them again mostly sends them in the same order, and two cores that write to
// neighbours take one cache line from each other for each sample.
const lanes = 4

// laneSet is which lanes a batch has: the bits of a number.
type laneSet struct{ taken atomic.Uint32 }

// take returns the first free lane, and the last one for all for whom there is none.
func (l *laneSet) take() uint8 {
	for {
		taken := l.taken.Load()
		lane := bits.TrailingZeros32(^taken)
		if lane >= lanes-1 {
			return lanes - 1
		}
		if l.taken.CompareAndSwap(taken, taken|1<<lane) {
			return uint8(lane)
		}
	}
}

func (l *laneSet) giveBack(lane uint8) {
	if lane < lanes-1 {
		l.taken.And(^(uint32(1) << lane))
	}
}
