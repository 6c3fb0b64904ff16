package share

import (
	"cmp"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// fixed is what is about to be published of a cell.
type fixed struct {
	acc      partial.Acc
	version  uint64 // of the cell
	revision uint32
}

// vouch is how far an owner is with having its deputy know what is about to be
// published of a cell, in the present view.
type vouch struct {
	since int64  // since when that is wanted; 0: it is not
	asked int64  // when the deputy was told last; 0: it is to be told
	boot  uint64 // the start of the deputy that knows it; 0: none
}

// vouched fixes what is published next of a cell of which an owner to come may have
// other parts than this island, since no mark says that those who hold it have the
// same; and reports whether its deputy knows it. So whoever is next publishes no other
// value of it and no lower revision.
//
// A deputy vouches as long as it has the same view, and once this island has all that
// it knew when it went over to that: so of two that take themselves for the owner only
// one publishes, and has what the other one did. A deputy that does not answer is not
// waited for longer than a source, where most agree on the view.
func (s *Share) vouched(rs *ruleState, w *window, c *cell) bool {
	if c.claim == nil {
		acc := rs.combined(c)
		c.claim = &fixed{acc.Clone(), c.version, c.revision()}
	}
	second, v := s.view.Second[c.slot], &c.vouch
	if second == none {
		return true
	}
	p := s.peers[s.view.Members[second]]
	if v.boot != 0 && v.boot == p.boot {
		return true
	}
	v.since = cmp.Or(v.since, s.now)
	if s.agreed != 0 && s.now-max(v.since, s.agreed) >= s.hold(rs.rule) {
		return true
	}
	if v.asked == 0 || s.now-v.asked >= settleTime.Milliseconds() {
		v.asked, c.corrected = s.now, c.corrected || c.published
		x := c.claim
		s.tell(rs, w, c, second, func(even bool) {
			switch {
			case c.claim != x:
			case even:
				v.boot = p.boot
			default: // it has another view, for now
				v.asked = s.now - (settleTime - poll).Milliseconds()
			}
		})
	}
	return false
}

// unvouch begins anew, in another view. A correction may be old by the time that
// this island owns it again.
func (c *cell) unvouch() {
	if c.vouch = (vouch{}); c.published {
		c.claim = nil
	}
}

// tell gives a group of a window to another member anew; then is told whether that
// vouches.
func (s *Share) tell(rs *ruleState, w *window, c *cell, to int16, then func(even bool)) {
	g := rs.groups[string(rs.key(c.labels))]
	if to == none || g == nil {
		return
	}
	l := s.peers[s.view.Members[to]].link(rs.rule.Hash)
	l.giving = append(l.giving, &givenGroup{g, w, func(even bool) {
		s.stirred = true
		then(even)
	}})
}
