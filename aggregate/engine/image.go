package engine

import (
	"encoding/binary"
	"maps"
	"slices"
)

// image is a copy of a shard as of one instant. Its chunks are copied one by one, those
// that are about to change first, and it is written at leisure.
type image struct {
	n      int // chunks of the shard
	chunks []*chunkImage
	rules  []ruleImage
	heard  map[uint64]heard
}

type chunkImage struct {
	there bool
	recs  records
	n     int // of recs
	// first are the first samples, if there are any, at times since base.
	some  bool
	base  int64
	first [chunkSize]float64
	times [chunkSize]uint32
	gaps  []gapSegment
	sides
	homeImage
	odd []oddImage
}

type oddImage struct {
	id uint32
	t  int64
}

// ruleImage are a rule's windows: of each the columns for itself, and the rates chunk
// by chunk.
type ruleImage struct {
	rs      *ruleState
	windows []window
}

// copy takes all that a shard has when it begins.
func (m *image) copy(s *shard) {
	m.begin(s)
	m.finish(s)
}

// begin takes what is not of chunks, and what is of them from then on: finish ends it.
func (m *image) begin(s *shard) {
	m.prepare(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.chores) > 0 { // so that what was begun before is in it
		s.mu.Unlock()
		s.finish()
		s.mu.Lock()
	}
	m.n = len(*s.chunks.Load())
	m.reserve(m.n)
	for _, x := range m.chunks[:m.n] {
		x.begin()
	}
	m.rules, m.heard = m.rules[:0], map[uint64]heard{}
	for _, rw := range s.rules {
		if rw == nil {
			continue
		}
		x := ruleImage{rs: rw.rs}
		for _, end := range slices.Sorted(maps.Keys(rw.open)) {
			w := rw.open[end]
			own := *w
			own.cols, own.rates = slices.Clone(w.cols), slices.Clone(w.rates)
			own.fold()
			own.freeze(true)
			x.windows = append(x.windows, own)
		}
		m.rules = append(m.rules, x)
	}
	for home, h := range s.away.heard {
		m.heard[home] = *h
	}
	s.beginChore(func(_ *chore, n int, c *chunk) { m.take(s, n, c) })
	s.imaging = m
}

func (m *image) finish(s *shard) {
	s.finish()
	for n := range m.n {
		s.mu.Lock()
		m.takeHomes(s, n)
		s.mu.Unlock()
		m.chunks[n].sort()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.imaging = nil
}

// end gives the columns back that nobody has replaced meanwhile.
func (m *image) end(s *shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range m.rules {
		for i := range x.windows {
			x.windows[i].freeze(false)
		}
	}
	clear(m.rules)
}

func (w *window) fold() {
	for _, c := range w.cols {
		if c != nil && !c.frozen {
			c.fold()
		}
	}
}

func (w *window) freeze(on bool) {
	for _, c := range w.cols {
		if c != nil {
			c.frozen = on
		}
	}
}

// prepare gets memory for what a shard has, each page of which was touched: who copies
// into it need not wait for the kernel.
func (m *image) prepare(s *shard) {
	n := len(*s.chunks.Load())
	m.reserve(n)
	for k, x := range m.chunks[:n] {
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
		x.reserve(&has.sides)
		x.gaps = slices.Grow(x.gaps[:0], gaps+gaps/4)
		clear(x.gaps[:cap(x.gaps)])
	}
}

func (m *image) reserve(n int) {
	for len(m.chunks) < n {
		c := &chunkImage{}
		for i := 0; i < chunkSize; i += 64 {
			c.recs.idents[i].print, c.recs.readings[i].t, c.first[i], c.times[i], c.ids[i] = 1, 1, 1, 1, 1
		}
		m.chunks = append(m.chunks, c)
	}
}

// take copies a chunk; the caller holds the shard's lock.
func (m *image) take(s *shard, n int, c *chunk) {
	x := m.chunks[n]
	if x.there = c != nil; !x.there {
		return
	}
	x.n = copy(x.recs.idents[:], c.recs.idents[:c.bump])
	copy(x.recs.readings[:], c.recs.readings[:c.bump])
	x.some, x.gaps, x.odd = c.first != nil, x.gaps[:0], x.odd[:0]
	if x.some {
		x.base, x.first = c.first.base, *c.first.v
		for i := range x.n {
			x.times[i] = c.first.time(uint32(i))
		}
	}
	if c.gaps != nil {
		x.gaps = append(x.gaps, c.gaps.all...)
	}
	x.take(&c.sides)
	if x.named = c.ids != nil; x.named {
		x.ids = *c.ids
	}
	for i := 0; len(s.odd) > 0 && i < x.n; i++ {
		id := uint32(n*chunkSize + i)
		if t, ok := s.odd[id]; ok {
			x.odd = append(x.odd, oddImage{id, t})
		}
	}
	for _, r := range m.rules {
		for i := range r.windows {
			if rates := r.windows[i].rates; n < len(rates) && rates[n] != nil {
				own := *rates[n]
				rates[n] = &own
			}
		}
	}
}

// each visits the chunks that there were.
func (m *image) each(f func(n int, c *chunkImage)) {
	for n, c := range m.chunks[:m.n] {
		if c.there {
			f(n, c)
		}
	}
}

// append writes all of a shard.
func (m *image) append(b []byte, s *shard) []byte {
	// Nothing is forgotten meanwhile: of all series above their places are there.
	b = s.appendPlaces(m.appendRecords(b))
	return m.appendRest(b)
}

func (m *image) appendRest(b []byte) []byte {
	return m.appendHomes(m.appendWindows(m.appendOdd(m.appendSides(m.appendGaps(b)))))
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
			r := c.recs.at(uint32(i))
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

func (m *image) appendOdd(b []byte) []byte {
	n := 0
	m.each(func(_ int, c *chunkImage) { n += len(c.odd) })
	b = binary.AppendUvarint(b, uint64(n))
	m.each(func(_ int, c *chunkImage) {
		for _, x := range c.odd {
			b = binary.AppendVarint(binary.LittleEndian.AppendUint32(b, x.id), x.t)
		}
	})
	return b
}

func (m *image) appendWindows(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(m.rules)))
	for _, x := range m.rules {
		b = binary.AppendUvarint(b, uint64(x.rs.slot))
		b = binary.AppendUvarint(b, uint64(len(x.windows)))
		for i := range x.windows {
			w := &x.windows[i]
			b = append(binary.AppendVarint(b, w.end), flagByte(w.late))
			b = binary.AppendVarint(binary.AppendVarint(b, w.begun), w.touched)
			b = appendRates(appendColumns(b, x.rs, w.end, w.cols), w.rates)
		}
	}
	return b
}
