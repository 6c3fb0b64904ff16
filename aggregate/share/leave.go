package share

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// stance is where an island stands: it is one of those that aggregate, or is about
// to leave them. Of two that one says the later holds, so that messages may come
// in any order.
type stance struct {
	start uint64 // of the island
	turn  uint64 // odd while it leaves
}

func (x stance) leaving() bool { return x.turn%2 == 1 }

func (x stance) compare(o stance) int {
	return cmp.Or(cmp.Compare(x.start, o.start), cmp.Compare(x.turn, o.turn))
}

// lookEvery is how often a leaving island looks whether the others have all.
const lookEvery = 50 * time.Millisecond

// Leave hands over what this island has, so that it can go without a loss: from now
// on it owns no group, and the others know that; it returns when they have all parts
// that were pushed before and the totals of all groups. Where ctx ends before, the
// error says who lacks what. It needs Run. Afterwards nothing may be pushed until
// Stay takes it back.
func (s *Share) Leave(ctx context.Context) error {
	s.mu.Lock()
	if !s.stance.leaving() {
		s.stance.turn++
	}
	s.mu.Unlock()
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		s.signal()
		select {
		case <-ctx.Done():
		case <-ticks.C:
		}
		lack := s.lack()
		if len(lack) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("hand windows over to the other islands: %s: %w", strings.Join(lack, ", "), ctx.Err())
		}
	}
}

// Stay ends what Leave began: the island owns its share again.
func (s *Share) Stay() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stance.leaving() {
		s.stance.turn++
	}
	s.signal()
}

// lack says who has not got everything, if this island leaves.
func (s *Share) lack() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.order) == 0:
		return nil
	case s.view == nil:
		return []string{"sharing has not begun"}
	case len(s.listed) == 1 && s.listed[0] == s.o.Self: // the last one has nobody to hand over to
		return nil
	case s.self != none:
		return []string{"no other island is within reach"}
	case s.decided != nil:
		return []string{"the store has not taken all results"}
	}
	for _, name := range s.listed {
		if p := s.peers[name]; p == nil || p.index != none && p.done != s.view {
			all = append(all, name+" has not taken all")
		}
	}
	return all
}

// finished reports whether a peer has all once it has taken a message.
func (s *Share) finished(p *peer, st *step) bool {
	if !s.stance.leaving() || s.self != none || p.boot == 0 || p.index == none || s.spilled > 0 {
		return false
	}
	for _, rs := range s.order {
		l := p.link(rs.rule.Hash)
		if l.lacks != 0 {
			continue
		}
		if !l.synced && !st.givesAll(l) {
			return false
		}
		for _, part := range rs.pending {
			if l.sent[part] != delivered && !st.sendsAll(l, part) {
				return false
			}
		}
	}
	return true
}

func (st *step) givesAll(l *link) bool {
	return slices.ContainsFunc(st.gives, func(x gave) bool { return x.l == l && x.groups == len(l.giving) })
}

func (st *step) sendsAll(l *link, part *pending) bool {
	return slices.ContainsFunc(st.parts, func(x progress) bool { return x.l == l && x.part == part && x.rows == delivered })
}

// list notes who aggregates: those that are about to leave own nothing any more.
func (s *Share) list(members []string) {
	s.listed = append(append(s.listed[:0], members...), s.o.Self)
	slices.Sort(s.listed)
	s.listed = slices.Compact(s.listed)
	s.looked = s.now
	for _, name := range s.listed {
		m := s.members[name]
		if m == nil || m.in < s.now-forgetMember.Milliseconds() {
			m = &member{since: s.now, known: s.now}
			s.members[name] = m
		}
		m.in = s.now
		m.done = m.done && m.stance.leaving()
	}
	s.listed = slices.DeleteFunc(s.listed, func(name string) bool {
		if name == s.o.Self {
			return s.stance.leaving()
		}
		return s.members[name].stance.leaving()
	})
}

// isIn reports whether an island is one of those that aggregate, be it about to leave:
// it may decide to stay.
func (s *Share) isIn(m *member) bool { return m.in == s.looked }

// hearStance notes whether an island is about to leave. Where it says that this one
// has all, that is so in the view that it speaks of.
func (s *Share) hearStance(m *member, x stance, done bool) {
	switch m.stance.compare(x) {
	case 1:
		return
	case -1:
		m.done = false
		s.signal()
	}
	m.stance = x
	m.done = m.done || done
}
