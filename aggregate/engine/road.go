package engine

import "github.com/atoll-mesh/atoll/aggregate/rule"

// road is the short way for nearly all samples: of a series that one rule takes, a
// usual step after the one before, in order, in the window that was looked at last.
// What it does is what shard.sample does of such a sample.
type road struct {
	rw       *ruleWindows
	w        *window
	from, to int64 // times that it is for; empty where the rule is not for it
	gap      int64
	observes bool
	odd      bool // the lane of the batch is
	beside   bool // sums go beside the window's
}

// roadMask are the parts of a record's meta that must be as the road wants them.
const roadMask = flagHead | flagSure | flagStale | 0xff<<32 | 0xff<<48

// take returns false, having done nothing, where the long way is needed.
func (d *road) take(s *shard, r record, it *item) bool {
	if r.meta&roadMask != flagHead|flagSure|uint64(it.gen)<<32|uint64(it.rep)<<48 || r.next != 0 || s.asides != 0 {
		return false
	}
	rw := s.rules[r.slot()]
	if rw == nil || rw.cur == nil {
		return false
	}
	if rw != d.rw || rw.cur != d.w {
		d.aim(s, rw)
	}
	t, v := it.t, it.v
	step, have := t-r.t, stepMillis(r.step())
	if t < d.from || t > d.to || step < have || step*4 > have*5 || step > d.gap || step <= 0 || r.t < 0 || v-v != 0 {
		return false
	}
	ord := r.ordinal()
	n, i := ord/groupChunk, ord%groupChunk
	if int(n) >= len(d.w.cols) || d.w.cols[n] == nil || d.w.cols[n].frozen {
		return false
	}
	grown := v
	if v >= r.v {
		grown = v - r.v
	}
	d.w.dirty = true
	c := d.w.cols[n]
	if d.beside && n < besideChunks {
		c = c.side(rw.rs)
	}
	c.used[i/64] |= 1 << (i % 64)
	if c.inc != nil {
		twoSum(&c.inc[i], grown)
	}
	if c.prom != nil {
		twoSum(&c.prom[i], grown)
	}
	if d.observes {
		s.observe(rw, ord, t, v, r.t)
	}
	r.t, r.v = t, v
	it.flags |= itemTaken
	it.source = r.source()
	return true
}

func (d *road) aim(s *shard, rw *ruleWindows) {
	rs, w := rw.rs, rw.cur
	observes := rs.needs&(sampleNeeds|rule.NeedSeries) != 0
	*d = road{rw: rw, w: w, from: 1, gap: rs.maxGap, observes: observes, odd: d.odd, beside: d.odd && !observes}
	if w.late || rs.dedup != 0 || rs.needs&rule.NeedRate != 0 {
		return
	}
	d.from = max(w.end-rs.interval+1, s.now-rs.maxAge)
	d.to = min(w.end, s.now+aheadLimit)
}
