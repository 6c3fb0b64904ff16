package share

import "math"

// reach is to where a rule is complete on this island, in one view.
type reach struct {
	view *view
	self int16
	complete
	// together is to where all slots are taken for complete, whoever is missing.
	together int64
	// most is to where nothing waits for its deputy.
	most int64
}

func (r *reach) at(slot int) int64 {
	return min(max(r.complete.at(r.view, slot), r.together), r.most)
}

// least is to where all slots of this island are complete.
func (r *reach) least() int64 {
	return min(max(r.complete.least(r.view, r.self), r.together), r.most)
}

// reach says to which window each slot of this island is complete. Where a source
// is left out, all slots go together: what this island says of them to the next
// owner is to where it published all.
func (s *Share) reach(rs *ruleState) *reach {
	r := &reach{view: s.view, self: s.self, complete: s.complete(rs, 0), together: never, most: math.MaxInt64}
	if hold := s.hold(rs.rule); s.agreed != 0 && s.now-s.agreed >= hold {
		loose := s.complete(rs, hold)
		r.together = max(loose.least(s.view, s.self), s.deadline(rs, hold))
	}
	return r
}

// deadline is the end of the newest window that is not waited for any more: it has
// been over for so long, and so long ago did the first source speak of it. So no
// clock that jumps ends the wait.
func (s *Share) deadline(rs *ruleState, hold int64) int64 {
	spoken := int64(never)
	for _, a := range rs.arrivals {
		if a.at > s.now-hold {
			break
		}
		spoken = a.end
	}
	return min(spoken, rs.rule.Window(s.wall-hold-rs.interval()))
}

// arrived notes that a source speaks of a window.
func (s *Share) arrived(rs *ruleState, end int64) {
	if end <= rs.latest && len(rs.arrivals) > 0 {
		return
	}
	rs.latest = max(rs.latest, end)
	old := 0
	for old+1 < len(rs.arrivals) && rs.arrivals[old+1].at <= s.now-s.hold(rs.rule) {
		old++
	}
	rs.arrivals = append(rs.arrivals[old:], arrival{end, s.now})
}

// complete is to where the sources delivered.
type complete struct {
	base   int64
	extra  *[Slots]int64 // instead of base; nil where it holds for all slots
	stored []int64       // by member: to where it has this island's own parts
}

func (c *complete) at(v *view, slot int) int64 {
	at := c.base
	if c.extra != nil {
		at = c.extra[slot]
	}
	if second := v.Second[slot]; second != none {
		at = min(at, c.stored[second])
	}
	return at
}

// least of the slots that a member owns.
func (c *complete) least(v *view, owner int16) int64 {
	at := int64(math.MaxInt64)
	if c.extra == nil {
		for _, d := range v.deputies[owner] {
			if at = min(at, c.base); d != none {
				at = min(at, c.stored[d])
			}
		}
		return at
	}
	for _, k := range v.own[owner] {
		at = min(at, c.at(v, int(k)))
	}
	return at
}

// complete looks at all sources; or only at those that have not been silent or
// away for longer than patience (ms), if that is not 0.
func (s *Share) complete(rs *ruleState, patience int64) complete {
	c := complete{base: math.MaxInt64, stored: make([]int64, len(s.view.Members))}
	var uneven []string
	for name, m := range s.members {
		if m.done && !s.isIn(m) {
			continue
		}
		if patience > 0 && name != s.o.Self && (s.now-m.in > patience || s.silent(m) > patience) {
			continue
		}
		at, most := int64(never), int64(never)
		for i := range rs.marks[name] {
			x := &rs.marks[name][i]
			if x.view.id == s.view.id {
				at = x.through
			}
			most = max(most, x.through)
		}
		if most > at {
			uneven = append(uneven, name)
			continue
		}
		c.base = min(c.base, at)
	}
	for i, name := range s.view.Members {
		c.stored[i] = math.MaxInt64
		if name != s.o.Self && (patience == 0 || s.silent(s.members[name]) <= patience) {
			c.stored[i] = s.peers[name].link(rs.rule.Hash).stored(rs)
		}
	}
	if len(uneven) > 0 {
		c.extra = s.uneven(rs, uneven, c.base)
	}
	return c
}

// uneven goes through sources that delivered more in another view than in the
// present one: it counts for the slots that were this island's there too. Only
// what this island owns is filled in.
func (s *Share) uneven(rs *ruleState, names []string, base int64) *[Slots]int64 {
	out, own := new([Slots]int64), s.view.own[s.self]
	for _, k := range own {
		out[k] = base
	}
	for _, name := range names {
		var best [Slots]int64
		for _, k := range own {
			best[k] = never
		}
		for _, m := range rs.marks[name] {
			self := m.view.Index(s.o.Self)
			if self == none {
				continue
			}
			for _, k := range own {
				if (m.view.First[k] == self || m.view.Second[k] == self) && m.through > best[k] {
					best[k] = m.through
				}
			}
		}
		for _, k := range own {
			out[k] = min(out[k], best[k])
		}
	}
	return out
}
