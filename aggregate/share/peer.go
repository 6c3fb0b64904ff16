package share

import (
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// delivered is the progress of a part of which nothing is left to send.
const delivered = -1

// Bounds of one message; a part of more rows goes in several.
const (
	rowsPerMessage  = 2048
	partsPerMessage = 256
	bytesPerMessage = 2 << 20
	// bytesPerPart bounds a part without its totals, which are no more.
	bytesPerPart = 4 << 20
)

// peer is an island that aggregates as one to send to, also this island itself.
type peer struct {
	name    string
	index   int16            // in the view; none where it is out of reach
	boot    uint64           // its start; 0: not known yet
	links   map[uint64]*link // by rule
	plans   map[uint64]bool  // those that it has
	loads   int64            // when it was last told the loads
	flight  bool
	last    int64 // when it was last sent to
	next    int64 // not before
	pause   time.Duration
	failing int64 // since when nothing gets through; 0: all is well
	done    *view // in which it has all that this island leaves
}

// link is what a peer has of one rule.
type link struct {
	birth  uint64 // of its state of the rule; 0: not known
	resets int
	lacks  int64 // since when it does not have the rule; 0: it has
	said   bool  // that it lacks it is in the log
	given  bits  // slots of which it has all groups that this island knew
	// giving are the groups that are being sent, and the slots they are of.
	giving []*givenGroup
	goal   bits
	busy   bool             // goal is not reached
	synced bool             // given is all that it holds
	sent   map[*pending]int // rows delivered
	says   int64            // all windows to here are published by it
}

// givenGroup is a group to be sent, with all windows or one; then is called when it
// was taken: see reply.even.
type givenGroup struct {
	g    *group
	in   *window // nil: all
	then func(even bool)
}

// state is what is sent of it.
func (x *givenGroup) state(rs *ruleState, there func(source) bool) stateGroup {
	if x.in != nil {
		return rs.stateIn(x.g, x.in.end, there)
	}
	return rs.stateOf(x.g, there)
}

func newPeer(name string, v *view) *peer {
	return &peer{name: name, index: v.Index(name), links: map[uint64]*link{}, plans: map[uint64]bool{}}
}

func newLink() *link { return &link{sent: map[*pending]int{}, says: never} }

func (p *peer) link(hash uint64) *link {
	l := p.links[hash]
	if l == nil {
		l = newLink()
		p.links[hash] = l
	}
	return l
}

// change goes over to another view: everything is sent again, and what a peer says
// holds for the slots that it owned. A deputy that becomes the owner is told all of
// the groups anew: where they were published the owner alone may know.
func (p *peer) change(before, v *view, index int16) {
	var keep bits
	for k := range Slots {
		follows := v.First[k] == index && before.First[k] != p.index
		if before.holds(p.index, k) && v.holds(index, k) && !follows {
			keep.set(k)
		}
	}
	p.index, p.done = index, nil
	for _, l := range p.links {
		for i := range keep {
			l.given[i] &= keep[i]
		}
		l.sent, l.says = map[*pending]int{}, never
		l.giving, l.busy, l.synced = nil, false, false
		l.resets++ // what is under way is not noted, also if the view comes back meanwhile
	}
}

// restart begins anew with a peer that has.
func (p *peer) restart(boot uint64) {
	p.boot, p.links, p.plans = boot, map[uint64]*link{}, map[uint64]bool{}
}

// reset begins anew with a rule that the peer had not, or has anew.
func (l *link) reset(birth uint64) {
	resets := l.resets + 1
	*l = *newLink()
	l.birth, l.resets = birth, resets
}

// stored is the end of the newest window of this island that a peer has all of.
func (l *link) stored(rs *ruleState) int64 {
	for _, part := range rs.pending {
		if !part.late && l.sent[part] != delivered {
			return part.end - 1
		}
	}
	return rs.offered
}

// step is what one message carries, to be noted when it was taken.
type step struct {
	view  *view
	boot  uint64
	done  bool // it is all that there is
	plans []uint64
	gives []gave
	parts []progress
	room  room
}

// room is what is left in a message.
type room struct{ rows, parts, bytes int }

func (r *room) full() bool { return r.rows <= 0 || r.parts <= 0 || r.bytes <= 0 }

type gave struct {
	l      *link
	resets int
	groups int
}

type progress struct {
	l      *link
	resets int
	part   *pending
	rows   int
}

// compose makes the next message to a peer.
func (s *Share) compose(p *peer) (*message, *step) {
	m := &message{life: s.life, stance: s.stance, boot: p.boot}
	st := &step{view: s.view, boot: p.boot, room: room{rowsPerMessage, partsPerMessage, bytesPerMessage}}
	s.speak(p, m, st)
	if p.boot == 0 || p.index == none {
		return m, st
	}
	for _, rs := range s.order {
		l := p.link(rs.rule.Hash)
		if l.lacks != 0 {
			continue
		}
		if st.room.full() {
			break
		}
		if p.name == s.o.Self || s.give(p, rs, l, m, st) {
			s.addParts(p, rs, l, m, st)
		}
	}
	m.done = s.finished(p, st)
	st.done = m.done
	return m, st
}

// speak adds what this island knows of the others, and of what is published.
func (s *Share) speak(p *peer, m *message, st *step) {
	s.refer(p, m, st, s.view)
	known := map[*view]int{s.view: 0}
	for _, rs := range s.order {
		m.sealed = append(m.sealed, mark{rs.rule.Hash, rs.through}) // also never: it tells the rule
		if rs.lost > never {
			m.lost = append(m.lost, mark{rs.rule.Hash, rs.lost})
		}
		for _, x := range rs.words {
			if x.view.apart && !s.view.apart || x.view.id == s.view.id && x.owner == p.name {
				continue
			}
			i, ok := known[x.view]
			if !ok && len(known) >= mostRefs {
				continue
			}
			if !ok {
				i = s.refer(p, m, st, x.view)
				known[x.view] = i
			}
			m.words = append(m.words, saying{rs.rule.Hash, i, x.owner, x.through})
		}
	}
	for name, x := range s.members {
		if name != s.o.Self && name != p.name {
			m.islands = append(m.islands, island{name, s.now - x.in, max(0, s.now-x.known)})
		}
	}
	if p.name != s.o.Self && p.name == s.view.Members[0] && s.loadView == s.view.id && s.weighed > p.loads {
		m.loadView, m.loads, p.loads = s.loadView, s.loads, s.now
	}
}

// refer adds a view to those of a message and returns its index.
func (s *Share) refer(p *peer, m *message, st *step, v *view) int {
	if id := v.plan.ident(); id != 0 && !p.plans[id] && !slices.Contains(st.plans, id) {
		m.plans = append(m.plans, v.plan)
		st.plans = append(st.plans, id)
	}
	m.views = append(m.views, viewRef{v.Members, v.apart, v.plan.ident()})
	return len(m.views) - 1
}

// give adds groups that the peer holds since not long ago, with all that is known
// of them, and reports whether it has them all then: parts follow after that.
func (s *Share) give(p *peer, rs *ruleState, l *link, m *message, st *step) bool {
	if !l.synced && !l.busy {
		l.goal, l.busy = bits{}, true
		for k := range Slots {
			if s.view.holds(p.index, k) && !l.given.has(k) {
				l.goal.set(k)
			}
		}
		for _, g := range rs.groups {
			if l.goal.has(g.slot) {
				l.giving = append(l.giving, &givenGroup{g: g})
			}
		}
	}
	if len(l.giving) == 0 && !l.busy {
		return true
	}
	x := state{rule: rs.rule}
	for _, next := range l.giving {
		if st.room.full() {
			break
		}
		g := next.state(rs, s.isThere)
		st.room.rows--
		st.room.bytes -= g.weight()
		x.groups = append(x.groups, g)
	}
	if len(x.groups) > 0 {
		m.states = append(m.states, x)
	}
	st.gives = append(st.gives, gave{l, l.resets, len(x.groups)})
	return len(x.groups) == len(l.giving)
}

// addParts adds what the peer has not got, in order.
func (s *Share) addParts(p *peer, rs *ruleState, l *link, m *message, st *step) {
	for _, waiting := range rs.pending {
		done := l.sent[waiting]
		if done == delivered {
			continue
		}
		if st.room.full() {
			return
		}
		part := s.open(waiting)
		if part == nil {
			s.m.drop("damaged", 1)
			st.parts = append(st.parts, progress{l, l.resets, waiting, delivered})
			continue
		}
		end := part.cut(s.view, p.index, done, &st.room)
		st.room.parts--
		st.room.rows--
		m.parts = append(m.parts, part)
		st.parts = append(st.parts, progress{l, l.resets, waiting, end})
		if end != delivered {
			return
		}
	}
}

// cut leaves the rows of one member from a place on, as many as there is room for,
// and returns the place after them.
func (p *part) cut(v *view, member int16, from int, left *room) int {
	rows := p.rows[:0]
	seen := 0
	for i := range p.rows {
		if !v.holds(member, slotOf(p.rule.Hash, p.rows[i].Hash)) {
			continue
		}
		if seen++; seen <= from {
			continue
		}
		if left.rows <= 0 || left.bytes <= 0 {
			p.rows, p.last = rows, false
			return from + len(rows)
		}
		left.rows--
		left.bytes -= p.rows[i].weight()
		rows = append(rows, p.rows[i])
	}
	p.rows = rows
	return delivered
}

// note what a peer has taken.
func (p *peer) note(st *step, even bool) {
	for _, id := range st.plans {
		p.plans[id] = true
	}
	for _, x := range st.gives {
		if x.l.resets != x.resets {
			continue
		}
		for _, g := range x.l.giving[:x.groups] {
			if g.then != nil {
				g.then(even)
			}
		}
		if x.l.giving = x.l.giving[x.groups:]; len(x.l.giving) == 0 && x.l.busy {
			for k := range x.l.goal {
				x.l.given[k] |= x.l.goal[k]
			}
			x.l.busy, x.l.giving, x.l.synced = false, nil, true
		}
	}
	for _, x := range st.parts {
		if x.l.resets == x.resets && !x.part.gone {
			x.l.sent[x.part] = x.rows
		}
	}
}

// rowBytes is what a row takes without sketches, roughly; sketches are the parts of
// an accumulator that can be large.
const (
	rowBytes = 64
	sketches = rule.NeedQuantile | rule.NeedUnique | rule.NeedBuckets | rule.NeedNative
)

// weight is about how many bytes an accumulator takes on the wire.
func weight(a *partial.Acc) int {
	if a == nil || a.Quant == nil && a.Unique == nil && a.Buckets == nil && a.Hist == nil {
		return rowBytes
	}
	return rowBytes + len(partial.AppendAcc(nil, sketches, 0, a))
}

func (r *row) weight() int { return weight(&r.Acc) + weight(r.total) }

func (g *stateGroup) weight() int {
	n := rowBytes
	for i := range g.counts {
		n += weight(&g.counts[i].acc)
	}
	for i := range g.claims {
		n += weight(&g.claims[i].acc)
	}
	for i := range g.left {
		n += weight(&g.left[i].acc)
	}
	return n
}
