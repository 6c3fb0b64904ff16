package engine

import (
	"math"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// item is one sample on its way into a shard.
type item struct {
	v      float64
	t      int64
	id     uint32
	ext    uint32 // index plus 1 of what few samples have
	source uint32 // set when applied
	gen    uint8
	rep    uint8
	flags  uint8
}

const (
	itemTaken   = 1 << iota // in order, or filled a gap
	itemForeign             // of a replica that does not lead, older than the newest
)

// extra is what few samples have.
type extra struct {
	st   int64
	hist *histogram.FloatHistogram
	// labels of a series that the journal does not know: a part of Batch.defs.
	from, to int
}

// kept is a sample that may be taken later. Of a native histogram v is NaN: only that
// it came is known.
type kept struct {
	t, st int64
	v     float64
	rep   uint8
}

// apply takes a shard's part of a batch that has a lane. The caller holds the lock.
func (s *shard) apply(items []item, exts []extra, now int64, lane uint8) {
	s.now = max(s.now, now)
	chunks := *s.chunks.Load()
	road := road{odd: lane&1 != 0}
	unready := s.letting != nil || len(s.chores) > 0 || s.imaging != nil
	for i := range items {
		it := &items[i]
		n := it.id / chunkSize
		if int(n) >= len(chunks) || chunks[n] == nil {
			s.count.dropped[dropForgotten]++
			continue
		}
		r := chunks[n].recs.at(it.id % chunkSize)
		if r.meta&flagHead == 0 || r.gen() != it.gen {
			s.count.dropped[dropForgotten]++
			continue
		}
		s.count.samples++
		if unready {
			s.ready(it.id)
		}
		if it.ext == 0 && road.take(s, r, it) {
			continue
		}
		st, hist := int64(0), (*histogram.FloatHistogram)(nil)
		if it.ext != 0 {
			st, hist = exts[it.ext-1].st, exts[it.ext-1].hist
		}
		if it.v != it.v && s.special(r, it, hist) {
			continue
		}
		if r.leader() != it.rep {
			if !s.lead(r, it, st) {
				continue
			}
		} else if s.asides != 0 {
			s.heard(it.id, it.t)
		}
		if r.is(flagStale) && it.t > r.t {
			r.clear(flagStale)
			s.e.src.alive(r.source(), 1)
		}
		s.series(r, it, st, hist)
		it.source = r.source()
	}
}

// special deals with stale markers and NaN; it reports that there is no value.
func (s *shard) special(r record, it *item, hist *histogram.FloatHistogram) bool {
	if hist != nil && !value.IsStaleNaN(it.v) {
		return false // a histogram's v is NaN
	}
	if !value.IsStaleNaN(it.v) {
		s.count.dropped[dropNaN]++
		return true
	}
	if s.endAway(r, it) || r.is(flagStale) || it.t <= r.t || r.t == never || r.leader() != it.rep {
		return true
	}
	r.set(flagStale)
	s.e.src.alive(r.source(), -1)
	return true
}

// series shows a sample to all records of its series, but for those that another
// island has.
func (s *shard) series(head record, it *item, st int64, hist *histogram.FloatHistogram) {
	if len(s.away.mixed) != 0 {
		if a := s.away.mixed[it.id]; a != nil {
			s.keep(it.id, a, it, st)
			s.show(head, it, st, hist, onlyLocal)
			return
		}
	}
	s.show(head, it, st, hist, allRules)
}

// which records of a series a sample is shown to.
type which uint8

const (
	allRules which = iota
	onlyLocal
	onlyDistributed
)

func (s *shard) show(head record, it *item, st int64, hist *histogram.FloatHistogram, to which) {
	r, id := head, it.id
	for {
		if slot := r.slot(); slot != 0 && s.rules[slot] != nil {
			switch rw := s.rules[slot]; {
			case to != allRules && rw.rs.distribute != (to == onlyDistributed): // the others
			case hist != nil:
				s.histogram(rw, r, id, it, st, hist)
			case rw.rs.dedup != 0:
				s.dedup(rw, r, id, it, st)
			default:
				s.sample(rw, r, id, it, st)
			}
		}
		if r.next == 0 {
			return
		}
		id = r.next - 1
		r = s.at(id)
	}
}

// sample is the heart: one value of one record.
func (s *shard) sample(rw *ruleWindows, r record, id uint32, it *item, st int64) {
	t, v := it.t, it.v
	switch {
	case t <= r.t:
		s.late(rw, r, id, it, st)
		return
	case it.flags&itemForeign != 0:
		s.refuse(it)
		return
	case t < s.now-rw.rs.maxAge:
		s.count.dropped[dropTooOld]++
		return
	case t > s.now+aheadLimit:
		s.count.dropped[dropAhead]++
		return
	}
	rs, ord := rw.rs, r.ordinal()
	counts := rs.needs.Counters()
	if v-v != 0 && counts { // an infinity
		s.infinite(rw, r, id, it)
		return
	}
	it.flags |= itemTaken
	if r.t == never {
		s.begin(rw, r, id, t, v, st)
		return
	}
	created := st > r.t && st <= t
	if created {
		s.reborn(rw, r, id, t, v, st)
	} else {
		if counts {
			s.bridge(rw, id, ord, r.t, r.v, t, v, 1, false)
		}
		s.pace(r, id, t, v)
	}
	s.observe(rw, ord, t, v, r.t)
	r.t, r.v = t, v
}

// infinite takes an infinity for those outputs of a counter's rule that take it;
// the counter has no sample here.
func (s *shard) infinite(rw *ruleWindows, r record, id uint32, it *item) {
	if it.t <= s.newestSeen(r, id) {
		s.refuse(it)
		return
	}
	s.count.dropped[dropInf]++
	s.observe(rw, r.ordinal(), it.t, it.v, math.MaxInt64) // no series of the window
	s.odd[id] = it.t
	it.flags |= itemTaken
}

// newestSeen counts in infinities.
func (s *shard) newestSeen(r record, id uint32) int64 {
	if len(s.odd) == 0 {
		return r.t
	}
	if t, ok := s.odd[id]; ok {
		return max(t, r.t)
	}
	return r.t
}

// begin takes the first sample of a record.
func (s *shard) begin(rw *ruleWindows, r record, id uint32, t int64, v float64, st int64) {
	rs := rw.rs
	r.clear(flagBorn) // it may have stood for "idle"
	switch {
	case !rs.needs.Counters():
	case st > 0 && st <= t && !s.blind && s.witnessed(rs, t, st):
		s.bridge(rw, id, r.ordinal(), st, 0, t, v, 1, true)
		s.remember(r, gapSegment{id: id, from: st, to: t, toV: v, kind: gapCreated})
	case st <= 0 && s.isBirth(rs, r, t):
		s.grow(rw, id, r.ordinal(), t, v, 0, true)
		r.set(flagBorn)
	}
	s.observe(rw, r.ordinal(), t, v, never)
	r.t, r.v = t, v
}

// witnessed tells whether a counter created at st was created under our eyes, so
// that all it has is new: not before we began, nor so long ago that it may have
// been known and forgotten.
func (s *shard) witnessed(rs *ruleState, t, st int64) bool {
	return st > s.e.started.Load() && st > rs.since && st >= t-min(rs.maxAge, rs.forget)
}

// isBirth: the source is known for longer than staleness, so it would have shown
// the series before, had it been there.
func (s *shard) isBirth(rs *ruleState, r record, t int64) bool {
	if s.blind || !rs.rule.Load().Births || rs.since > t-rs.staleness {
		return false
	}
	return s.e.src.since(r.source()) <= t-rs.staleness
}

// reborn takes a sample of a counter that was created anew at st since the last one.
func (s *shard) reborn(rw *ruleWindows, r record, id uint32, t int64, v float64, st int64) {
	s.rootFirst(r, id)
	if rw.rs.needs.Counters() {
		s.bridge(rw, id, r.ordinal(), st, 0, t, v, 1, false)
	}
	limit := s.limit(r)
	if st-r.t > limit {
		s.remember(r, gapSegment{id: id, from: r.t, fromV: r.v, to: st, kind: gapOpen})
	}
	if t-st > limit {
		s.remember(r, gapSegment{id: id, from: st, to: t, toV: v, kind: gapReset})
	}
	if r.step() == 0 {
		r.setStep(stepCode(t - r.t))
	}
}

// limit is the longest step after which nothing can be missing; -1: not known.
func (s *shard) limit(r record) int64 {
	if !r.is(flagSure) {
		return -1
	}
	return stepMillis(r.step()) * 3 / 2
}

func (s *shard) remember(r record, seg gapSegment) {
	s.makeGaps(seg.id).add(seg)
	r.set(flagGap)
}

// rootFirst keeps the first sample when the second one replaces it.
func (s *shard) rootFirst(r record, id uint32) {
	if r.step() != 0 {
		return
	}
	s.keepFirst(r, id, r.t, r.v, r.is(flagBorn))
}

func (s *shard) keepFirst(r record, id uint32, t int64, v float64, born bool) {
	c, i := s.chunkOf(id)
	if c.setFirst(i, t, v, born) {
		return
	}
	kind := gapBegin
	if born {
		kind = gapBorn
	}
	s.remember(r, gapSegment{id: id, from: never, to: t, toV: v, kind: kind})
}

// pace follows the usual step of a record and remembers longer ones as gaps. The
// step falls at once and rises slowly: what is missing now may still come.
func (s *shard) pace(r record, id uint32, t int64, v float64) {
	step, have := t-r.t, stepMillis(r.step())
	switch {
	case have == 0:
		s.rootFirst(r, id)
		r.setStep(stepCode(step))
		s.usual.note(r.step())
		if step <= s.usual.limit {
			r.set(flagSure)
			return
		}
		s.remember(r, gapSegment{id: id, from: r.t, fromV: r.v, to: t, toV: v, kind: gapPair})
		return
	case step*4 >= have*3 && step*4 <= have*5: // within a quarter
		if !r.is(flagSure) {
			s.remember(r, gapSegment{id: id, from: r.t, fromV: r.v, to: t, toV: v, kind: gapPair})
			r.set(flagSure)
		}
		if step < have {
			r.setStep(stepCode(step))
		}
		return
	}
	if !r.is(flagSure) || step*2 > have*3 {
		s.remember(r, gapSegment{id: id, from: r.t, fromV: r.v, to: t, toV: v, kind: gapPair})
	}
	if step < have {
		r.setStep(stepCode(step))
	} else if r.step() < 255 {
		r.setStep(r.step() + 1)
	}
}

// observe adds a sample's value to its window. before is the nearest older sample
// of the record in time, never for none; the series counts once a window.
func (s *shard) observe(rw *ruleWindows, ord uint32, t int64, v float64, before int64) {
	s.observeBetween(rw, ord, t, v, before, math.MaxInt64)
}

const sampleNeeds = rule.NeedSum | rule.NeedCount | rule.NeedMinMax | rule.NeedLast | rule.NeedMoments |
	rule.NeedUnique | rule.NeedBuckets | rule.NeedQuantile

func (s *shard) observeBetween(rw *ruleWindows, ord uint32, t int64, v float64, before, after int64) {
	if rw.rs.needs&(sampleNeeds|rule.NeedSeries) == 0 {
		return
	}
	w := s.window(rw, t)
	if w == nil {
		s.count.dropped[dropTooOld]++
		return
	}
	w.dirty = true
	c, i := w.at(rw.rs, ord)
	needs := c.needs
	if needs&rule.NeedSeries != 0 && before <= w.end-rw.rs.interval && after > w.end {
		c.series[i]++
	}
	if needs&sampleNeeds == 0 {
		return
	}
	if v-v != 0 {
		needs &^= rule.NeedMoments | rule.NeedUnique | rule.NeedBuckets | rule.NeedQuantile
	}
	c.observation(i).Observe(needs, t, v)
}

// bridge adds (sign 1) or takes back (sign -1) what a counter grew from one sample
// to the next: all of it to the window of the later one, or spread over the
// windows in between in proportion to time where the step is longer than max_gap.
func (s *shard) bridge(rw *ruleWindows, id, ord uint32, pt int64, pv float64, t int64, v float64, sign float64, first bool) {
	d := v
	if v >= pv {
		d = v - pv
	}
	if t-pt <= rw.rs.maxGap {
		s.grow(rw, id, ord, t, d*sign, float64(t-pt)*sign, first)
		return
	}
	s.spread(rw, id, ord, pt, t, d, sign, first)
}

func (s *shard) spread(rw *ruleWindows, id, ord uint32, pt, t int64, d, sign float64, first bool) {
	rs := rw.rs
	begin := pt
	if oldest := rs.end(s.now - rs.maxAge); begin < oldest {
		begin = min(t, oldest) // what lies before is beyond the horizon
		s.count.beyond++
	}
	length := float64(t - pt)
	var given partial.Sum2
	given.Add(d * (float64(begin-pt) / length))
	for begin < t {
		end := min(rs.end(begin+1), t)
		part := d * (float64(end-begin) / length)
		if end == t {
			part = (d - given.Hi) - given.Lo
		}
		given.Add(part)
		s.grow(rw, id, ord, end, part*sign, float64(end-begin)*sign, first)
		begin = end
	}
}

// grow adds d to the window of t. covered is the time that d took, in ms; first
// tells that d counts what was before the first sample.
func (s *shard) grow(rw *ruleWindows, id, ord uint32, t int64, d, covered float64, first bool) {
	w := s.window(rw, t)
	if w == nil {
		s.count.beyond++
		return
	}
	w.dirty = true
	c, i := w.at(rw.rs, ord)
	if c.inc != nil {
		twoSum(&c.inc[i], d)
	}
	if first {
		return
	}
	if c.prom != nil {
		twoSum(&c.prom[i], d)
	}
	if c.needs&rule.NeedRate != 0 {
		cell := w.rate(id)
		cell.inc += d
		cell.covered += covered
		cell.ord, cell.used = ord, true
	}
}

// twoSum is Knuth's, for finite values: it needs no comparison.
func twoSum(s *partial.Sum2, v float64) {
	t := s.Hi + v
	b := t - s.Hi
	s.Lo += (s.Hi - (t - b)) + (v - b)
	s.Hi = t
}
