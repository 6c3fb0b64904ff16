package engine

// A segment of the gap table is a step between two samples of a record that was
// longer than usual, so that samples may still come to lie inside.
type gapSegment struct {
	from, to   int64
	fromV, toV float64
	id, next   uint32 // next: index plus 1
	kind       gapKind
}

type gapKind uint8

const (
	// gapPair lies between two samples.
	gapPair gapKind = iota + 1
	// gapBegin lies before the first sample, which counted nothing.
	gapBegin
	// gapBorn lies before the first sample, which counted in full.
	gapBorn
	// gapCreated lies between the creation of a counter (0 at from) and its first sample.
	gapCreated
	// gapReset lies between the creation and a sample of a series known before.
	gapReset
	// gapOpen lies between the last sample before a reset and the reset: it counts nothing.
	gapOpen
)

// gaps are those of one chunk of records; nil has none.
type gaps struct {
	heads map[uint32]uint32
	all   []gapSegment
	free  uint32
	live  int
}

func (s *shard) gapsOf(id uint32) *gaps {
	c, _ := s.chunkOf(id)
	return c.gaps
}

func (s *shard) makeGaps(id uint32) *gaps {
	c, _ := s.chunkOf(id)
	if c.gaps == nil {
		c.gaps = &gaps{heads: map[uint32]uint32{}}
	}
	return c.gaps
}

func (s *shard) gapCount() (n int) {
	for _, c := range *s.chunks.Load() {
		if c != nil && c.gaps != nil {
			n += c.gaps.live
		}
	}
	return n
}

func (g *gaps) add(seg gapSegment) {
	seg.next = g.heads[seg.id]
	i := g.free
	if i != 0 {
		g.free = g.all[i-1].next
		g.all[i-1] = seg
	} else {
		g.all = append(g.all, seg)
		i = uint32(len(g.all))
	}
	g.heads[seg.id] = i
	g.live++
}

// take removes and returns the segment of a record that holds t strictly inside.
func (g *gaps) take(id uint32, t int64) (gapSegment, bool) {
	if g == nil {
		return gapSegment{}, false
	}
	before := uint32(0)
	for i := g.heads[id]; i != 0; i = g.all[i-1].next {
		seg := g.all[i-1]
		if seg.from < t && t < seg.to {
			g.unlink(id, before, i)
			return seg, true
		}
		before = i
	}
	return gapSegment{}, false
}

func (g *gaps) unlink(id, before, i uint32) {
	next := g.all[i-1].next
	switch {
	case before != 0:
		g.all[before-1].next = next
	case next != 0:
		g.heads[id] = next
	default:
		delete(g.heads, id)
	}
	g.all[i-1] = gapSegment{next: g.free}
	g.free = i
	g.live--
}

// created tells whether the record's beginning is known by its creation time.
func (g *gaps) created(id uint32) bool {
	if g == nil {
		return false
	}
	for i := g.heads[id]; i != 0; i = g.all[i-1].next {
		if g.all[i-1].kind == gapCreated {
			return true
		}
	}
	return false
}

func (g *gaps) drop(id uint32) {
	for g != nil && g.heads[id] != 0 {
		g.unlink(id, 0, g.heads[id])
	}
}

// expire drops what ended before the horizon of its record's rule, and gives
// memory back when little is left. lost is told of records without segments.
func (g *gaps) expire(horizon func(id uint32) int64, lost func(id uint32)) {
	for id, head := range g.heads {
		limit := horizon(id)
		for before, i := uint32(0), head; i != 0; {
			next := g.all[i-1].next
			if g.all[i-1].to < limit {
				g.unlink(id, before, i)
			} else {
				before = i
			}
			i = next
		}
		if g.heads[id] == 0 {
			lost(id)
		}
	}
	if len(g.all) > 64 && g.live*4 < len(g.all) {
		g.compact()
	}
}

func (g *gaps) compact() {
	old := *g
	*g = gaps{heads: make(map[uint32]uint32, len(old.heads)), all: make([]gapSegment, 0, old.live)}
	for id, head := range old.heads {
		for i := head; i != 0; i = old.all[i-1].next {
			seg := old.all[i-1]
			seg.id = id
			g.add(seg)
		}
	}
}

// usual is a shard's idea of how long steps between samples usually are, so that
// a new series whose first step is like that needs no segment: the shortest step
// that enough series have.
type usual struct {
	seen  [64]uint32 // by step code / 4
	total uint32
	limit int64 // longest first step taken for usual, ms; 0: no idea yet
}

const usualEnough = 256

func (u *usual) note(code uint8) {
	u.seen[code/4]++
	if u.total++; u.total >= 1<<20 {
		u.total = 0
		for i := range u.seen {
			u.seen[i] /= 2
			u.total += u.seen[i]
		}
	}
	if u.total%16 != 0 {
		return
	}
	for i, n := range u.seen {
		if n >= usualEnough && n >= u.total/16 {
			u.limit = stepMillis(uint8(i*4+3)) * 3 / 2
			return
		}
	}
}
