package engine

// dedup holds the last sample of each span back until the next span begins.
func (s *shard) dedup(rw *ruleWindows, r record, id uint32, it *item, st int64) {
	h := s.heldOf(id)
	span := func(t int64) int64 { return (t + rw.rs.dedup - 1) / rw.rs.dedup }
	mine := kept{t: it.t, st: st, v: it.v, rep: it.rep}
	switch {
	case it.flags&itemForeign != 0:
		s.sample(rw, r, id, it, st)
	case it.t > s.now+aheadLimit:
		s.count.dropped[dropAhead]++
	case h == nil && it.t > r.t:
		if r.t != never && span(it.t) == span(r.t) {
			s.count.dropped[dropDuplicate]++ // the span was let go when its window sealed
			return
		}
		s.hold(id, mine)
		it.flags |= itemTaken
	case h == nil || span(it.t) < span(h.t):
		s.sample(rw, r, id, it, st)
	case span(it.t) == span(h.t):
		s.count.dropped[dropDedup]++
		if it.t > h.t || it.t == h.t && it.v > h.v {
			s.hold(id, mine)
			it.flags |= itemTaken
		}
	default:
		s.letGo(rw, r, id, h.kept())
		s.hold(id, mine)
		it.flags |= itemTaken
	}
}

func (s *shard) letGo(rw *ruleWindows, r record, id uint32, h kept) {
	it := item{v: h.v, t: h.t, id: id, rep: h.rep}
	s.sample(rw, r, id, &it, h.st)
}

// letGo takes the samples that deduplication holds back for windows to be sealed.
// They go as of one instant between two batches, which the journal has: letting them
// go one by one is done at leisure, and a series that is touched meanwhile goes first.
func (e *Engine) letGo(decisions []decision, now int64, journal bool) {
	var due []decision
	for _, d := range decisions {
		if d.rs.dedup != 0 && d.sealed > d.rs.sealed.Load() {
			due = append(due, decision{rs: d.rs, sealed: d.sealed})
		}
	}
	if len(due) > 0 {
		e.beginLetting(due, now, journal)
		e.finishLetting()
	}
}

func (e *Engine) beginLetting(due []decision, now int64, journal bool) {
	var failed error
	e.cut.Lock()
	if journal && e.journal != nil {
		e.frame = appendSeal(e.frame[:0], frameLetGo, due, now)
		failed = e.journal.Append(e.frame)
	}
	for _, s := range e.shards {
		s.beginLetting(due, now)
	}
	e.cut.Unlock()
	e.fail(failed)
}

func (e *Engine) finishLetting() {
	for _, s := range e.shards {
		for from := uint32(0); s.letSomeGo(from); from += chunkSize {
		}
	}
}

func (s *shard) beginLetting(due []decision, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = max(s.now, now)
	s.lettings++
	s.letting = make([]int64, len(s.rules))
	for i := range s.letting {
		s.letting[i] = never
	}
	for _, d := range due {
		s.letting[d.rs.slot] = d.sealed
	}
}

// letSomeGo goes through one chunk of records, in their order, and reports whether
// there are more.
func (s *shard) letSomeGo(from uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	chunks, n := *s.chunks.Load(), int(from/chunkSize)
	if n >= len(chunks) || s.holding == 0 {
		s.letting = nil
		return false
	}
	if chunks[n] != nil {
		for i := range chunks[n].bump {
			s.letOneGo(from+i, chunks[n].recs.at(i))
		}
	}
	return true
}

// letOneGo takes what a record holds, if it is among what is let go.
func (s *shard) letOneGo(id uint32, r record) {
	slot := r.slot()
	if slot == 0 || int(slot) >= len(s.letting) || s.letting[slot] == never {
		return
	}
	h := s.heldOf(id)
	if h == nil || h.t > s.letting[slot] || h.since == s.lettings {
		return
	}
	k := h.kept()
	s.unhold(id)
	s.letGo(s.rules[slot], r, id, k)
}

// letSeriesGo is letOneGo for all records of a series, before anything else happens to it.
func (s *shard) letSeriesGo(head uint32) {
	for id := head; s.letting != nil; {
		r := s.at(id)
		s.letOneGo(id, r)
		if r.next == 0 {
			return
		}
		id = r.next - 1
	}
}
