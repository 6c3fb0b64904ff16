package engine

import "slices"

// sweeper walks through the state a little at a time: the index of every shard,
// then that of the sources; what was forgotten in one round may be used again
// after it, when nothing points at it any more.
type sweeper struct {
	stage       sweepStage
	shard, part int
	bucket      int   // of the part, where it goes on
	begun       int64 // of this round
	done        int64 // of the last round
}

type sweepStage uint8

const (
	sweepSeries sweepStage = iota
	sweepSources
	sweepLimbo
)

// sweepEvery is the shortest time between the beginnings of two rounds.
const sweepEvery = 60 * 1000

// sweepStep is how many parts of the index are looked at in one Advance.
const sweepStep = 64

// tidy forgets series, groups and gaps whose time has come. New series are learnt
// between two steps.
func (e *Engine) tidy(set *ruleSet, now int64) {
	w := &e.sweep
	if *w == (sweeper{begun: w.begun, done: w.done}) {
		if w.begun != 0 && now-w.begun < sweepEvery {
			return
		}
		w.begun = now
	}
	for range sweepStep {
		if e.sweepOne(set, now) {
			return
		}
	}
}

// sweepAll is a whole round.
func (e *Engine) sweepAll(set *ruleSet, now int64) {
	for !e.sweepOne(set, now) {
	}
}

// sweepOne reports the end of a round.
func (e *Engine) sweepOne(set *ruleSet, now int64) bool {
	w := &e.sweep
	if w.stage == sweepLimbo {
		e.shards[w.shard].sortLimbo()
	}
	e.learning.Lock()
	defer e.learning.Unlock()
	switch w.stage {
	case sweepSeries:
		var more bool
		if w.bucket, more = e.shards[w.shard].sweepSome(set, w.part, w.bucket, now); w.bucket == 0 {
			w.next(more, len(e.shards))
		}
	case sweepSources:
		w.next(e.sweepSources(w.part), 1)
	case sweepLimbo:
		w.next(e.shards[w.shard].releaseSome(), len(e.shards))
	default:
		for _, rs := range set.active {
			for _, ord := range rs.groups.expire(now - rs.maxAge - rs.maxLag - rs.interval) {
				delete(rs.carry, ord)
			}
		}
		*w = sweeper{begun: w.begun, done: now}
		return true
	}
	return false
}

// next goes on with the next part, shard, or stage.
func (w *sweeper) next(more bool, shards int) {
	if w.part++; more {
		return
	}
	w.part, w.shard = 0, w.shard+1
	if w.shard == shards {
		w.shard, w.stage = 0, w.stage+1
	}
}

// releaseStep is how many records are freed while batches wait.
const releaseStep = 4096

// sortLimbo: those with low numbers are freed last, so that they are taken first, and
// series lie in the order in which they are learnt.
func (s *shard) sortLimbo() {
	if !s.sorted {
		slices.Sort(s.limbo)
		s.sorted = true
	}
}

// releaseSome reports whether more wait for it.
func (s *shard) releaseSome() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := max(0, len(s.limbo)-releaseStep)
	for i := len(s.limbo) - 1; i >= left; i-- {
		s.release(s.limbo[i])
	}
	if s.limbo = s.limbo[:left]; left == 0 {
		s.limbo, s.sorted = nil, false
	}
	return left > 0
}

// sweepSome looks at some of a part of the places, and says where it goes on there; then
// at a chunk of records. It reports whether there is more than this part or chunk.
func (s *shard) sweepSome(set *ruleSet, part, from int, now int64) (next int, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.places.parts); part < n {
		next = s.sweepPart(set, part, from, now)
	} else {
		s.sweepChunk(set, part-n, now)
	}
	return next, part+1 < len(s.places.parts)+len(*s.chunks.Load())
}

func (s *shard) sweepPart(set *ruleSet, part, from int, now int64) (next int) {
	return s.places.prune(part, from, func(val uint32) bool {
		if val&aliasBit == 0 {
			if !s.expired(set, val, now) {
				return true
			}
			s.forget(set, val, now)
			return false
		}
		packed := s.aliases.packed(val &^ aliasBit)
		if ref, _, ok := s.e.alive(Ref(packed & 0xffffffff)); ok && ref.gen() == uint8(packed>>32) {
			return true
		}
		s.aliases.remove(val &^ aliasBit)
		return false
	})
}

// expired: no record of the series has had a sample for long. A series that never
// had one (its batch was rolled back) goes as well.
func (s *shard) expired(set *ruleSet, head uint32, now int64) bool {
	newest, forget := int64(never), int64(0)
	for id := head + 1; id != 0; {
		r := s.at(id - 1)
		newest = max(newest, s.newestTime(r, id-1), s.awayTime(id-1))
		forget = max(forget, s.keepFor(set, r))
		id = r.next
	}
	if newest == never {
		return s.e.sweep.done != 0 && s.at(head).is(flagBorn) || s.markIdle(head)
	}
	return newest < now-forget
}

// markIdle gives a series without samples until the next round.
func (s *shard) markIdle(head uint32) bool {
	s.at(head).set(flagBorn)
	return false
}

func (s *shard) keepFor(set *ruleSet, r record) int64 {
	if slot := r.slot(); slot != 0 && int(slot) < len(set.slots) && set.slots[slot] != nil {
		return set.slots[slot].forget
	}
	return 0
}

// forget takes a series out of use. Its records are free after the round.
func (s *shard) forget(set *ruleSet, head uint32, now int64) {
	r := s.at(head)
	s.e.src.leave(r.source(), !r.is(flagStale))
	s.count.series--
	for id := head + 1; id != 0; {
		r := s.at(id - 1)
		next := r.next
		if slot := r.slot(); slot != 0 && int(slot) < len(set.slots) && set.slots[slot] != nil {
			set.slots[slot].groups.leave(r.ordinal(), now)
		}
		s.kill(id-1, r)
		r.group, r.next = 0, 0
		s.limbo = append(s.limbo, id-1)
		id = next
	}
}

// sweepChunk drops gaps, first samples and what is kept beside of some records that
// is beyond the horizon.
func (s *shard) sweepChunk(set *ruleSet, n int, now int64) {
	chunks := *s.chunks.Load()
	if n >= len(chunks) || chunks[n] == nil {
		return
	}
	c := chunks[n]
	s.sweepGaps(c, now)
	limit := now - set.maxAge
	for i := range c.bump {
		if t, _, _, ok := c.getFirst(i); ok && t < limit {
			c.dropFirst(i)
		}
		id := uint32(n)*chunkSize + i
		if k, ok := s.away.based[id]; ok && k.t < limit {
			delete(s.away.based, id)
		}
		if t, ok := s.odd[id]; ok && t < limit {
			delete(s.odd, id)
		}
		if list := s.asideOf(id); list != nil && list[len(list)-1].t < limit {
			s.setAsides(id, nil)
		}
	}
	c.tidy()
}

func (s *shard) sweepGaps(c *chunk, now int64) {
	if c.gaps == nil {
		return
	}
	horizon := func(id uint32) int64 {
		if r := s.at(id); !r.none() && r.slot() != 0 && s.rules[r.slot()] != nil {
			return now - s.rules[r.slot()].rs.maxAge
		}
		return now
	}
	c.gaps.expire(horizon, func(id uint32) {
		if r := s.at(id); !r.none() {
			r.clear(flagGap)
		}
	})
	if c.gaps.live == 0 {
		c.gaps = nil
	}
}

// sweepSources drops sources whose series are forgotten, of one part of their
// index, and reports whether there are more. The caller holds learning.
func (e *Engine) sweepSources(part int) bool {
	e.src.mu.Lock()
	defer e.src.mu.Unlock()
	e.src.index.prune(part, func(val uint32) bool {
		if val&soloBit != 0 {
			s, id := e.locate(val &^ soloBit)
			r := s.at(id)
			return !r.none() && r.load()&(flagHead|0xffffffff) == flagHead|soloBit
		}
		if e.src.all.at(val).series > 0 {
			return true
		}
		e.src.all.drop(val)
		return false
	})
	return part+1 < len(e.src.index.parts)
}
