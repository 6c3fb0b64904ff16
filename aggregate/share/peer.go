package share

import (
	"context"
	"slices"
	"time"
)

// delivered is the progress of a part of which nothing is left to send.
const delivered = -1

// Bounds of one message; a part of more rows goes in several.
const (
	rowsPerMessage  = 2048
	partsPerMessage = 256
)

// peer is a member as one to send to, also this island itself.
type peer struct {
	name  string
	index int16
	owner bool   // of any slot
	boot  uint64 // its start; 0: not known yet
	given bits   // slots of which it has all totals that this island knew
	// giving are the groups whose totals are being sent, and the slots they are of.
	giving  []*givenGroup
	goal    bits
	busy    bool
	synced  bool             // given is all that it holds
	sent    map[*pending]int // rows delivered
	says    map[uint64]int64 // per rule: all windows to here are published by it
	refused map[uint64]int64 // per rule: it did not know the rule, at this time
	flight  bool
	last    int64 // when it was last sent to, Unix ms
	next    int64 // not before, Unix ms
	pause   time.Duration
	failing int64 // since when nothing gets through, Unix ms; 0: all is well
}

type givenGroup struct {
	rs *ruleState
	g  *group
}

func newPeer(name string, v *view) *peer {
	index := v.index(name)
	return &peer{
		name: name, index: index, owner: slices.Contains(v.first[:], index), sent: map[*pending]int{}, says: map[uint64]int64{}, refused: map[uint64]int64{},
	}
}

// change goes over to another view: everything is sent again, and what a peer says
// holds for the slots that it owned.
func (p *peer) change(before, v *view, index int16) {
	old := p.index
	p.owner = slices.Contains(v.first[:], index)
	p.index, p.sent, p.says = index, map[*pending]int{}, map[uint64]int64{}
	p.giving, p.busy, p.synced = nil, false, false
	var keep bits
	for k := range Slots {
		if p.given.has(k) && before.holds(old, k) && v.holds(index, k) {
			keep.set(k)
		}
	}
	p.given = keep
}

// restart begins anew with a peer that has.
func (p *peer) restart(boot uint64) {
	p.boot, p.given, p.giving, p.busy, p.synced = boot, bits{}, nil, false, false
	p.sent, p.refused = map[*pending]int{}, map[uint64]int64{}
}

func (p *peer) publishedTo(rule uint64) int64 {
	if at, ok := p.says[rule]; ok {
		return at
	}
	return never
}

// stored is the end of the newest window of this island that a peer has all of.
func (p *peer) stored(rs *ruleState) int64 {
	for _, part := range rs.pending {
		if !part.late && p.sent[part] != delivered {
			return part.end - 1
		}
	}
	return rs.offered
}

// step is what one message carries, to be noted when it was taken.
type step struct {
	view   *view
	boot   uint64
	groups int
	gave   bool
	parts  []progress
}

type progress struct {
	part *pending
	rows int
}

// compose makes the next message to a peer.
func (s *Share) compose(p *peer) (*message, *step) {
	m := &message{life: s.life, boot: p.boot, members: s.view.members}
	st := &step{view: s.view, boot: p.boot}
	for _, rs := range s.order {
		if rs.through > never {
			m.sealed = append(m.sealed, mark{rs.rule.Hash, rs.through})
		}
		for _, x := range rs.words {
			if x.view != s.view || x.owner != p.name {
				m.words = append(m.words, saying{rs.rule.Hash, x.view.members, x.owner, x.through})
			}
		}
	}
	for name, x := range s.members {
		if x.in < s.now {
			m.away = append(m.away, away{name, s.now - x.in})
		}
	}
	if p.boot == 0 {
		return m, st
	}
	s.give(p, m, st)
	if !p.busy || st.gave {
		s.addParts(p, m, st)
	}
	return m, st
}

// give adds totals of groups that the peer holds since not long ago. Parts follow
// when it has them all.
func (s *Share) give(p *peer, m *message, st *step) {
	if p.name == s.o.Self || p.synced {
		return
	}
	if !p.busy {
		var need bits
		missing := false
		for k := range Slots {
			if s.view.holds(p.index, k) && !p.given.has(k) {
				need.set(k)
				missing = true
			}
		}
		if p.synced = !missing; p.synced {
			return
		}
		p.goal, p.busy, p.giving = need, true, nil
		for _, rs := range s.order {
			for _, g := range rs.groups {
				if need.has(g.slot) {
					p.giving = append(p.giving, &givenGroup{rs, g})
				}
			}
		}
	}
	st.groups = min(len(p.giving), rowsPerMessage)
	for _, x := range p.giving[:st.groups] {
		if n := len(m.states); n == 0 || m.states[n-1].rule != x.rs.rule {
			m.states = append(m.states, state{rule: x.rs.rule})
		}
		last := &m.states[len(m.states)-1]
		last.groups = append(last.groups, stateGroup{labels: x.g.labels, counts: x.g.counts})
	}
	st.gave = st.groups == len(p.giving)
}

// addParts adds what the peer has not got, in order.
func (s *Share) addParts(p *peer, m *message, st *step) {
	left := rowsPerMessage - st.groups
	for _, rs := range s.order {
		if at, ok := p.refused[rs.rule.Hash]; ok && s.now-at < settleTime.Milliseconds() {
			continue
		}
		for _, waiting := range rs.pending {
			done := p.sent[waiting]
			if done == delivered {
				continue
			}
			if left <= 0 || len(st.parts) >= partsPerMessage {
				return
			}
			part := s.open(waiting)
			if part == nil {
				s.m.drop("damaged", 1)
				st.parts = append(st.parts, progress{waiting, delivered})
				continue
			}
			end := part.cut(s.view, p.index, done, left)
			left -= len(part.rows) + 1
			m.parts = append(m.parts, part)
			st.parts = append(st.parts, progress{waiting, end})
			if end != delivered {
				return
			}
		}
	}
}

// cut leaves the rows of one member from a place on, at most so many, and returns
// the place after them.
func (p *part) cut(v *view, member int16, from, most int) int {
	rows := p.rows[:0]
	seen := 0
	for i := range p.rows {
		if !v.holds(member, slotOf(p.rule.Hash, p.rows[i].Hash)) {
			continue
		}
		if seen++; seen <= from {
			continue
		}
		if len(rows) == most {
			p.rows, p.last = rows, false
			return from + most
		}
		rows = append(rows, p.rows[i])
	}
	p.rows = rows
	return delivered
}

// deliver hands this island's parts to itself.
func (s *Share) deliver() {
	p := s.peers[s.o.Self]
	for {
		m, st := s.compose(p)
		if len(st.parts) == 0 {
			break
		}
		s.take(s.o.Self, m)
		p.note(st)
	}
	for _, rs := range s.order {
		p.says[rs.rule.Hash] = rs.published
	}
}

// note what a peer has taken.
func (p *peer) note(st *step) {
	if st.groups > 0 {
		p.giving = p.giving[st.groups:]
	}
	if st.gave {
		for k := range p.goal {
			p.given[k] |= p.goal[k]
		}
		p.busy, p.giving, p.synced = false, nil, true
	}
	for _, x := range st.parts {
		if !x.part.gone {
			p.sent[x.part] = x.rows
		}
	}
}

// sendAll sends to all peers for which there is a reason to.
func (s *Share) sendAll(ctx context.Context) {
	for _, p := range s.peers {
		if p.name == s.o.Self || p.flight || s.now < p.next || ctx.Err() != nil {
			continue
		}
		silent := s.now - p.last
		if p.boot != 0 && p.synced && !s.owes(p) && silent < idle.Milliseconds() && (silent < poll.Milliseconds() || !s.asks(p)) {
			continue
		}
		m, st := s.compose(p)
		p.flight, p.last = true, s.now
		data := s.codec.pack(m.append(nil))
		s.m.sentBytes.Add(float64(len(data)))
		s.sends.Add(1)
		go s.send(ctx, p, data, st)
	}
}

// owes reports whether the peer has not got all parts yet.
func (s *Share) owes(p *peer) bool {
	for _, rs := range s.order {
		if at, ok := p.refused[rs.rule.Hash]; ok && s.now-at < settleTime.Milliseconds() {
			continue
		}
		for _, waiting := range rs.pending {
			if p.sent[waiting] != delivered {
				return true
			}
		}
	}
	return false
}

// asks reports whether a part waits for the peer's word.
func (s *Share) asks(p *peer) bool {
	for _, rs := range s.order {
		if len(rs.pending) > 0 && p.publishedTo(rs.rule.Hash) < rs.pending[0].end {
			return true
		}
	}
	return false
}

func (s *Share) send(ctx context.Context, p *peer, data []byte, st *step) {
	defer s.sends.Done()
	limited, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	answer, err := s.o.Transport.Send(limited, p.name, data)
	var r *reply
	if err == nil {
		r, err = s.readReply(answer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.flight = false
	if s.peers[p.name] != p || ctx.Err() != nil {
		return
	}
	if err != nil {
		s.failed(p, err)
		return
	}
	p.pause, p.next, p.failing = 0, 0, 0
	s.m.messages.WithLabelValues("delivered").Inc()
	s.answered(p, r, st)
	s.signal()
}

func (s *Share) readReply(answer []byte) (*reply, error) {
	b, err := s.codec.unpack(answer)
	if err != nil {
		return nil, err
	}
	return decodeReply(b)
}

func (s *Share) failed(p *peer, err error) {
	s.m.messages.WithLabelValues("failed").Inc()
	if p.failing == 0 {
		p.failing = s.now
		s.log.Debug("an island is not reached; its parts wait", "member", p.name, "err", err)
	}
	p.pause = min(max(2*p.pause, leastPause), mostPause)
	p.next = s.now + p.pause.Milliseconds()
}

// answered notes what a peer said to a message.
func (s *Share) answered(p *peer, r *reply, st *step) {
	s.stirred = true
	if r.boot != p.boot {
		p.restart(r.boot)
		return
	}
	if !r.taken || st.boot != p.boot {
		return
	}
	for _, x := range r.published {
		rs := s.rules[x.rule]
		switch {
		case rs == nil:
		case !r.viewed:
			rs.raise(x.through)
		case st.view == s.view:
			p.says[x.rule] = max(x.through, p.publishedTo(x.rule))
			rs.hearWord(s.view, p.name, x.through)
		}
	}
	if st.view != s.view {
		return
	}
	for _, hash := range r.unknown {
		p.refused[hash] = s.now
		s.m.messages.WithLabelValues("unknown_rule").Inc()
	}
	st.parts = without(st.parts, r.unknown)
	p.note(st)
}

// without leaves out the parts of rules that the receiver did not know.
func without(all []progress, unknown []uint64) []progress {
	if len(unknown) == 0 {
		return all
	}
	var out []progress
next:
	for _, x := range all {
		for _, hash := range unknown {
			if x.part.rs.rule.Hash == hash {
				continue next
			}
		}
		out = append(out, x)
	}
	return out
}
