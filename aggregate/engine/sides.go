package engine

import (
	"encoding/binary"
	"math/bits"

	"github.com/prometheus/prometheus/model/histogram"
)

// sides are what some records of a chunk have beside themselves.
type sides struct {
	// holds are samples that deduplication holds back.
	holds *side[held]
	// asides are samples of replicas that do not lead, kept for a take-over. What a list
	// has is never changed, so that a copy of the list is a copy of the samples.
	asides *side[[]kept]
	// hists are the last native histograms, which are never changed.
	hists *side[*histogram.FloatHistogram]
}

// side has something of some records of a chunk, each at its place, so that all of it
// is copied in a moment. nil has nothing.
type side[T any] struct {
	at   [chunkSize]T
	used [chunkSize / 64]uint64
	n    int
}

// held is the last sample of a record's deduplication span.
type held struct {
	t, st int64
	v     float64
	since uint32 // shard.lettings when it came
	rep   uint8
}

func (h *held) kept() kept { return kept{t: h.t, st: h.st, v: h.v, rep: h.rep} }

// get returns nil for none. What it points to is gone after drop.
func (x *side[T]) get(i uint32) *T {
	if x == nil || x.used[i/64]&(1<<(i%64)) == 0 {
		return nil
	}
	return &x.at[i]
}

// put reports whether there was none.
func (x *side[T]) put(i uint32, v T) (fresh bool) {
	x.at[i] = v
	if x.used[i/64]&(1<<(i%64)) != 0 {
		return false
	}
	x.used[i/64] |= 1 << (i % 64)
	x.n++
	return true
}

// drop reports whether there was one.
func (x *side[T]) drop(i uint32) bool {
	if x.get(i) == nil {
		return false
	}
	var none T
	x.at[i] = none
	x.used[i/64] &^= 1 << (i % 64)
	x.n--
	return true
}

func (x *side[T]) each(f func(i uint32, v *T)) {
	if x == nil {
		return
	}
	for w, set := range x.used {
		for ; set != 0; set &= set - 1 {
			i := uint32(w*64 + bits.TrailingZeros64(set))
			f(i, &x.at[i])
		}
	}
}

// heldOf is nil where nothing is held.
func (s *shard) heldOf(id uint32) *held {
	if s.holding == 0 {
		return nil
	}
	c, i := s.chunkOf(id)
	return c.holds.get(i)
}

func (s *shard) hold(id uint32, k kept) {
	c, i := s.chunkOf(id)
	if c.holds == nil {
		c.holds = &side[held]{}
	}
	if c.holds.put(i, held{t: k.t, st: k.st, v: k.v, rep: k.rep, since: s.lettings}) {
		s.holding++
	}
}

func (s *shard) unhold(id uint32) {
	if c, i := s.chunkOf(id); c.holds.drop(i) {
		s.holding--
	}
}

func (s *shard) asideOf(id uint32) []kept {
	if s.asides == 0 {
		return nil
	}
	c, i := s.chunkOf(id)
	if list := c.asides.get(i); list != nil {
		return *list
	}
	return nil
}

// setAsides takes an empty list for none.
func (s *shard) setAsides(id uint32, list []kept) {
	c, i := s.chunkOf(id)
	if len(list) == 0 {
		if c.asides.drop(i) {
			s.asides--
		}
		return
	}
	if c.asides == nil {
		c.asides = &side[[]kept]{}
	}
	if c.asides.put(i, list) {
		s.asides++
	}
}

// histOf is nil for none.
func (s *shard) histOf(id uint32) *histogram.FloatHistogram {
	c, i := s.chunkOf(id)
	if h := c.hists.get(i); h != nil {
		return *h
	}
	return nil
}

func (s *shard) setHist(id uint32, h *histogram.FloatHistogram) {
	c, i := s.chunkOf(id)
	if c.hists == nil {
		c.hists = &side[*histogram.FloatHistogram]{}
	}
	c.hists.put(i, h)
}

func (s *shard) dropHist(id uint32) {
	c, i := s.chunkOf(id)
	c.hists.drop(i)
}

// dropSides forgets what a record has beside itself but for what was set aside, which
// is the series'.
func (s *shard) dropSides(id uint32) {
	s.unhold(id)
	s.dropHist(id)
	delete(s.odd, id)
}

// tidy gives the memory back that no record of the chunk uses any more.
func (x *sides) tidy() {
	tidySide(&x.holds)
	tidySide(&x.asides)
	tidySide(&x.hists)
}

func tidySide[T any](x **side[T]) {
	if *x != nil && (*x).n == 0 {
		*x = nil
	}
}

// reserve makes place for what like has.
func (x *sides) reserve(like *sides) {
	reserveSide(&x.holds, like.holds)
	reserveSide(&x.asides, like.asides)
	reserveSide(&x.hists, like.hists)
}

func reserveSide[T any](x **side[T], like *side[T]) {
	if *x == nil && like != nil {
		*x = &side[T]{}
		clear((*x).at[:]) // so that the kernel has the pages ready
	}
}

// take copies; the place for it should be reserved.
func (x *sides) take(from *sides) {
	takeSide(&x.holds, from.holds)
	takeSide(&x.asides, from.asides)
	takeSide(&x.hists, from.hists)
}

func takeSide[T any](x **side[T], from *side[T]) {
	reserveSide(x, from)
	switch {
	case from != nil:
		**x = *from
	case *x != nil:
		(*x).n, (*x).used = 0, [chunkSize / 64]uint64{}
	}
}

// appendSides writes what is aside, held, and histograms: how many, then of each the
// record and what it has.
func (m *image) appendSides(b []byte) []byte {
	b = appendSide(b, m, func(x *sides) *side[[]kept] { return x.asides }, func(b []byte, list *[]kept) []byte {
		b = binary.AppendUvarint(b, uint64(len(*list)))
		for _, k := range *list {
			b = appendKept(b, k)
		}
		return b
	})
	b = appendSide(b, m, func(x *sides) *side[held] { return x.holds }, func(b []byte, h *held) []byte { return appendKept(b, h.kept()) })
	return appendSide(b, m, func(x *sides) *side[*histogram.FloatHistogram] { return x.hists }, func(b []byte, h **histogram.FloatHistogram) []byte {
		return appendHistogram(b, *h)
	})
}

func appendSide[T any](b []byte, m *image, of func(*sides) *side[T], write func([]byte, *T) []byte) []byte {
	n := 0
	each := func(f func(id uint32, v *T)) {
		m.each(func(k int, c *chunkImage) {
			of(&c.sides).each(func(i uint32, v *T) { f(uint32(k)*chunkSize+i, v) })
		})
	}
	each(func(uint32, *T) { n++ })
	b = binary.AppendUvarint(b, uint64(n))
	each(func(id uint32, v *T) { b = write(binary.LittleEndian.AppendUint32(b, id), v) })
	return b
}
