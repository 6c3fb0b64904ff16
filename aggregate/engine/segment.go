package engine

import "sync/atomic"

// A segment is a part of the index of sources: open addressing in buckets of one cache line
// (five keys and their values), at a load of 0.80 to 0.90, so some 15 bytes an
// entry and mostly one miss a look-up. One writer at a time (under its shard's
// lock), readers without a lock: a writer stores the value before the key, a reader
// looks at the key again after it read the value. Growing makes a new segment, so
// the longest pause is that of copying one (some 1/1000 of the index).
type segment struct {
	buckets []bucket
	live    int // keys in use
	gone    int // tombstones
}

const bucketSlots = 5

type bucket struct {
	keys [bucketSlots]uint64
	vals [bucketSlots]uint32
	_    uint32
}

const (
	slotEmpty  = 0
	slotGone   = 1
	minBuckets = 4
)

func segmentKey(lo uint64) uint64 {
	if lo <= slotGone {
		return lo + 2
	}
	return lo
}

func newSegment(live int) *segment {
	return &segment{buckets: make([]bucket, max(minBuckets, (live*5/4+bucketSlots)/bucketSlots))}
}

// bucket is chosen by the upper half of the key; the lower half only tells apart.
func (s *segment) bucket(key uint64) int { return int((key >> 32) * uint64(len(s.buckets)) >> 32) }

// find may be called without a lock.
func (s *segment) find(key uint64) (uint32, bool) {
	buckets := s.buckets
	for i := s.bucket(key); ; i++ {
		if i == len(buckets) {
			i = 0
		}
		b := &buckets[i]
		for n := range b.keys {
			switch atomic.LoadUint64(&b.keys[n]) {
			case key:
				v := atomic.LoadUint32(&b.vals[n])
				if atomic.LoadUint64(&b.keys[n]) == key {
					return v, true
				}
			case slotEmpty:
				return 0, false
			}
		}
	}
}

// put sets the value of key, in place.
func (s *segment) put(key uint64, val uint32) {
	var free *bucket
	place := 0
	for i := s.bucket(key); ; i++ {
		if i == len(s.buckets) {
			i = 0
		}
		b := &s.buckets[i]
		for n, k := range b.keys {
			if k == key {
				atomic.StoreUint32(&b.vals[n], val)
				return
			}
			if k > slotGone {
				continue
			}
			if free == nil {
				free, place = b, n
			}
			if k == slotEmpty {
				s.enter(free, place, key, val)
				return
			}
		}
	}
}

func (s *segment) enter(b *bucket, n int, key uint64, val uint32) {
	if b.keys[n] == slotGone {
		s.gone--
	}
	atomic.StoreUint32(&b.vals[n], val)
	atomic.StoreUint64(&b.keys[n], key)
	s.live++
}

func (s *segment) full() bool {
	return (s.live+s.gone+1)*100 > len(s.buckets)*bucketSlots*90
}

// each calls f for every entry; f may remove it.
func (s *segment) each(f func(key uint64, val uint32, remove func())) {
	for i := range s.buckets {
		b := &s.buckets[i]
		for n, k := range b.keys {
			if k > slotGone {
				f(k, b.vals[n], func() {
					atomic.StoreUint64(&b.keys[n], slotGone)
					s.live--
					s.gone++
				})
			}
		}
	}
}

// roomy is a copy without tombstones and with room for more.
func (s *segment) roomy() *segment { return s.copyTo(newSegment(s.live + 1)) }

func (s *segment) copyTo(n *segment) *segment {
	s.each(func(key uint64, val uint32, _ func()) { n.put(key, val) })
	return n
}

// tight is a copy without tombstones and with next to no room: of what shrinks.
func (s *segment) tight() *segment {
	return s.copyTo(&segment{buckets: make([]bucket, max(minBuckets, (s.live*23/20+bucketSlots)/bucketSlots))})
}

// sparse tells that a tight copy would take a tenth less of memory.
func (s *segment) sparse() bool {
	return len(s.buckets) > minBuckets && s.live*100 < len(s.buckets)*bucketSlots*78
}

// index is a fixed number of segments.
type index struct{ parts []atomic.Pointer[segment] }

func newIndex(bits uint) index { return index{make([]atomic.Pointer[segment], 1<<bits)} }

// part is chosen by the upper bits of the second half of the fingerprint, those
// after skip bits.
func (x *index) part(hi uint64, skip uint) *atomic.Pointer[segment] {
	return &x.parts[hi<<skip>>32*uint64(len(x.parts))>>32]
}

func (x *index) find(f fingerprint, skip uint) (uint32, bool) {
	s := x.part(f.Hi, skip).Load()
	if s == nil {
		return 0, false
	}
	return s.find(segmentKey(f.Lo))
}

func (x *index) put(f fingerprint, skip uint, val uint32) {
	p := x.part(f.Hi, skip)
	s := p.Load()
	if s == nil {
		s = newSegment(0)
		p.Store(s)
	}
	if s.full() {
		s = s.roomy()
		p.Store(s)
	}
	s.put(segmentKey(f.Lo), val)
}

// prune removes the entries of one part that keep refuses, and shrinks it.
func (x *index) prune(part int, keep func(val uint32) bool) {
	s := x.parts[part].Load()
	if s == nil {
		return
	}
	s.each(func(_ uint64, val uint32, remove func()) {
		if !keep(val) {
			remove()
		}
	})
	if s.sparse() {
		x.parts[part].Store(s.tight())
	}
}

func (x *index) bytes() (n int) {
	for i := range x.parts {
		if s := x.parts[i].Load(); s != nil {
			n += 64 * len(s.buckets)
		}
	}
	return n
}
