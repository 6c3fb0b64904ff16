package sketch

import (
	"math"
	"slices"
)

// The buckets of LogHist: 64 linear ones per power of two, so the middle of a
// bucket is within 1/128 (0.79 %) of every value in it. The bucket of a value are
// the top bits of its IEEE 754 form, no logarithm is taken.
const (
	subBits  = 6
	keyShift = 52 - subBits
	pageBits = 4
	pageSize = 1 << pageBits
	minKey   = 1 << subBits       // the smallest normal number
	maxKey   = 0x7ff<<subBits - 1 // the largest finite number
	smallest = 0x1p-1022          // below it values count as zero
	signBit  = uint64(1) << 63
)

// LogHist counts values in logarithmic buckets. Quantiles are within 1 % of the
// true value; the smallest and the largest value are exact. Denormal numbers
// (below 2^-1022) count as zero; NaN and infinities are ignored. The zero value
// is ready for use. A sparse one takes a few hundred bytes, one over a decade
// some 2 KB, the worst possible 2 MB.
type LogHist struct {
	pos, neg store
	zeros    uint64
	count    uint64
	sum      float64
	min, max float64 // valid if count > 0
}

// New returns an empty histogram.
func New() *LogHist { return &LogHist{} }

// store counts by key, in pages that exist only where something was counted.
type store struct {
	base  int // page number of pages[0]
	pages []*[pageSize]uint64
}

func (s *store) add(key uint32, n uint64) {
	if i := int(key>>pageBits) - s.base; uint(i) < uint(len(s.pages)) {
		if p := s.pages[i]; p != nil {
			p[key&(pageSize-1)] += n
			return
		}
	}
	s.page(int(key >> pageBits))[key&(pageSize-1)] += n
}

// page makes room for a page number and returns its page.
func (s *store) page(number int) *[pageSize]uint64 {
	const slack = 2
	switch {
	case len(s.pages) == 0:
		s.base = number
		s.pages = make([]*[pageSize]uint64, 1, slack)
	case number < s.base:
		more := min(s.base-number+slack, s.base)
		s.pages = slices.Insert(s.pages, 0, make([]*[pageSize]uint64, more)...)
		s.base -= more
	case number >= s.base+len(s.pages):
		s.pages = append(s.pages, make([]*[pageSize]uint64, number-s.base-len(s.pages)+1)...)
	}
	p := &s.pages[number-s.base]
	if *p == nil {
		*p = new([pageSize]uint64)
	}
	return *p
}

func (s *store) merge(o *store) {
	if len(o.pages) == 0 {
		return
	}
	for i, from := range o.pages {
		if from == nil {
			continue
		}
		to := s.page(o.base + i)
		for j, n := range from {
			to[j] += n
		}
	}
}

// each visits the buckets in use by rising key.
func (s *store) each(f func(key uint32, n uint64) bool) bool {
	for i, p := range s.pages {
		if p == nil {
			continue
		}
		for j, n := range p {
			if n > 0 && !f(uint32((s.base+i)<<pageBits+j), n) {
				return false
			}
		}
	}
	return true
}

// eachDown visits by falling key.
func (s *store) eachDown(f func(key uint32, n uint64) bool) bool {
	for i := len(s.pages) - 1; i >= 0; i-- {
		p := s.pages[i]
		if p == nil {
			continue
		}
		for j := pageSize - 1; j >= 0; j-- {
			if n := p[j]; n > 0 && !f(uint32((s.base+i)<<pageBits+j), n) {
				return false
			}
		}
	}
	return true
}

// bounds are the values that a key stands for: [low, high).
func bounds(key uint32) (low, high float64) {
	low = math.Float64frombits(uint64(key) << keyShift)
	high = math.Float64frombits(uint64(key+1) << keyShift)
	if math.IsInf(high, 1) {
		high = math.MaxFloat64
	}
	return low, high
}

func middle(key uint32) float64 {
	low, high := bounds(key)
	return low + (high-low)/2
}

// Add counts one value.
func (h *LogHist) Add(v float64) {
	bits := math.Float64bits(v)
	key := uint32(bits >> keyShift)
	if i := int(key>>pageBits) - h.pos.base; key >= minKey && key <= maxKey && uint(i) < uint(len(h.pos.pages)) && h.pos.pages[i] != nil {
		h.pos.pages[i][key&(pageSize-1)]++
		h.count++
		h.sum += v
		if v < h.min {
			h.min = v
		} else if v > h.max {
			h.max = v
		}
		return
	}
	h.AddN(v, 1)
}

// AddN counts a value n times.
func (h *LogHist) AddN(v float64, n uint64) {
	bits := math.Float64bits(v)
	key := uint32(bits &^ signBit >> keyShift)
	if key > maxKey || n == 0 {
		return
	}
	if h.count == 0 {
		h.min, h.max = v, v
	} else {
		h.min, h.max = min(h.min, v), max(h.max, v)
	}
	h.count += n
	h.sum += v * float64(n)
	switch {
	case key < minKey:
		h.zeros += n
	case bits&signBit == 0:
		h.pos.add(key, n)
	default:
		h.neg.add(key, n)
	}
}

// Merge adds all that o counted. o may be nil.
func (h *LogHist) Merge(o *LogHist) {
	if o == nil || o.count == 0 {
		return
	}
	if h.count == 0 {
		h.min, h.max = o.min, o.max
	} else {
		h.min, h.max = min(h.min, o.min), max(h.max, o.max)
	}
	h.count += o.count
	h.zeros += o.zeros
	h.sum += o.sum
	h.pos.merge(&o.pos)
	h.neg.merge(&o.neg)
}

// Clone is an independent copy.
func (h *LogHist) Clone() *LogHist {
	c := New()
	c.Merge(h)
	return c
}

// Count is the number of values.
func (h *LogHist) Count() uint64 { return h.count }

// Sum is the sum of the values, rounded as it was added up.
func (h *LogHist) Sum() float64 { return h.sum }

// Extremes are the smallest and the largest value; ok is false if there is no value.
func (h *LogHist) Extremes() (low, high float64, ok bool) { return h.min, h.max, h.count > 0 }

// Quantile estimates the value at rank round(q·(count-1)) of the sorted values,
// for q in [0, 1]; NaN without values. The relative error is at most 1/128.
func (h *LogHist) Quantile(q float64) float64 {
	if h.count == 0 || math.IsNaN(q) {
		return math.NaN()
	}
	switch {
	case q <= 0:
		return h.min
	case q >= 1:
		return h.max
	}
	rank := uint64(math.Floor(q*float64(h.count-1) + 0.5))
	if rank == 0 {
		return h.min
	}
	if rank >= h.count-1 {
		return h.max
	}
	return h.clamp(h.at(rank))
}

// at is the middle of the bucket that holds the value of a rank, from 0.
func (h *LogHist) at(rank uint64) float64 {
	seen, v := uint64(0), 0.0
	find := func(sign float64) func(uint32, uint64) bool {
		return func(key uint32, n uint64) bool {
			seen += n
			v = sign * middle(key)
			return seen <= rank
		}
	}
	if !h.neg.eachDown(find(-1)) {
		return v
	}
	if seen += h.zeros; seen > rank {
		return 0
	}
	h.pos.each(find(1))
	return v
}

func (h *LogHist) clamp(v float64) float64 { return max(h.min, min(h.max, v)) }
