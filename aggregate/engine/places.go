package engine

import (
	"math/bits"
	"sync/atomic"
)

// places find the place of a series in its shard by a fingerprint. They do not hold
// fingerprints: those are in the records, which lie in the order in which they were
// learnt, and here is of each only a tag of 8 bits, so some 6 bytes an entry. A tag
// that fits by chance, as one of 20 look-ups meets one, is found out by the print.
//
// One writer at a time (under its shard's lock), readers without a lock: a writer
// stores the place before the tag, and a reader believes neither. Growing makes a new
// part, so the longest pause is that of copying one (some 1/1000 of them all).
type places struct {
	parts []atomic.Pointer[placePart]
	// prints tells the print of what is at a place.
	prints func(val uint32) uint64
}

// placePart is open addressing in buckets of one cache line.
type placePart struct {
	buckets []placeBucket
	live    int // tags in use
	gone    int // tombstones
}

const placeSlots = 12

type placeBucket struct {
	tags [2]uint64 // a byte each, the upper half of the second one unused
	vals [placeSlots]uint32
}

const (
	tagEmpty = 0
	tagGone  = 1
	// tagsUnused keeps what is not there from looking like an empty slot.
	tagsUnused = 0x0101_0101 << 32

	eachTag = 0x0101_0101_0101_0101
)

// printOf is the part of a fingerprint that is kept; never 0, which stands for none.
func printOf(lo uint64) uint64 { return segmentKey(lo) }

func tagOf(print uint64) uint8 { return uint8(max(print&0xff, tagGone+1)) }

// sameTags marks the bytes of tags that are equal to tag, and perhaps some after one.
func sameTags(tags uint64, tag uint8) uint64 {
	x := tags ^ eachTag*uint64(tag)
	return (x - eachTag) & ^x & (eachTag << 7)
}

func newPlaces(parts int, prints func(uint32) uint64) places {
	return places{make([]atomic.Pointer[placePart], parts), prints}
}

func newPlacePart(buckets int) *placePart {
	p := &placePart{buckets: make([]placeBucket, max(2, buckets))}
	for i := range p.buckets {
		p.buckets[i].tags[1] = tagsUnused
	}
	return p
}

// roomyPart holds live entries, and a fifth more.
func roomyPart(live int) *placePart { return newPlacePart((live*5/4 + placeSlots) / placeSlots) }

// bucket is chosen by the upper half of the print, the tag is of the lower one.
func (p *placePart) bucket(print uint64) int {
	return int((print >> 32) * uint64(len(p.buckets)) >> 32)
}

// part is chosen by the upper bits of the second half of the fingerprint, those
// after skip bits.
func (x *places) part(hi uint64, skip uint) *atomic.Pointer[placePart] {
	return &x.parts[hi<<skip>>32*uint64(len(x.parts))>>32]
}

// guess returns the first place in its bucket that may be that of the print, or any:
// where to look, while the memory of others is fetched as well.
func (b *placeBucket) guess(print uint64) uint32 {
	tag, n := tagOf(print), 0
	if m := sameTags(atomic.LoadUint64(&b.tags[0]), tag); m != 0 {
		n = bits.TrailingZeros64(m) / 8
	} else if m := sameTags(atomic.LoadUint64(&b.tags[1]), tag); m != 0 {
		n = 8 + bits.TrailingZeros64(m)/8
	}
	return atomic.LoadUint32(&b.vals[n])
}

// find may be called without a lock.
func (x *places) find(p *placePart, print uint64) (uint32, bool) {
	tag := tagOf(print)
	for i := p.bucket(print); ; i++ {
		if i == len(p.buckets) {
			i = 0
		}
		b, free := &p.buckets[i], uint64(0)
		for half := range b.tags {
			tags := atomic.LoadUint64(&b.tags[half])
			for m := sameTags(tags, tag); m != 0; m &= m - 1 {
				n := half*8 + bits.TrailingZeros64(m)/8
				if n >= placeSlots {
					break
				}
				if val := atomic.LoadUint32(&b.vals[n]); x.prints(val) == print {
					return val, true
				}
			}
			free |= sameTags(tags, tagEmpty)
		}
		if free != 0 {
			return 0, false
		}
	}
}

// put enters a print that is not there.
func (p *placePart) put(print uint64, val uint32) {
	for i := p.bucket(print); ; i++ {
		if i == len(p.buckets) {
			i = 0
		}
		b := &p.buckets[i]
		for n := range b.vals {
			was := b.tag(n)
			if was > tagGone {
				continue
			}
			if was == tagGone {
				p.gone--
			}
			p.live++
			atomic.StoreUint32(&b.vals[n], val)
			b.setTag(n, tagOf(print))
			return
		}
	}
}

func (b *placeBucket) tag(n int) uint8 { return uint8(b.tags[n/8] >> (n % 8 * 8)) }

func (b *placeBucket) setTag(n int, tag uint8) {
	shift := n % 8 * 8
	atomic.StoreUint64(&b.tags[n/8], b.tags[n/8]&^(0xff<<shift)|uint64(tag)<<shift)
}

func (p *placePart) full() bool {
	return (p.live+p.gone+1)*100 > len(p.buckets)*placeSlots*92
}

// sparse tells that a tight copy would take a tenth less of memory.
func (p *placePart) sparse() bool {
	return len(p.buckets) > 2 && p.live*100 < len(p.buckets)*placeSlots*78
}

// each calls f for every entry; f may remove it.
func (p *placePart) each(f func(val uint32, remove func())) { p.some(0, len(p.buckets), f) }

func (p *placePart) some(from, to int, f func(val uint32, remove func())) {
	for i := from; i < to; i++ {
		b := &p.buckets[i]
		for n := range b.vals {
			if b.tag(n) > tagGone {
				f(b.vals[n], func() {
					b.setTag(n, tagGone)
					p.live--
					p.gone++
				})
			}
		}
	}
}

// copyTo leaves the tombstones behind.
func (x *places) copyTo(p, to *placePart) *placePart {
	p.each(func(val uint32, _ func()) { to.put(x.prints(val), val) })
	return to
}

func (x *places) put(f fingerprint, skip uint, val uint32) {
	at := x.part(f.Hi, skip)
	p := at.Load()
	if p == nil {
		p = roomyPart(0)
		at.Store(p)
	}
	if p.full() {
		p = x.copyTo(p, roomyPart(p.live+1))
		at.Store(p)
	}
	p.put(printOf(f.Lo), val)
}

// pruneStep is how many buckets are looked at while batches wait.
const pruneStep = 64

// prune removes the entries that keep refuses from some buckets of one part, and
// returns where to go on. At its end it shrinks the part, and returns 0. If the part
// has grown meanwhile some may be left out, or come twice.
func (x *places) prune(part, from int, keep func(val uint32) bool) (next int) {
	p := x.parts[part].Load()
	if p == nil {
		return 0
	}
	if next = from + pruneStep; next >= len(p.buckets) {
		next = 0
	}
	p.some(min(from, len(p.buckets)), min(from+pruneStep, len(p.buckets)), func(val uint32, remove func()) {
		if !keep(val) {
			remove()
		}
	})
	if next == 0 && p.sparse() {
		x.parts[part].Store(x.copyTo(p, newPlacePart((p.live*23/20+placeSlots)/placeSlots)))
	}
	return next
}

func (x *places) bytes() (n int) {
	for i := range x.parts {
		if p := x.parts[i].Load(); p != nil {
			n += 64 * len(p.buckets)
		}
	}
	return n
}
