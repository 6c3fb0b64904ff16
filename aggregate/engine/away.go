package engine

import (
	"math"

	"github.com/prometheus/prometheus/model/value"
)

// elsewhere is the leader of a series none of our senders leads, as another island
// may. Nobody has this number.
const elsewhere = 255

const (
	// maxAway bounds the series of a shard that are kept for other islands.
	maxAway = 1 << 18
	// maxKept bounds the samples kept of one of them: then every other one goes, so
	// that what a counter grew stays right.
	maxKept = 48
	// patience is how long a new series waits for an answer, from its first sample
	// on, ms: arrival time.
	patience = 5 * 1000
	// mostPatience bounds that where the answers are that nobody knows yet, and is how
	// long a series waits that was counted before.
	mostPatience = 20 * 1000
)

// away is what is known of a series that another island counts, or may count.
type away struct {
	home   uint64 // 0: waits for an answer
	there  uint32 // its place at home
	step   uint8  // of what home offers
	ended  bool
	known  bool  // it was counted here
	mixed  bool  // local rules take the series as well
	since  int64 // waiting: arrival of the first sample, 0: none yet
	until  int64 // waiting: arrival at which it is counted without an answer
	lastT  int64 // home offers to hand it over: its newest sample
	lastV  float64
	newest int64 // our newest
	list   []kept
}

// heard is what a home said last.
type heard struct {
	at      int64 // when, arrival
	through int64 // it has all samples to here of what it did not offer
	due     int64 // no sample is due to here
	newest  int64 // of all samples that it has
	ours    int64 // newest of ours
	n       int   // series
}

// aways are n series of a shard, which have them beside their records. Some of them are
// in maps as well: fresh are those that their home does not know to be followed yet, so
// that what it says is not of them.
type aways struct {
	n                              int
	waiting, fresh, offered, mixed map[uint32]*away

	heard map[uint64]*heard
	// based is what series count from that began, or were taken over, without a word
	// of their home: what that counted last may be before it.
	based map[uint32]kept
}

func (w *aways) reset() {
	*w = aways{0, map[uint32]*away{}, map[uint32]*away{}, map[uint32]*away{}, map[uint32]*away{}, map[uint64]*heard{}, map[uint32]kept{}}
}

// awayOf is nil for a series that is not away.
func (s *shard) awayOf(id uint32) *away {
	if s.away.n == 0 {
		return nil
	}
	c, i := s.chunkOf(id)
	if a := c.aways.get(i); a != nil {
		return *a
	}
	return nil
}

func (s *shard) addAway(id uint32, a *away) {
	c, i := s.chunkOf(id)
	if c.aways == nil {
		c.aways = &side[*away]{}
	}
	if c.aways.put(i, a) {
		s.away.n++
	}
}

func (s *shard) dropAway(id uint32) {
	c, i := s.chunkOf(id)
	if c.aways.drop(i) {
		s.away.n--
	}
	tidySide(&c.aways)
}

// waitFor lets a series wait for an answer about its home.
func (s *shard) waitFor(id uint32, r record) *away {
	a := &away{newest: never, known: r.t != never}
	s.addAway(id, a)
	s.away.waiting[id] = a
	s.fit(id, r, a)
	if list := s.asideOf(id); list != nil && !a.mixed {
		a.list = append(a.list, list...)
		a.newest = list[len(list)-1].t
		s.setAsides(id, nil)
	}
	for q, n := r, id; ; q = s.at(n) {
		if h := s.heldOf(n); h != nil && s.distributed(q) {
			k := h.kept()
			s.unhold(n)
			s.letGo(s.rules[q.slot()], q, n, k)
		}
		if q.next == 0 {
			return a
		}
		n = q.next - 1
	}
}

func (s *shard) distributed(r record) bool {
	rw := s.rules[r.slot()]
	return rw != nil && rw.rs.distribute
}

// fit takes all samples of the series, or only those for distributed rules, from
// the usual way.
func (s *shard) fit(id uint32, r record, a *away) {
	a.mixed = false
	for q := r; ; q = s.at(q.next - 1) {
		if rw := s.rules[q.slot()]; rw != nil && !rw.rs.distribute {
			a.mixed = true
		}
		if q.next == 0 {
			break
		}
	}
	switch {
	case a.mixed:
		s.away.mixed[id] = a
		if r.leader() == elsewhere {
			r.setLeader(0)
		}
		return
	case r.leader() != elsewhere:
		r.setLeader(elsewhere)
	}
	delete(s.away.mixed, id)
	s.end(r)
}

// end takes a series off those that its source is waited for.
func (s *shard) end(r record) {
	if !r.is(flagStale) {
		r.set(flagStale)
		s.e.src.alive(r.source(), -1)
	}
}

// follow gives a series to another island. at is when that was last heard.
func (s *shard) follow(id uint32, r record, home uint64, there uint32, at int64) {
	a := s.awayOf(id)
	if a == nil {
		a = s.waitFor(id, r)
	}
	if a.home != home {
		s.unfollow(id, a)
		h := s.away.heard[home]
		if h == nil {
			h = &heard{at: at, through: never, due: never, newest: never, ours: never}
			s.away.heard[home] = h
		}
		h.n++
		s.away.fresh[id] = a
		h.ours = max(h.ours, a.newest)
	}
	a.home, a.there = home, there
}

func (s *shard) unfollow(id uint32, a *away) {
	delete(s.away.waiting, id)
	delete(s.away.fresh, id)
	delete(s.away.offered, id)
	if h := s.away.heard[a.home]; a.home != 0 && h != nil {
		if h.n--; h.n == 0 {
			delete(s.away.heard, a.home)
		}
	}
	a.home = 0
}

// keepAway takes a sample of a series that leads elsewhere.
func (s *shard) keepAway(r record, it *item, st int64) {
	a := s.awayOf(it.id)
	if a == nil { // it is asked again about
		a = s.waitFor(it.id, r)
	}
	s.keep(it.id, a, it, st)
}

func (s *shard) keep(id uint32, a *away, it *item, st int64) {
	if it.t > s.now+aheadLimit {
		s.count.dropped[dropAhead]++
		return
	}
	floor := int64(never)
	h := s.away.heard[a.home]
	switch {
	case a.home == 0:
		if a.since == 0 {
			a.since, a.until = s.now, s.now+patience
			if a.known {
				a.until = s.now + mostPatience
			}
		}
	case s.away.offered[id] != nil:
		floor = a.lastT
	case h != nil && s.away.fresh[id] == nil:
		floor = h.through
	}
	n := 0
	for n < len(a.list) && a.list[n].t <= floor {
		n++
	}
	s.count.dropped[dropReplica] += uint64(n)
	a.list = a.list[n:]
	if it.t <= floor {
		s.count.dropped[dropReplica]++
		return
	}
	if len(a.list) == maxKept {
		half := make([]kept, 0, maxKept) // as an image may have the list
		for i := 0; i < maxKept; i += 2 {
			half = append(half, a.list[i])
		}
		a.list = half
		s.count.dropped[dropReplica] += maxKept / 2
	}
	a.list = append(a.list, kept{t: it.t, st: st, v: it.v, rep: it.rep})
	a.newest = max(a.newest, it.t)
	if h != nil {
		h.ours = max(h.ours, it.t)
	}
}

// endAway keeps the stale marker of a series that leads elsewhere.
func (s *shard) endAway(r record, it *item) bool {
	if r.leader() != elsewhere {
		return false
	}
	if a := s.awayOf(it.id); a != nil && it.t > a.newest {
		s.keep(it.id, a, it, 0)
	}
	return true
}

// awayTime is the newest sample kept of a series.
func (s *shard) awayTime(id uint32) int64 {
	if a := s.awayOf(id); a != nil {
		return a.newest
	}
	return never
}

// abandon lets a series be as one that no distributed rule takes.
func (s *shard) abandon(id uint32, r record) {
	if a := s.awayOf(id); a != nil {
		s.forgetAway(id)
	}
	if r.leader() == elsewhere {
		r.setLeader(0)
	}
}

func (s *shard) forgetAway(id uint32) {
	a := s.awayOf(id)
	if a == nil {
		return
	}
	s.unfollow(id, a)
	s.dropAway(id)
	delete(s.away.mixed, id)
}

// arrive makes a series ours, from a sample that was counted elsewhere on (nil: from
// the first that was kept), and takes what was kept since.
func (s *shard) arrive(id uint32, r record, base *kept, step uint8) {
	a := s.awayOf(id)
	s.abandon(id, r)
	floor := int64(never)
	if base != nil {
		floor = base.t
		s.rebase(id, r, base.t, base.v, step)
	}
	if a == nil {
		return
	}
	lead, only := leading(a.list, floor), allRules
	if a.mixed {
		only = onlyDistributed
	}
	if !a.mixed {
		r.setLeader(lead)
	}
	for _, k := range a.list {
		if k.t <= floor || !a.mixed && k.rep != lead {
			s.count.dropped[dropReplica]++
			continue
		}
		if value.IsStaleNaN(k.v) {
			if !a.mixed && k.t > r.t {
				s.end(r)
			}
			continue
		}
		if base != nil && (k.t-floor)*4 < stepMillis(step)*3 {
			s.count.dropped[dropReplica]++ // of another replica, as lead does
			continue
		}
		if !a.mixed && r.is(flagStale) && k.t > r.t {
			r.clear(flagStale)
			s.e.src.alive(r.source(), 1)
		}
		if k.v != k.v {
			s.arriveHistogram(r, k.t)
			continue
		}
		it := item{v: k.v, t: k.t, id: id, rep: k.rep}
		s.show(r, &it, k.st, nil, only)
		if it.flags&itemTaken != 0 {
			s.e.src.note(r.source(), k.t, s.now)
		}
	}
}

// leading is the replica that most of the samples after floor are of.
func leading(list []kept, floor int64) (rep uint8) {
	var n [256]uint8
	for _, k := range list {
		if k.t <= floor {
			continue
		}
		if n[k.rep]++; rep == 0 || n[k.rep] > n[rep] {
			rep = k.rep
		}
	}
	return rep
}

// rebase makes a sample that was counted elsewhere the one that the next counts
// from, unless we counted since.
func (s *shard) rebase(head uint32, r record, t int64, v float64, step uint8) {
	if t <= r.t {
		s.join(head, r, t, v)
		return
	}
	delete(s.away.based, head)
	if step == 0 {
		step = stepCode(takeOver / 3)
	}
	if v != v { // of a histogram
		v = 0
	}
	for q, id := r, head; ; q = s.at(id) {
		if s.distributed(q) && t > q.t {
			q.t, q.v = t, v
			s.dropHist(id)
			q.clear(flagBorn)
			s.dropFirst(q, id, step)
		}
		if q.next == 0 {
			return
		}
		id = q.next - 1
	}
}

// dropFirst lets nothing be joined on before what a record has.
func (s *shard) dropFirst(r record, id uint32, step uint8) {
	c, i := s.chunkOf(id)
	c.dropFirst(i)
	if r.step() == 0 {
		r.setStep(step)
	}
}

// join counts what lies between the last sample that a lost home counted and the one
// that we went on from.
func (s *shard) join(head uint32, r record, t int64, v float64) bool {
	base, ok := s.away.based[head]
	if !ok || v-v != 0 || base.v-base.v != 0 {
		return false
	}
	delete(s.away.based, head)
	for q, id := r, head; ; q = s.at(id) {
		rw := s.rules[q.slot()]
		if s.distributed(q) && rw.rs.needs.Counters() && t < base.t && t >= s.now-rw.rs.maxAge {
			s.bridge(rw, id, q.ordinal(), t, v, base.t, base.v, 1, false)
			s.dropFirst(q, id, stepCode(takeOver/3))
		}
		if q.next == 0 {
			return true
		}
		id = q.next - 1
	}
}

// alone is from where on we count a series whose home is not heard any more: what
// it offered, else our first sample after all that it is known to have. So nothing
// counts twice, and what lies before is joined on if the home comes back.
func (s *shard) alone(id uint32, a *away, h *heard) (base kept, ok bool) {
	if s.away.offered[id] != nil && a.lastT != never {
		return kept{t: a.lastT, v: a.lastV}, a.newest > a.lastT
	}
	for _, k := range a.list {
		if !value.IsStaleNaN(k.v) && (h == nil || s.away.fresh[id] != nil || k.t > h.newest) {
			return k, a.newest > k.t
		}
	}
	return base, false
}

// visitAll shows all series that are away, a chunk of them at a time while batches
// wait.
func (s *shard) visitAll(f func(id uint32, a *away)) {
	for n := 0; n < len(*s.chunks.Load()); n++ {
		s.mu.Lock()
		if chunks := *s.chunks.Load(); n < len(chunks) && chunks[n] != nil {
			chunks[n].aways.each(func(i uint32, a **away) { f(uint32(n)*chunkSize+i, *a) })
		}
		s.mu.Unlock()
	}
}

// visit shows some of the series that are away, a chunk of them at a time while
// batches wait.
func (s *shard) visit(some map[uint32]*away, f func(id uint32, a *away)) {
	s.mu.Lock()
	few := len(some) <= 4*chunkSize
	if few {
		for id, a := range some {
			f(id, a)
		}
	}
	s.mu.Unlock()
	for n := 0; !few && n < len(*s.chunks.Load()); n++ {
		s.mu.Lock()
		if chunks := *s.chunks.Load(); n < len(chunks) && chunks[n] != nil {
			for i := range chunks[n].bump {
				id := uint32(n)*chunkSize + i
				if a := some[id]; a != nil {
					f(id, a)
				}
			}
		}
		s.mu.Unlock()
	}
}

// awayMark is the last instant up to which nothing that is kept may be counted here.
func (s *shard) awayMark(now int64) int64 {
	mark, oldest := int64(math.MaxInt64), now-3*takeOver
	s.mu.Lock()
	for _, h := range s.away.heard {
		if h.ours > h.due && now-h.at < 2*takeOver {
			mark = min(mark, h.due)
		}
	}
	s.mu.Unlock()
	for _, some := range []map[uint32]*away{s.away.waiting, s.away.fresh, s.away.offered} {
		s.visit(some, func(id uint32, a *away) { mark = min(mark, s.keptMark(id, a, oldest)) })
	}
	return mark
}

// keptMark is the awayMark of one series.
func (s *shard) keptMark(id uint32, a *away, oldest int64) int64 {
	mark := int64(math.MaxInt64)
	if len(a.list) == 0 {
		return mark
	}
	if a.list[0].t >= oldest && (a.home == 0 || s.away.fresh[id] != nil) {
		mark = a.list[0].t - 1
	}
	if s.away.offered[id] != nil {
		for _, k := range a.list {
			if k.t > a.lastT && k.t >= oldest {
				return min(mark, k.t-1)
			}
		}
	}
	return mark
}
