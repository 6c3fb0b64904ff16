package engine

import (
	"github.com/prometheus/prometheus/model/histogram"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// histogram takes a native histogram: a counter's growth is folded like that of a
// float counter, but late ones are not fitted into gaps; a gauge's as it is.
func (s *shard) histogram(rw *ruleWindows, r record, id uint32, it *item, st int64, h *histogram.FloatHistogram) {
	rs, t := rw.rs, it.t
	switch {
	case rs.needs&rule.NeedNative == 0:
		s.count.dropped[dropHistogram]++
		return
	case t <= r.t:
		s.count.dropped[dropDuplicate]++
		return
	case t < s.now-rs.maxAge:
		s.count.dropped[dropTooOld]++
		return
	case t > s.now+aheadLimit:
		s.count.dropped[dropAhead]++
		return
	}
	it.flags |= itemTaken
	last := s.histOf(id)
	before := r.t
	switch {
	case h.CounterResetHint == histogram.GaugeType:
		s.addHistogram(rw, r.ordinal(), t, h)
	case last == nil && before != never:
		// it was counted elsewhere, or was no histogram: it counts from here on
	case last == nil:
		if st > 0 && st <= t && s.witnessed(rs, t, st) {
			s.bridgeHistogram(rw, r.ordinal(), st, t, h)
		} else if st <= 0 && s.isBirth(rs, r, t) {
			s.addHistogram(rw, r.ordinal(), t, h)
		}
	case st > before && st <= t:
		s.bridgeHistogram(rw, r.ordinal(), st, t, h)
	default:
		s.bridgeHistogram(rw, r.ordinal(), before, t, growth(last, h))
	}
	s.setHist(id, h)
	if r.step() == 0 && before != never {
		r.setStep(stepCode(t - before))
	}
	if rs.needs&rule.NeedSeries != 0 {
		if w := s.window(rw, t); w != nil && before <= w.end-rs.interval {
			if c, i := w.at(rs, r.ordinal()); c.series != nil {
				c.series[i]++
			}
		}
	}
	r.t = t
}

// growth is what a counter grew since last: all of it after a reset.
func growth(last, h *histogram.FloatHistogram) *histogram.FloatHistogram {
	if h.CounterResetHint == histogram.CounterReset || h.DetectReset(last) {
		return h
	}
	d, _, _, err := h.Copy().Sub(last)
	if err != nil {
		return h // other kinds of buckets: begun anew
	}
	return d
}

func (s *shard) bridgeHistogram(rw *ruleWindows, ord uint32, pt, t int64, d *histogram.FloatHistogram) {
	rs := rw.rs
	if t-pt <= rs.maxGap {
		s.addHistogram(rw, ord, t, d)
		return
	}
	begin := min(t, max(pt, rs.end(s.now-rs.maxAge)))
	for begin < t {
		end := min(rs.end(begin+1), t)
		s.addHistogram(rw, ord, end, d.Copy().Mul(float64(end-begin)/float64(t-pt)))
		begin = end
	}
}

func (s *shard) addHistogram(rw *ruleWindows, ord uint32, t int64, d *histogram.FloatHistogram) {
	w := s.window(rw, t)
	if w == nil {
		s.count.beyond++
		return
	}
	w.dirty = true
	c, i := w.at(rw.rs, ord)
	a := c.observation(i)
	a.Hist = partial.AddHistogram(a.Hist, d)
}

// arriveHistogram takes one that came while the home of its series was not known: it
// was not kept. Where another island may have counted it, the next one counts from here.
func (s *shard) arriveHistogram(r record, t int64) {
	s.count.dropped[dropReplica]++
	for ; s.blind; r = s.at(r.next - 1) {
		if s.distributed(r) && r.t == never {
			r.t = t
		}
		if r.next == 0 {
			return
		}
	}
}
