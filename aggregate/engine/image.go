package engine

import (
	"encoding/binary"
	"slices"
)

// image is a copy of what a shard has most of: made in a moment, while batches wait,
// and written at leisure.
type image struct {
	n      int // chunks of the shard
	chunks []*chunkImage
	rates  []rateImage
}

type chunkImage struct {
	there bool
	recs  [chunkSize]record
	n     int // of recs
	// first are the first samples, if there are any, at times since base.
	some  bool
	base  int64
	first [chunkSize]float64
	times [chunkSize]uint32
	gaps  []gapSegment
	sides
}

// rateImage are rates that belong to a place in what else is written.
type rateImage struct {
	at     int
	chunks []*rateChunk
}

// prepare gets memory for what a shard has, each page of which was touched: who copies
// into it need not wait for the kernel.
func (m *image) prepare(s *shard) {
	n := len(*s.chunks.Load())
	m.reserve(n)
	for k := range n {
		s.mu.Lock()
		var has chunk
		if chunks := *s.chunks.Load(); k < len(chunks) && chunks[k] != nil {
			has = *chunks[k]
		}
		gaps := 0
		if has.gaps != nil {
			gaps = len(has.gaps.all)
		}
		s.mu.Unlock()
		x := m.chunks[k]
		x.reserve(&has.sides)
		x.gaps = slices.Grow(x.gaps[:0], gaps+gaps/4)
		clear(x.gaps[:cap(x.gaps)])
	}
}

func (m *image) reserve(n int) {
	for len(m.chunks) < n {
		c := &chunkImage{}
		for i := 0; i < chunkSize; i += 64 {
			c.recs[i].v, c.first[i], c.times[i] = 1, 1, 1
		}
		m.chunks = append(m.chunks, c)
	}
}

// take copies; the caller holds the shard's lock.
func (m *image) take(s *shard) {
	chunks := *s.chunks.Load()
	m.reserve(len(chunks))
	for n, x := range m.chunks {
		x.there = n < len(chunks) && chunks[n] != nil
		if x.there {
			x.take(chunks[n])
		}
	}
	m.n, m.rates = len(chunks), m.rates[:0]
}

func (x *chunkImage) take(c *chunk) {
	x.n, x.some, x.gaps = copy(x.recs[:], c.recs[:c.bump]), c.first != nil, x.gaps[:0]
	if x.some {
		x.base, x.first = c.first.base, *c.first.v
		for i := range x.n {
			x.times[i] = c.first.time(uint32(i))
		}
	}
	if c.gaps != nil {
		x.gaps = append(x.gaps, c.gaps.all...)
	}
	x.sides.take(&c.sides)
}

// takeRates copies rates that come after the at first bytes of what else is written.
func (m *image) takeRates(at int, chunks []*rateChunk) {
	x := rateImage{at: at, chunks: make([]*rateChunk, len(chunks))}
	for n, c := range chunks {
		if c != nil {
			own := *c
			x.chunks[n] = &own
		}
	}
	m.rates = append(m.rates, x)
}

// join puts the rates between the rest.
func (m *image) join(rest []byte) (all [][]byte) {
	at := 0
	for _, x := range m.rates {
		all = append(all, rest[at:x.at], appendRates(nil, x.chunks))
		at = x.at
	}
	return append(all, rest[at:])
}

// appendRecords writes whole chunks: 32 bytes a record, with first samples.
func (m *image) appendRecords(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(m.n))
	for _, c := range m.chunks[:m.n] {
		if !c.there {
			b = append(b, 0)
			continue
		}
		kind := byte(1)
		if c.some {
			kind = 2
		}
		b = append(b, kind)
		b = binary.LittleEndian.AppendUint32(b, uint32(c.n))
		b = slices.Grow(b, c.n*32)
		for i := range c.n {
			r := &c.recs[i]
			b = appendFloat(b, r.v)
			b = binary.LittleEndian.AppendUint64(b, uint64(r.t))
			b = binary.LittleEndian.AppendUint64(b, r.meta)
			b = binary.LittleEndian.AppendUint32(b, r.group)
			b = binary.LittleEndian.AppendUint32(b, r.next)
		}
		if kind == 2 {
			b = binary.LittleEndian.AppendUint64(b, uint64(c.base))
			for i := range c.n {
				b = binary.LittleEndian.AppendUint32(b, c.times[i])
				b = appendFloat(b, c.first[i])
			}
		}
	}
	return b
}

func (m *image) appendGaps(b []byte) []byte {
	n := 0
	for range m.segments {
		n++
	}
	b = binary.AppendUvarint(b, uint64(n))
	for seg := range m.segments {
		b = binary.LittleEndian.AppendUint32(b, seg.id)
		b = append(b, byte(seg.kind))
		b = appendFloat(appendFloat(b, seg.fromV), seg.toV)
		b = binary.LittleEndian.AppendUint64(b, uint64(seg.from))
		b = binary.LittleEndian.AppendUint64(b, uint64(seg.to))
	}
	return b
}

// segments are those in use.
func (m *image) segments(yield func(*gapSegment) bool) {
	for _, c := range m.chunks[:m.n] {
		for i := range c.gaps {
			if c.there && c.gaps[i].kind != 0 && !yield(&c.gaps[i]) {
				return
			}
		}
	}
}
