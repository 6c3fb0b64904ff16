package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Verb says what a Decision does.
type Verb uint8

const (
	// None does nothing: what Decide makes of decisions that do not apply.
	None Verb = iota
	// Begin means: from now on new series wait until it is known who counts them. ID is what
	// keys the IDs of series, the same on all islands; not 0.
	Begin
	// Cease is the end of that.
	Cease
	// Doubt makes all series wait again: this island was away.
	Doubt
	// Heard means: a home (Home) has all samples to T of the series that it has not offered,
	// none is due to Due, and it has none after Newest.
	Heard
	// Mine means: nobody else counts the series.
	Mine
	// Blind means: nobody answers; the series counts from its first sample on.
	Blind
	// Wait means: the answer is that nobody knows yet.
	Wait
	// Follow means: Home counts the series, as number There. T is when it was last heard.
	Follow
	// Give is as Follow, if the series is silent before T, which the other has. Decide
	// sets T, V, Step, Ended and Known to what was counted last.
	Give
	// Take means: the series is ours from T, V on, which count; if they are Known.
	Take
	// Alone means: its home is not heard any more.
	Alone
	// Offer means: the home of the series has had nothing since T, V.
	Offer
	// Alive takes an offer back.
	Alive
	// Watched means: from now on, what the home of the series says (Heard) is of it as well.
	Watched
	// Join means: the home that was lost when we took the series over is back, and T, V are
	// the last that it counted.
	Join
	// Cede is as Give, be the series silent or not. It is journalled as Give.
	Cede
	verbs
)

// Decision is one change of who counts a series.
type Decision struct {
	Verb
	Series
	Home  uint64
	There uint32
	T     int64 // event time but for Follow, Unix ms; math.MinInt64 for none
	Due   int64
	// Newest is of Heard, Unix ms.
	Newest int64
	V      float64
	Step   uint8
	Known  bool
	Ended  bool
	gen    uint8 // of the series' record
}

// maxDecisions are carried out while batches wait, up to 1 ms.
const maxDecisions = 128

// Decide journals and carries out decisions, at now. Those that do not apply to how
// a series is by then do nothing, and their Verb is None afterwards.
func (e *Engine) Decide(now int64, all []Decision) {
	e.wake(now)
	e.enact(now, all)
}

func (e *Engine) enact(now int64, all []Decision) {
	for len(all) > 0 {
		n := min(len(all), maxDecisions)
		e.cut.Lock()
		failed := e.decideNow(now, all[:n])
		e.cut.Unlock()
		e.fail(failed)
		if slices.ContainsFunc(all[:n], func(d Decision) bool { return d.Verb == Begin || d.Verb == Doubt }) {
			e.finishChores()
		}
		all = all[n:]
	}
}

func (e *Engine) decideNow(now int64, all []Decision) error {
	n := 0
	for i := range all {
		if !e.carryOutOne(now, &all[i], false) {
			all[i].Verb = None
			continue
		}
		n++
	}
	if n == 0 || e.journal == nil {
		return nil
	}
	b := append([]byte(nil), frameHome)
	b = binary.AppendVarint(b, now)
	b = binary.AppendUvarint(b, uint64(n))
	for i := range all {
		if all[i].Verb != None {
			b = appendDecision(b, &all[i])
		}
	}
	return e.journal.Append(b)
}

// carryOutOne reports whether something was done.
func (e *Engine) carryOutOne(now int64, d *Decision, replay bool) bool {
	switch d.Verb {
	case Begin:
		fresh := e.rekey(d.ID)
		return !e.homing.Swap(true) || fresh
	case Cease:
		return e.homing.Swap(false)
	case Doubt:
		for _, s := range e.shards {
			s.doubt(now)
		}
		e.doubts.Add(1)
		return true
	case Heard:
		for _, s := range e.shards {
			s.mu.Lock()
			if h := s.away.heard[d.Home]; h != nil {
				h.at, h.through, h.due = max(h.at, now), d.T, d.Due
				h.newest = max(h.newest, d.Newest)
			}
			s.mu.Unlock()
		}
		return true
	}
	s, id, r := e.series(d.Series)
	defer s.mu.Unlock()
	if r.none() {
		return false
	}
	s.now, d.gen = max(s.now, now), r.gen()
	return s.decide(id, r, d, replay)
}

func (s *shard) decide(id uint32, r record, d *Decision, replay bool) bool {
	a := s.awayOf(id)
	own := a == nil && r.leader() != elsewhere
	waits := !own && (a == nil || a.home == 0)
	switch d.Verb {
	case Mine, Blind:
		if !waits {
			return false
		}
		if d.Verb == Mine {
			s.arrive(id, r, nil, 0)
		} else {
			s.arriveBlind(id, r, a)
		}
	case Wait:
		if !waits || a == nil || a.since == 0 {
			return false
		}
		a.until = min(s.now+patience, a.since+mostPatience)
	case Follow:
		if !replay && !own && !waits && a.home == d.Home && a.there == d.There {
			return false
		}
		s.follow(id, r, d.Home, d.There, min(s.now, d.T))
	case Give:
		return s.give(id, r, d, own, replay)
	case Cede:
		if !own {
			return false
		}
		d.Verb = Give
		return s.give(id, r, d, own, true)
	case Take, Alone:
		if own || waits {
			return false
		}
		return s.takeFrom(id, r, a, d)
	case Offer:
		if own || waits || a.home != d.Home || d.T > s.now+aheadLimit || d.V-d.V != 0 {
			return false
		}
		a.lastT, a.lastV, a.step, a.ended = d.T, d.V, d.Step, d.Ended
		s.away.offered[id] = a
	case Alive:
		if own || waits || s.away.offered[id] == nil {
			return false
		}
		delete(s.away.offered, id)
	case Watched:
		if own || waits || a.home != d.Home || s.away.fresh[id] == nil {
			return false
		}
		delete(s.away.fresh, id)
	case Join:
		return own && s.join(id, r, d.T, d.V)
	default:
		return false
	}
	return true
}

// give hands a series over, unless it was heard since.
func (s *shard) give(id uint32, r record, d *Decision, own, replay bool) bool {
	if is := s.status(id, r); !replay && (!own || is.T != never && !is.Ended && d.T-is.T < Silence(is.Step)) {
		return false
	}
	s.follow(id, r, d.Home, d.There, s.now)
	is := s.status(id, r) // what was held back is let go
	d.T, d.V, d.Step, d.Ended, d.Known = is.T, is.V, is.Step, is.Ended, is.T != never
	return true
}

// arriveBlind makes a series ours that others may have counted: its first sample here
// is not what it grew.
func (s *shard) arriveBlind(id uint32, r record, a *away) {
	fresh := a != nil && r.t == never && len(a.list) > 0
	s.blind = true
	s.arrive(id, r, nil, 0)
	s.blind = false
	if fresh && r.t != never {
		s.away.based[id] = a.list[0]
	}
}

func (s *shard) takeFrom(id uint32, r record, a *away, d *Decision) bool {
	from, there, base, step := a.home, a.there, (*kept)(nil), a.step
	switch {
	case d.Verb == Take && d.Home != from:
		return false
	case d.Verb == Take && d.Known:
		if d.T > s.now+aheadLimit || d.V-d.V != 0 {
			return false
		}
		base, step = &kept{t: d.T, v: d.V}, d.Step
	case d.Verb == Alone || r.t != never:
		k, ok := s.alone(id, a, s.away.heard[a.home])
		if !ok && d.Verb == Alone {
			return false
		}
		if ok {
			base = &k
		}
	}
	if base == nil { // what the home counted is not known any more
		s.arriveBlind(id, r, a)
	} else {
		s.arrive(id, r, base, step)
	}
	if d.Verb == Alone {
		s.away.based[id] = *base
	}
	s.e.claim(Claim{Series: Series{s.idOf(id), s.e.dense(s, id)}, From: from, There: there})
	return true
}

// rekey lets the labels of all series be looked at again, so that they get new IDs.
func (e *Engine) rekey(key uint64) bool {
	e.learning.Lock()
	defer e.learning.Unlock()
	if key == 0 || key == e.homeKey {
		return false
	}
	e.homeKey, e.homeSecret = key, newSecret(key)
	for _, s := range e.shards {
		s.mu.Lock()
		s.beginChore(s.rekey)
		s.mu.Unlock()
	}
	return true
}

func (s *shard) rekey(_ *chore, n int, c *chunk) {
	if c == nil {
		return
	}
	if s.imaging != nil {
		s.imaging.takeHomes(s, n)
	}
	s.chunkHeads(n, c, func(id uint32, r record) {
		s.abandon(id, r)
		r.set(flagRelearn)
	})
	c.ids = nil
}

// doubt: those that wait with samples get their place in the tables then.
func (s *shard) doubt(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.away.heard {
		h.at = max(h.at, now) // it was not they who were silent
	}
	s.beginChore(s.doubtSome)
}

func (s *shard) doubtSome(x *chore, n int, c *chunk) {
	if c == nil || c.ids == nil {
		return
	}
	if s.imaging != nil {
		s.imaging.takeHomes(s, n)
	}
	s.chunkHeads(n, c, func(id uint32, r record) {
		switch {
		case c.ids[id%chunkSize] == 0 || s.awayOf(id) != nil:
		case s.isMixed(r):
			s.chainReady(id, x)
			s.waitFor(id, r)
		default:
			r.setLeader(elsewhere)
		}
	})
}

func (s *shard) isMixed(r record) bool {
	for ; ; r = s.at(r.next - 1) {
		if rw := s.rules[r.slot()]; rw != nil && !rw.rs.distribute {
			return true
		}
		if r.next == 0 {
			return false
		}
	}
}

// overdueEvery is the shortest time between two looks, ms.
const overdueEvery = 1000

// overdue counts what waited for others long enough.
func (e *Engine) overdue(now int64) {
	if now < e.looked+overdueEvery && now >= e.looked {
		return
	}
	e.looked = now
	for _, s := range e.shards {
		e.Decide(now, s.patient(now))
		for n := 0; s.bereft(now) && n < len(*s.chunks.Load()); n++ {
			if all := s.lost(n, now); len(all) > 0 {
				e.Decide(now, all)
			}
		}
	}
}

// patient are the series that have waited long enough.
func (s *shard) patient(now int64) (all []Decision) {
	s.visit(s.away.waiting, func(id uint32, a *away) {
		if a.since != 0 && now >= a.until {
			all = append(all, Decision{Verb: Blind, Series: Series{s.idOf(id), s.e.dense(s, id)}})
		}
	})
	return all
}

// bereft reports whether a home is not heard any more.
func (s *shard) bereft(now int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.away.heard {
		if now-h.at >= takeOver {
			return true
		}
	}
	return false
}

// lost are the series of a chunk whose home is not heard any more.
func (s *shard) lost(n int, now int64) (all []Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	chunks := *s.chunks.Load()
	if n >= len(chunks) || chunks[n] == nil {
		return nil
	}
	for i := range chunks[n].bump {
		id := uint32(n)*chunkSize + i
		a := s.awayOf(id)
		if a == nil || a.home == 0 {
			continue
		}
		if h := s.away.heard[a.home]; h == nil || now-h.at < takeOver {
			continue
		} else if _, ok := s.alone(id, a, h); ok {
			all = append(all, Decision{Verb: Alone, Series: Series{s.idOf(id), s.e.dense(s, id)}})
		}
	}
	return all
}

// holdAway keeps windows open that what is kept may still be counted in.
func (e *Engine) holdAway(rs *ruleSet, now int64, marks []int64) {
	mark := int64(math.MaxInt64)
	for _, s := range e.shards {
		mark = min(mark, s.awayMark(now))
	}
	for _, r := range rs.active {
		if r.distribute {
			marks[r.slot] = min(marks[r.slot], mark)
		}
	}
}

// appendDecision: verb; then of a series its index, generation and ID; then what the
// verb has.
func appendDecision(b []byte, d *Decision) []byte {
	b = append(b, byte(d.Verb))
	if d.Verb == Begin {
		b = binary.LittleEndian.AppendUint64(b, d.ID)
	}
	if d.Verb > Heard {
		b = binary.AppendUvarint(b, uint64(d.Ref))
		b = append(b, d.gen)
		b = binary.LittleEndian.AppendUint64(b, d.ID)
	}
	switch d.Verb {
	case Heard:
		b = binary.LittleEndian.AppendUint64(b, d.Home)
		b = binary.AppendVarint(binary.AppendVarint(b, d.T), d.Due)
		b = binary.AppendVarint(b, d.Newest)
	case Watched:
		b = binary.LittleEndian.AppendUint64(b, d.Home)
	case Follow, Give:
		b = binary.LittleEndian.AppendUint64(b, d.Home)
		b = binary.AppendUvarint(b, uint64(d.There))
		b = binary.AppendVarint(b, d.T)
	case Take, Offer, Join:
		b = binary.LittleEndian.AppendUint64(b, d.Home)
		b = binary.AppendVarint(b, d.T)
		b = appendFloat(b, d.V)
		b = append(b, d.Step, flagByte(d.Known, d.Ended))
	}
	return b
}

func flagByte(all ...bool) (f byte) {
	for i, on := range all {
		if on {
			f |= 1 << i
		}
	}
	return f
}

func (e *Engine) replayHomes(d *decoder) error {
	now := d.varint()
	n := d.count(1)
	if d.bad || !plausible(now) {
		return errShort
	}
	e.see(now)
	for range n {
		var x Decision
		x.Verb = Verb(d.byte())
		if x.Verb == None || x.Verb >= verbs {
			return fmt.Errorf("decision %d, want 1 to %d", x.Verb, verbs-1)
		}
		if x.Verb == Begin {
			x.ID = d.u64()
		}
		if x.Verb > Heard {
			index, gen := d.uvarint(), d.byte()
			x.ID = d.u64()
			if index > math.MaxUint32 {
				return errShort
			}
			old := Ref(index) | Ref(gen)<<32
			if moved, ok := e.replayed[old]; ok {
				old = moved
			}
			x.Ref = old.Index()
		}
		switch x.Verb {
		case Heard:
			x.Home, x.T, x.Due, x.Newest = d.u64(), d.varint(), d.varint(), d.varint()
		case Watched:
			x.Home = d.u64()
		case Follow, Give:
			x.Home, x.There, x.T = d.u64(), uint32(d.uvarint()), d.varint()
		case Take, Offer, Join:
			x.Home, x.T, x.V, x.Step = d.u64(), d.varint(), d.float(), d.byte()
			f := d.byte()
			x.Known, x.Ended = f&1 != 0, f&2 != 0
		}
		if d.bad || x.Verb > Heard && x.T != never && !plausible(x.T) {
			return errShort
		}
		e.carryOutOne(now, &x, true)
	}
	e.finishChores()
	return nil
}
