package engine

// late takes a sample that is not newer than the record's newest: only where it
// lies strictly inside a remembered gap, else it is one that was taken before or
// comes too late.
func (s *shard) late(rw *ruleWindows, r record, id uint32, it *item, st int64) {
	t, v := it.t, it.v
	if t == r.t {
		s.refuse(it)
		return
	}
	if t < s.now-rw.rs.maxAge {
		s.count.dropped[dropTooOld]++
		return
	}
	if v-v != 0 && rw.rs.needs.Counters() {
		s.count.dropped[dropInf]++
		return
	}
	if r.is(flagGap) {
		if seg, ok := s.gapsOf(id).take(id, t); ok {
			if it.flags&itemForeign != 0 && !seg.welcomes(v) {
				s.makeGaps(id).add(seg)
				s.count.dropped[dropReplica]++
				return
			}
			it.flags |= itemTaken
			s.split(rw, r, id, seg, t, v)
			return
		}
	}
	if it.flags&itemForeign != 0 || !s.before(rw, r, id, it) {
		s.refuse(it)
	}
}

func (s *shard) refuse(it *item) {
	if it.flags&itemForeign != 0 {
		s.count.dropped[dropReplica]++
		return
	}
	s.count.dropped[dropDuplicate]++
}

// takeOver is how long the leading replica must have been silent.
const takeOver = 30 * 1000

// welcomes tells whether a sample of another replica may fill a gap: where the
// leader was away, and only so that no reset appears.
func (g gapSegment) welcomes(v float64) bool {
	return g.kind == gapPair && g.to-g.from > takeOver && g.fromV <= v && v <= g.toV
}

// before takes a sample that is older than the record's first one.
func (s *shard) before(rw *ruleWindows, r record, id uint32, it *item) bool {
	if r.is(flagGap) && s.gapsOf(id).created(id) {
		return false // it is of the counter's former life
	}
	c, i := s.chunkOf(id)
	ft, fv, born, ok := c.getFirst(i)
	if !ok && r.step() == 0 && r.t != never {
		ft, fv, born, ok = r.t, r.v, r.is(flagBorn), true
	}
	if !ok || it.t >= ft {
		return false
	}
	it.flags |= itemTaken
	seg := gapSegment{id: id, from: never, to: ft, toV: fv, kind: gapBegin}
	if born {
		seg.kind = gapBorn
	}
	s.split(rw, r, id, seg, it.t, it.v)
	return true
}

// split puts a sample into a gap: what was counted for the whole is taken back,
// what the halves are worth is added.
func (s *shard) split(rw *ruleWindows, r record, id uint32, seg gapSegment, t int64, v float64) {
	ord, counts := r.ordinal(), rw.rs.needs.Counters()
	if counts {
		s.retract(rw, id, ord, seg)
	}
	left, right := seg, seg
	left.to, left.toV, right.from, right.fromV = t, v, t, v
	switch seg.kind {
	case gapOpen: // the sample is the last before the reset
		left.kind = gapPair
	case gapReset, gapCreated, gapBegin, gapBorn:
		right.kind = gapPair
	}
	before := seg.from
	switch seg.kind {
	case gapBegin, gapBorn:
		left.kind = gapBegin
		if counts && seg.kind == gapBorn && s.isBirth(rw.rs, r, t) {
			left.kind = gapBorn
		}
	case gapReset, gapCreated:
		before = never
	}
	if counts {
		s.contribute(rw, id, ord, left)
		s.contribute(rw, id, ord, right)
	}
	after := seg.to
	if seg.kind == gapOpen {
		after = 1<<63 - 1
	}
	s.observeBetween(rw, ord, t, v, before, after)
	s.keepHalves(r, id, left, right)
}

// keepHalves remembers what may still be filled.
func (s *shard) keepHalves(r record, id uint32, left, right gapSegment) {
	if have := stepMillis(r.step()); right.kind == gapPair && (have == 0 || right.to-right.from < have*3/4) {
		r.setStep(stepCode(right.to - right.from))
	}
	if have := stepMillis(r.step()); left.kind == gapPair && left.to-left.from < have*3/4 {
		r.setStep(stepCode(left.to - left.from))
	}
	limit := s.limit(r)
	switch {
	case left.kind == gapBegin || left.kind == gapBorn:
		s.keepFirst(r, id, left.to, left.toV, left.kind == gapBorn)
	case left.to-left.from > limit:
		s.remember(r, left)
	}
	if right.to-right.from > limit {
		s.remember(r, right)
	}
}

func (s *shard) retract(rw *ruleWindows, id, ord uint32, seg gapSegment) {
	s.worth(rw, id, ord, seg, -1)
}

func (s *shard) contribute(rw *ruleWindows, id, ord uint32, seg gapSegment) {
	s.worth(rw, id, ord, seg, 1)
}

// worth adds what a segment counts for, or takes it back.
func (s *shard) worth(rw *ruleWindows, id, ord uint32, seg gapSegment, sign float64) {
	switch seg.kind {
	case gapPair:
		s.bridge(rw, id, ord, seg.from, seg.fromV, seg.to, seg.toV, sign, false)
	case gapReset:
		s.bridge(rw, id, ord, seg.from, 0, seg.to, seg.toV, sign, false)
	case gapCreated:
		s.bridge(rw, id, ord, seg.from, 0, seg.to, seg.toV, sign, true)
	case gapBorn:
		s.grow(rw, id, ord, seg.to, seg.toV*sign, 0, true)
	}
}
