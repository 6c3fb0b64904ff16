package engine

import (
	"math"
	"slices"
)

// Where several islands aggregate together, each series of a distributed rule is
// counted by one of them, its home. Who that is, is found out elsewhere and comes in
// through Decide; here is kept what the others' series need: the samples since the
// home was last heard, so that one that moves loses nothing.

// Series names a series of a distributed rule.
type Series struct {
	// ID is a keyed hash of its labels but for the replica labels: the same on every
	// island with the same key, see Begin. With 10 million series the odds that any
	// two have one ID are 1 in 400,000.
	ID uint64
	// Ref is its place in this engine, until a restart.
	Ref uint32
}

// Claim is a series that this island counts or would count.
type Claim struct {
	Series
	// Waiting: nothing of it is counted, or nothing more until it is known who does.
	Waiting bool
	// Known: it was counted here before.
	Known bool
	// From is the island that counted it before, as number There; 0 where none did.
	From  uint64
	There uint32
}

// Ask is a series whose home says that it fell silent while we hear it.
type Ask struct {
	Series
	Home  uint64
	There uint32
	// Newest is our newest sample, Unix ms.
	Newest int64
}

// Status is how a series is doing.
type Status struct {
	State State
	Home  uint64 // of one that is Away
	There uint32
	// T and V are the newest sample counted; T is math.MinInt64 for none.
	T     int64
	V     float64
	Step  uint8 // coded, see StepMillis
	Ended bool
}

// State of a series.
type State uint8

const (
	// Unknown is not a series of a distributed rule, or another one.
	Unknown State = iota
	// Own is counted here.
	Own
	// Waits is going to be counted here unless somebody else does.
	Waits
	// Away is counted by another island.
	Away
)

// StepMillis is the time that a coded step stands for.
func StepMillis(code uint8) int64 { return stepMillis(code) }

// Silence is how long, in event time, a series with a coded step must have been
// silent until another replica or island takes over, ms.
func Silence(step uint8) int64 {
	usually := stepMillis(step)
	if usually == 0 {
		usually = takeOver / 3
	}
	return max(takeOver, usually*3/2)
}

// maxClaims bounds what nobody takes.
const maxClaims = 1 << 22

func (e *Engine) claim(c Claim) {
	e.claimMu.Lock()
	defer e.claimMu.Unlock()
	n := len(e.claims)
	if n == maxClaims/chunkSize {
		return
	}
	if n == 0 || len(e.claims[n-1]) == chunkSize {
		e.claims = append(e.claims, make([]Claim, 0, chunkSize)) // as copying many takes long
		n++
	}
	e.claims[n-1] = append(e.claims[n-1], c)
}

// TakeClaims returns the series that came up or were taken over since the last call.
func (e *Engine) TakeClaims() []Claim {
	e.claimMu.Lock()
	all := e.claims
	e.claims = nil
	e.claimMu.Unlock()
	return slices.Concat(all...)
}

// homeID is the ID of a series with encoded labels.
func (e *Engine) homeID(encoded []byte) uint64 {
	return max(1, e.homeSecret.sum(encoded).Lo)
}

// name gives the series at dense its ID. The caller holds learning.
func (e *Engine) name(dense uint32, id uint64) {
	s, n := e.locate(dense)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready(n)
	c, i := s.chunkOf(n)
	if c.ids == nil {
		c.ids = new([chunkSize]uint64)
	}
	c.ids[i] = id
}

// enlist makes a series that was looked at by the rules one that has a home, or none
// that has. fresh: it was not known before. The caller holds learning.
func (e *Engine) enlist(ref Ref, id uint64, fresh bool) {
	s, n := e.locate(ref.Index())
	s.mu.Lock()
	s.ready(n)
	r := s.at(n)
	c, i := s.chunkOf(n)
	had := c.ids != nil && c.ids[i] != 0
	distributed := false
	for q := r; ; q = s.at(q.next - 1) {
		if rw := s.rules[q.slot()]; rw != nil && rw.rs.distribute {
			distributed = true
		}
		if q.next == 0 {
			break
		}
	}
	if !distributed {
		if had {
			c.ids[i] = 0
			s.abandon(n, r)
		}
		s.mu.Unlock()
		return
	}
	if a := s.awayOf(n); a != nil {
		s.fit(n, r, a)
	}
	waits := !had && fresh && e.homing.Load() && s.away.n < maxAway
	if waits {
		s.waitFor(n, r)
	}
	s.mu.Unlock()
	if had {
		return
	}
	e.name(ref.Index(), id)
	if e.homing.Load() {
		e.claim(Claim{Series: Series{id, ref.Index()}, Waiting: waits})
	}
}

// record finds the head of a series; the caller holds no lock, and holds that of the
// shard afterwards, also where there is none.
func (e *Engine) series(x Series) (s *shard, id uint32, r record) {
	s, id = e.locate(x.Ref)
	s.mu.Lock()
	if r = s.at(id); r.none() || !r.is(flagHead) || x.ID == 0 {
		return s, id, record{}
	}
	if s.ready(id); s.idOf(id) != x.ID {
		return s, id, record{}
	}
	return s, id, r
}

func (s *shard) idOf(id uint32) uint64 {
	if c, i := s.chunkOf(id); c.ids != nil {
		return c.ids[i]
	}
	return 0
}

// Owned visits some of the series that this island counts or waits for. Begin with
// at 0 and go on with what it returns until that is 0.
func (e *Engine) Owned(at uint64, f func(Claim)) (next uint64) {
	k, n := int(at>>32), int(uint32(at))
	s := e.shards[k]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunkReady(n, nil)
	chunks := *s.chunks.Load()
	if n < len(chunks) && chunks[n] != nil && chunks[n].ids != nil {
		c := chunks[n]
		for i := range c.bump {
			if c.ids[i] == 0 || !c.recs.at(i).is(flagHead) {
				continue
			}
			id := uint32(n)*chunkSize + i
			a := s.awayOf(id)
			if a == nil || a.home == 0 {
				f(Claim{
					Series:  Series{c.ids[i], e.dense(s, id)},
					Waiting: a != nil || c.recs.at(i).leader() == elsewhere, Known: s.status(id, c.recs.at(i)).T != never,
				})
			}
		}
	}
	switch {
	case n+1 < len(chunks):
		return uint64(k)<<32 | uint64(n+1)
	case k+1 < len(e.shards):
		return uint64(k+1) << 32
	}
	return 0
}

// Following visits the series of a home.
func (e *Engine) Following(home uint64, f func(x Series, there uint32)) {
	for _, s := range e.shards {
		s.visitAll(func(id uint32, a *away) {
			if a.home == home {
				f(Series{s.idOf(id), e.dense(s, id)}, a.there)
			}
		})
	}
}

// Homes are the islands that series of this one are counted by, and how many.
func (e *Engine) Homes() map[uint64]int {
	all := map[uint64]int{}
	for _, s := range e.shards {
		s.mu.Lock()
		for home, h := range s.away.heard {
			all[home] += h.n
		}
		s.mu.Unlock()
	}
	return all
}

// Ripe lists the series that their homes do not hear any more, as far as we do.
func (e *Engine) Ripe() (asks []Ask) {
	for _, s := range e.shards {
		s.visit(s.away.offered, func(id uint32, a *away) {
			if a.newest > a.lastT && (a.ended || a.lastT == never || a.newest-a.lastT >= Silence(a.step)) {
				asks = append(asks, Ask{Series{s.idOf(id), e.dense(s, id)}, a.home, a.there, a.newest})
			}
		})
	}
	return asks
}

// Doubts is how often this island found that it had been away, so that all that it
// owns must be claimed again.
func (e *Engine) Doubts() uint64 { return e.doubts.Load() }

// Look tells how each of some series is doing.
func (e *Engine) Look(all []Series, f func(i int, is Status)) {
	for i, x := range all {
		s, id, r := e.series(x)
		is := Status{T: math.MinInt64}
		if !r.none() {
			is = s.status(id, r)
		}
		s.mu.Unlock()
		f(i, is)
	}
}

func (s *shard) status(id uint32, r record) Status {
	is := Status{State: Own, T: never, Ended: r.is(flagStale)}
	if a := s.awayOf(id); a != nil {
		is.State, is.Home, is.There = Away, a.home, a.there
		if a.home == 0 {
			is.State = Waits
		}
	} else if r.leader() == elsewhere {
		is.State = Waits
	}
	for q, n := r, id; ; q = s.at(n) {
		if rw := s.rules[q.slot()]; rw != nil && rw.rs.distribute && q.t > is.T {
			is.T, is.V, is.Step = q.t, q.v, q.step()
			if h := s.heldOf(n); h != nil && h.t > q.t {
				is.T, is.V = h.t, h.v
			}
		}
		if q.next == 0 {
			return is
		}
		n = q.next - 1
	}
}
