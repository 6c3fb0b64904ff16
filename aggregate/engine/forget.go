package engine

// sweeper walks through the state a little at a time: the index of every shard,
// then that of the sources; what was forgotten in one round may be used again
// after it, when nothing points at it any more.
type sweeper struct {
	shard, part int
	sources     bool
	begun       int64 // of this round
	done        int64 // of the last round
}

// sweepEvery is the shortest time between the beginnings of two rounds.
const sweepEvery = 60 * 1000

// sweepStep is how many parts of the index are looked at in one Advance.
const sweepStep = 64

// tidy forgets series, groups and gaps whose time has come.
func (e *Engine) tidy(set *ruleSet, now int64) {
	w := &e.sweep
	if w.shard == 0 && w.part == 0 && !w.sources {
		if w.begun != 0 && now-w.begun < sweepEvery {
			return
		}
		w.begun = now
	}
	e.learning.Lock()
	defer e.learning.Unlock()
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
	if !w.sources {
		s := e.shards[w.shard]
		s.mu.Lock()
		s.sweepPart(set, w.part, now)
		if w.part++; w.part == len(s.index.parts) {
			s.sweepGaps(set, now)
			w.part, w.shard = 0, w.shard+1
		}
		s.mu.Unlock()
		if w.shard == len(e.shards) {
			w.shard, w.sources = 0, true
		}
		return false
	}
	if e.sweepSources(w.part); w.part+1 < len(e.src.index.parts) {
		w.part++
		return false
	}
	for _, s := range e.shards {
		for s.releaseSome() {
		}
	}
	for _, rs := range set.active {
		for _, ord := range rs.groups.expire(now - rs.maxAge - rs.maxLag - rs.interval) {
			delete(rs.carry, ord)
		}
	}
	*w = sweeper{begun: w.begun, done: now}
	return true
}

// releaseStep is how many records are freed while batches wait.
const releaseStep = 4096

// releaseSome reports whether more wait for it.
func (s *shard) releaseSome() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.limbo), releaseStep)
	for _, id := range s.limbo[:n] {
		s.release(id)
	}
	if s.limbo = s.limbo[n:]; len(s.limbo) == 0 {
		s.limbo = nil
	}
	return s.limbo != nil
}

func (s *shard) sweepPart(set *ruleSet, part int, now int64) {
	s.index.prune(part, func(val uint32) bool {
		if val&aliasBit == 0 {
			if !s.expired(set, val, now) {
				return true
			}
			s.forget(set, val, now)
			return false
		}
		packed := s.aliases.load(val &^ aliasBit)
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

func (s *shard) keepFor(set *ruleSet, r *record) int64 {
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

// sweepGaps drops gaps and first samples that are beyond the horizon.
func (s *shard) sweepGaps(set *ruleSet, now int64) {
	horizon := func(id uint32) int64 {
		if r := s.at(id); r != nil && r.slot() != 0 && s.rules[r.slot()] != nil {
			return now - s.rules[r.slot()].rs.maxAge
		}
		return now
	}
	s.gaps.expire(horizon, func(id uint32) {
		if r := s.at(id); r != nil {
			r.clear(flagGap)
		}
	})
	limit := now - set.maxAge
	for _, c := range *s.chunks.Load() {
		if c == nil {
			continue
		}
		for i := range uint32(chunkSize) {
			if t, _, _, ok := c.getFirst(i); ok && t < limit {
				c.dropFirst(i)
			}
		}
	}
	for id, k := range s.away.based {
		if k.t < limit {
			delete(s.away.based, id)
		}
	}
	for id, t := range s.odd {
		if t < limit {
			delete(s.odd, id)
		}
	}
	for id, list := range s.aside {
		if list[len(list)-1].t < limit {
			delete(s.aside, id)
		}
	}
}

// sweepSources drops sources whose series are forgotten, of one part of their
// index. The caller holds learning.
func (e *Engine) sweepSources(part int) {
	e.src.mu.Lock()
	defer e.src.mu.Unlock()
	e.src.index.prune(part, func(val uint32) bool {
		if val&soloBit != 0 {
			s, id := e.locate(val &^ soloBit)
			r := s.at(id)
			return r != nil && r.load()&(flagHead|0xffffffff) == flagHead|soloBit
		}
		if e.src.all.at(val).series > 0 {
			return true
		}
		e.src.all.drop(val)
		return false
	})
}
