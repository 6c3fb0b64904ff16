package replicate

import "github.com/prometheus/prometheus/storage"

// refs finds a stream's number of a series by the store's. The store counts its
// own up from 1, so that most are found in a slice.
type refs struct {
	low  []int32 // number plus 2
	high map[storage.SeriesRef]int32
	n    int
}

// What refs has for series that have no number.
const (
	unknown   = -2
	notChosen = -1
)

// lowRefs bounds the slice, to 16 MiB.
const lowRefs = 4 << 20

func (r *refs) get(ref storage.SeriesRef) int32 {
	if ref < storage.SeriesRef(len(r.low)) {
		return r.low[ref] - 2
	}
	if number, ok := r.high[ref]; ok {
		return number
	}
	return unknown
}

func (r *refs) set(ref storage.SeriesRef, number int32) {
	r.n++
	if ref >= lowRefs {
		if r.high == nil {
			r.high = map[storage.SeriesRef]int32{}
		}
		r.high[ref] = number
		return
	}
	if need := int(ref) + 1; need > len(r.low) {
		r.low = append(r.low, make([]int32, need-len(r.low))...)
	}
	r.low[ref] = number + 2
}
