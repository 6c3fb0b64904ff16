package share

import (
	"context"
	"slices"
)

// deliver hands this island's parts to itself.
func (s *Share) deliver() {
	p := s.peers[s.o.Self]
	if p == nil { // it leaves
		return
	}
	for s.owes(p) {
		m, st := s.compose(p)
		if len(st.parts) == 0 {
			break
		}
		s.take(s.o.Self, m, s.view)
		p.note(st, true)
	}
	for _, rs := range s.order {
		p.link(rs.rule.Hash).says = rs.published
	}
}

// sendAll sends to all peers for which there is a reason to.
func (s *Share) sendAll(ctx context.Context) {
	if len(s.order) == 0 && s.now-s.spoken > outOfReach.Milliseconds() {
		return // nobody shares anything
	}
	for _, p := range s.peers {
		if p.name == s.o.Self || p.flight || s.now < p.next || ctx.Err() != nil {
			continue
		}
		silent := s.now - p.last
		asks := s.asks(p) || s.self == none && p.done != s.view
		if p.boot != 0 && silent < idle.Milliseconds() && (silent < poll.Milliseconds() || !asks) && !s.owes(p) {
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

// owes reports whether the peer has not got everything yet.
func (s *Share) owes(p *peer) bool {
	if p.index == none {
		return false
	}
	for _, rs := range s.order {
		l := p.link(rs.rule.Hash)
		if l.lacks != 0 {
			continue
		}
		if p.name != s.o.Self && (!l.synced || len(l.giving) > 0) {
			return true
		}
		for i := len(rs.pending) - 1; i >= 0; i-- { // what is new is at the end
			if l.sent[rs.pending[i]] != delivered {
				return true
			}
		}
	}
	return false
}

// asks reports whether a part waits for the peer's word.
func (s *Share) asks(p *peer) bool {
	if p.index == none {
		return false
	}
	for _, rs := range s.order {
		i := slices.IndexFunc(rs.pending, func(x *pending) bool { return !x.spare })
		if i >= 0 && p.link(rs.rule.Hash).says < rs.pending[i].end {
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
	s.clock()
	if err != nil {
		s.failed(p, err)
		return
	}
	p.pause, p.next, p.failing = 0, 0, 0
	s.members[p.name].known = s.now
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
	switch {
	case r.boot != p.boot:
		p.restart(r.boot)
		return
	case st.boot != p.boot:
		return
	case !r.taken:
		p.plans = map[uint64]bool{}
		return
	}
	s.hearRules(p, r, st)
	if st.view == s.view {
		p.note(st, r.even)
		if st.done && r.viewed {
			p.done = st.view
		}
	}
}

// hearRules learns which rules a peer has, and to where it published.
func (s *Share) hearRules(p *peer, r *reply, st *step) {
	has := make(map[uint64]bool, len(r.rules))
	for _, x := range r.rules {
		has[x.rule] = true
		rs := s.rules[x.rule]
		if rs == nil {
			continue
		}
		l := p.link(x.rule)
		switch l.birth {
		case x.birth:
		case 0:
			l.birth = x.birth
		default:
			l.reset(x.birth)
		}
		switch {
		case l.lacks != 0:
			l.lacks, l.said = 0, false
		case !r.viewed:
			rs.raise(x.through)
		case st.view == s.view:
			l.says = max(x.through, l.says)
			rs.hearWord(s.view, p.name, x.through)
		}
	}
	for _, rs := range s.order {
		if has[rs.rule.Hash] {
			continue
		}
		if l := p.link(rs.rule.Hash); l.lacks == 0 {
			lacks := s.now
			l.reset(0)
			l.lacks = lacks
		}
	}
}
