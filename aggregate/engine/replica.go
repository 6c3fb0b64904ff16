package engine

// maxAside bounds the samples kept of a series for a take-over: 30 s and more at
// the usual paces.
const maxAside = 16

// lead decides on a sample of a replica that is not known to lead its series: the
// leader's silence is measured in event time, as replicas scrape the same target.
// It reports whether the sample is to be taken.
func (s *shard) lead(r record, it *item, st int64) bool {
	if r.leader() == elsewhere {
		s.keepAway(r, it, st)
		return false
	}
	if r.leader() == 0 {
		r.setLeader(it.rep)
		return true
	}
	newest := s.newestTime(r, it.id)
	if newest == never {
		r.setLeader(it.rep)
		return true
	}
	silent := it.t - newest
	if silent <= 0 {
		it.flags |= itemForeign
		return true // perhaps it fills a gap
	}
	usually := stepMillis(r.step())
	if usually == 0 {
		usually = takeOver / 3
	}
	switch {
	case r.is(flagStale), silent >= max(takeOver, usually*3/2):
		r.setLeader(it.rep)
		s.replay(r, it.id, it.t)
		return true
	case silent*4 >= usually*3:
		s.setAside(it, st)
	default:
		s.count.dropped[dropReplica]++
	}
	return false
}

// newestTime counts in the sample that deduplication holds.
func (s *shard) newestTime(r record, id uint32) int64 {
	if h := s.heldOf(id); h != nil {
		return max(h.t, r.t)
	}
	return r.t
}

// setAside does not keep histograms, which are large: what a counter's grew meanwhile
// is in the next one.
func (s *shard) setAside(it *item, st int64) {
	if it.v != it.v {
		s.count.dropped[dropReplica]++
		return
	}
	list := s.asideOf(it.id)
	if len(list) == maxAside {
		s.count.dropped[dropReplica]++
		list = list[1:]
	}
	s.setAsides(it.id, append(list, kept{t: it.t, st: st, v: it.v, rep: it.rep}))
}

// heard drops what was set aside up to t: the leader was not silent.
func (s *shard) heard(id uint32, t int64) {
	list := s.asideOf(id)
	n := 0
	for n < len(list) && list[n].t <= t {
		n++
	}
	s.count.dropped[dropReplica] += uint64(n)
	if n > 0 {
		s.setAsides(id, list[n:])
	}
}

// replay takes what the new leader sent while the old one was silent.
func (s *shard) replay(r record, id uint32, until int64) {
	list := s.asideOf(id)
	s.setAsides(id, nil)
	for _, k := range list {
		if k.rep != r.leader() || k.t >= until || k.t <= r.t {
			s.count.dropped[dropReplica]++
			continue
		}
		it := item{v: k.v, t: k.t, id: id, rep: k.rep}
		s.series(r, &it, k.st, nil)
	}
}
