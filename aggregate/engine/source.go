package engine

import (
	"math"
	"math/bits"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/zeebo/xxh3"
)

// sources are what delivers series: a scrape target, or the sender where series
// do not say their target. One of a single series costs an entry in the index
// only (its record says the rest); the second series makes it a full source.
type sources struct {
	mu    guard
	index index
	all   sourceTable
}

// source: a full one. Number 0 is not used.
type source struct {
	firstT int64  // oldest sample (event time)
	maxT   int64  // newest
	at     int64  // arrival of the last of the samples in round
	rules  uint64 // bit slot%64 of every rule that takes one of its series
	series int32  // in use
	live   int32  // of them not ended by stale markers
	round  int32  // samples since maxT moved on by a step
	step   uint8
}

// soloBit in a record's source: it is the only series of its source. In the
// index: the value is the record's dense index (above soloMax never solo).
const (
	soloBit = 1 << 31
	soloMax = 1<<31 - 1
)

func (s *sources) reset() {
	s.index = newIndex(8)
	s.all = newSourceTable()
}

// sourceKey names the source of a series. Where a source label is missing, the
// target is not told apart by labels and the sender is part of the name.
func sourceKey(ls labels.Labels, names []string, sender uint64, buf []byte) fingerprint {
	whole := len(names) > 0
	for _, name := range names {
		v := ls.Get(name)
		whole = whole && v != ""
		buf = append(append(append(buf, name...), 0), v...)
		buf = append(buf, 0)
	}
	if whole {
		sender = 0
	}
	return xxh3.Hash128Seed(buf, sender)
}

// join makes the series at dense (its record r is in no source yet) one of the
// source key. The caller holds e.learning and no shard.
func (e *Engine) join(key fingerprint, dense uint32, mask uint64) {
	s := &e.src
	s.mu.Lock()
	val, ok := s.index.find(key, 0)
	s.mu.Unlock()
	switch {
	case !ok && dense < soloMax:
		s.put(key, soloBit|dense)
		e.setSource(dense, soloBit)
		return
	case !ok:
		val = s.create(key, source{firstT: math.MaxInt64, maxT: never})
	case val&soloBit != 0:
		val = e.promote(key, val&^soloBit)
	}
	s.mu.Lock()
	src := s.all.at(val)
	src.series++
	src.live++
	src.rules |= mask
	s.mu.Unlock()
	e.setSource(dense, val)
}

func (s *sources) put(key fingerprint, val uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.put(key, 0, val)
}

func (s *sources) create(key fingerprint, src source) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.all.add(src)
	s.index.put(key, 0, n)
	return n
}

// promote makes a full source of the series at dense.
func (e *Engine) promote(key fingerprint, dense uint32) uint32 {
	sh, id := e.locate(dense)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	src := source{firstT: math.MaxInt64, maxT: never}
	r := sh.at(id)
	alive := !r.none() && r.is(flagHead) && r.source() == soloBit
	if alive {
		src.series = 1
		if r.t != never {
			src.firstT, src.maxT, src.step = sh.firstTime(id, r), r.t, r.step()
		}
		if !r.is(flagStale) {
			src.live = 1
		}
		for q := r; ; q = sh.at(q.next - 1) {
			src.rules |= 1 << (q.slot() % 64)
			if q.next == 0 {
				break
			}
		}
	}
	n := e.src.create(key, src)
	if alive {
		sh.ready(id)
		sh.chainSource(r, n)
	}
	return n
}

// firstTime is when a record began, as far back as it is remembered: beyond that
// it is older than anything.
func (s *shard) firstTime(id uint32, r record) int64 {
	c, i := s.chunkOf(id)
	if t, _, _, ok := c.getFirst(i); ok {
		return t
	}
	if r.step() == 0 {
		return r.t
	}
	return never
}

func (e *Engine) setSource(dense, src uint32) {
	sh, id := e.locate(dense)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if r := sh.at(id); !r.none() {
		sh.ready(id)
		sh.chainSource(r, src)
	}
}

// chainSource tells all records of a series their source.
func (s *shard) chainSource(r record, src uint32) {
	for {
		r.setSource(src)
		if r.next == 0 {
			return
		}
		r = s.at(r.next - 1)
	}
}

// leave is called when a series of a full source is forgotten.
func (s *sources) leave(n uint32, live bool) {
	if n == 0 || n&soloBit != 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.all.at(n); src != nil {
		src.series--
		if live {
			src.live--
		}
	}
}

func (s *sources) alive(n uint32, delta int32) {
	if n == 0 || n&soloBit != 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.all.at(n); src != nil {
		src.live += delta
	}
}

// since is how long the source of a record has been delivering.
func (s *sources) since(n uint32) int64 {
	if n == 0 || n&soloBit != 0 {
		return math.MaxInt64
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.all.at(n); src != nil {
		return src.firstT
	}
	return math.MaxInt64
}

// advance notes what a shard took of a batch. It runs when all shards have taken
// their parts, so that no source is ahead of its own samples.
func (s *sources) advance(items []item, now int64) {
	for i := range items {
		it := &items[i]
		if it.source == 0 || it.source&soloBit != 0 || it.flags&itemTaken == 0 {
			continue
		}
		if src := s.all.at(it.source); src != nil { // its last series may have gone
			src.advance(it.t, now)
		}
	}
}

// note is advance for a sample that was kept.
func (s *sources) note(n uint32, t, now int64) {
	if n == 0 || n&soloBit != 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.all.at(n); src != nil {
		src.advance(t, now)
	}
}

func (s *source) advance(t, now int64) {
	s.firstT = min(s.firstT, t)
	if t <= s.maxT {
		if s.maxT-t <= stepMillis(s.step)/2 {
			s.round, s.at = s.round+1, now
		}
		return
	}
	s.at = now
	if s.maxT == never {
		s.maxT, s.round = t, 1
		return
	}
	step := t - s.maxT
	if half := stepMillis(s.step) / 2; s.step != 0 && step <= half {
		s.maxT = t // series of one scrape need not have one time
		s.round++
		return
	}
	s.round, s.maxT = 1, t
	switch have := stepMillis(s.step); {
	case s.step == 0, step < have*3/4:
		s.step = stepCode(step)
	case step > have*5/4 && s.step < 255:
		s.step++
	}
}

// linger is how long, since its last sample came, a source that has not delivered all
// of its series again is still waited for: a scrape can come in several requests.
const linger = 3000

// passed is the last instant that a source has nothing more to say about.
func (s *source) passed(now int64) int64 {
	switch {
	case s.round < s.live && now-s.at < linger:
		return s.maxT - 1
	case s.step == 0:
		return s.maxT
	}
	return s.maxT + stepMillis(s.step) - 1
}

// marksStep is how many sources are looked at while batches wait.
const marksStep = 4096

// watermarks computes for each rule up to where all sources that hold it have
// passed; MaxInt64 where none holds. lag is by slot, in milliseconds.
func (e *Engine) watermarks(rs *ruleSet, now int64) []int64 {
	marks := make([]int64, len(rs.slots))
	for i := range marks {
		marks[i] = math.MaxInt64
	}
	var masks [64][]*ruleState
	for _, r := range rs.active {
		masks[r.slot%64] = append(masks[r.slot%64], r)
	}
	for from, end := uint32(1), uint32(2); from < end; from += marksStep {
		e.src.mu.Lock()
		end = e.src.all.end()
		for n := from; n < min(end, from+marksStep); n++ {
			if src := e.src.all.at(n); src != nil {
				src.mark(&masks, now, marks)
			}
		}
		e.src.mu.Unlock()
	}
	for _, sh := range e.shards {
		sh.soloMarks(rs, now, marks)
	}
	e.holdAway(rs, now, marks)
	return marks
}

func (s *source) mark(masks *[64][]*ruleState, now int64, marks []int64) {
	if s.series == 0 || s.live <= 0 || s.maxT == never {
		return
	}
	mark := s.passed(now)
	for rest := s.rules; rest != 0; rest &= rest - 1 {
		for _, r := range masks[bits.TrailingZeros64(rest)] {
			if mark >= now-r.maxLag {
				marks[r.slot] = min(marks[r.slot], mark)
			}
		}
	}
}

func (s *shard) soloMarks(rs *ruleSet, now int64, marks []int64) {
	for n := range *s.chunks.Load() {
		s.mu.Lock()
		if chunks := *s.chunks.Load(); n < len(chunks) && chunks[n] != nil {
			for i := range chunks[n].bump {
				s.soloMark(chunks[n].recs.at(i), rs, now, marks)
			}
		}
		s.mu.Unlock()
	}
}

func (s *shard) soloMark(r record, rs *ruleSet, now int64, marks []int64) {
	if r.source() != soloBit || r.meta&(flagHead|flagStale) != flagHead || r.t == never {
		return
	}
	mark := r.t
	if r.step() != 0 {
		mark += stepMillis(r.step()) - 1
	}
	for q := r; !q.none(); {
		if q.slot() != 0 {
			if st := rs.slots[q.slot()]; st != nil && mark >= now-st.maxLag {
				marks[q.slot()] = min(marks[q.slot()], mark)
			}
		}
		if q.next == 0 {
			return
		}
		q = s.at(q.next - 1)
	}
}
