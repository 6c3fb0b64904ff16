package share

import "slices"

// look takes the time, and the members as they are now.
func (s *Share) look(members []string) {
	s.clock()
	s.list(members)
	for name, m := range s.members {
		if m.in < s.now-forgetMember.Milliseconds() {
			delete(s.members, name)
		}
	}
	in := make([]string, 0, len(s.listed))
	for _, name := range s.listed {
		if name == s.o.Self || s.now-s.members[name].known <= outOfReach.Milliseconds() {
			in = append(in, name)
		}
	}
	if len(in) == 0 { // this island leaves, and there is nobody to leave things to
		in = append(in, s.o.Self)
		i, _ := slices.BinarySearch(s.listed, s.o.Self)
		s.listed = slices.Insert(s.listed, i, s.o.Self)
	}
	apart := len(in) < len(s.listed) && !enough(len(in), len(s.listed), slices.Contains(in, s.listed[0]))
	if v := s.view; v == nil || v.apart != apart || v.plan != s.plan || !slices.Equal(v.Members, in) {
		s.change(s.views.get(in, apart, s.plan))
	}
	s.keepPeers()
	s.agreed = since(s.agreed, s.agree(), s.now)
}

// enough reports whether n of all are more than half; or half, with the first.
func enough(n, all int, first bool) bool { return 2*n > all || 2*n == all && first }

// agree reports whether enough members are heard and have the same view as this
// one: of all that aggregate; apart from them, of those within reach.
func (s *Share) agree() bool {
	n, all, first := 0, s.listed, false
	if s.view.apart {
		all = s.view.Members
	}
	for _, name := range s.view.Members {
		m := s.members[name]
		if name == s.o.Self || m.heard > 0 && s.now-m.heard <= fresh.Milliseconds() && m.view == s.view.id {
			n++
			first = first || name == all[0]
		}
	}
	return enough(n, len(all), first)
}

// change goes over to another view.
func (s *Share) change(v *view) {
	before := s.view
	s.stirred = true
	s.view, s.self, s.agreed, s.changed = v, v.Index(s.o.Self), 0, s.now
	if !v.apart {
		s.whole = v
	}
	gone := before != nil && slices.ContainsFunc(before.Members, func(name string) bool { return v.Index(name) == none })
	for _, m := range s.members {
		m.done = m.done && !s.isIn(m) // while it is there it tells all anew
	}
	for name, p := range s.peers {
		p.change(before, v, v.Index(name))
		for _, rs := range s.order {
			if gone { // what it said of windows has to be shared out
				p.link(rs.rule.Hash).given = bits{}
			}
		}
	}
	for _, rs := range s.order {
		rs.published, rs.shown = rs.through, nil
		rs.turned = max(rs.latest, rs.newest) + 2*rs.interval()
		if before == nil && !s.recalls {
			rs.origin, rs.first = rs.turned, map[string]bool{}
			for name := range s.members {
				rs.first[name] = name != s.o.Self
			}
		}
		for _, w := range rs.windows {
			for _, c := range w.cells {
				c.unvouch()
			}
		}
	}
	s.m.changes.Inc()
}

// keepPeers has one peer for each island that aggregates: also those that are out
// of reach are spoken to.
func (s *Share) keepPeers() {
	for name := range s.peers {
		if _, in := slices.BinarySearch(s.listed, name); !in {
			s.m.forgetPeer(name)
			delete(s.peers, name)
		}
	}
	for _, name := range s.listed {
		if s.peers[name] == nil {
			s.peers[name] = newPeer(name, s.view)
		}
	}
	if self := s.peers[s.o.Self]; self != nil {
		self.boot = s.o.Start
	}
}

func since(at int64, holds bool, now int64) int64 {
	switch {
	case !holds:
		return 0
	case at == 0:
		return now
	}
	return at
}

// silent is for how long nothing was heard of a member, ms.
func (s *Share) silent(m *member) int64 { return s.now - max(m.since, m.heard) }

// isThere reports whether a source can send its parts again.
func (s *Share) isThere(x source) bool {
	if x.name == s.o.Self {
		return x.life == s.life
	}
	m := s.members[x.name]
	_, in := slices.BinarySearch(s.listed, x.name)
	return in && m.life == x.life && s.silent(m) <= 2*idle.Milliseconds()
}

// meet notes an island that others speak of: for how long it is not among those
// that aggregate, and for how long nobody heard it, ms.
func (s *Share) meet(x island) {
	if x.gone < 0 || x.gone >= forgetMember.Milliseconds() || x.quiet < 0 {
		return
	}
	m := s.members[x.name]
	if m == nil {
		m = &member{since: s.now, in: s.now - x.gone - 1, known: s.now - x.quiet}
		s.members[x.name] = m
	}
	m.known = max(m.known, s.now-x.quiet)
}
