package columnar

import "slices"

// none marks the place of a member that left.
const none = ^uint32(0)

// group is series that are mostly sampled at the same time. Both sides keep equal
// groups.
type group struct {
	members []uint32 // refs by place
	live    int
	last    int64 // time of the newest row
	step    int64 // between the newest two
}

// join adds a series and gives its place.
func (g *group) join(ref uint32) uint32 {
	g.members = append(g.members, ref)
	g.live++
	return uint32(len(g.members) - 1)
}

// leave empties a place.
func (g *group) leave(place uint32) {
	g.members[place] = none
	g.live--
}

// tidy closes ranks when most places are empty, and says whether places changed.
func (g *group) tidy() bool {
	if len(g.members) < 16 || g.live*2 > len(g.members) {
		return false
	}
	g.members = slices.DeleteFunc(g.members, func(m uint32) bool { return m == none })
	if cap(g.members) > 4*len(g.members) {
		g.members = slices.Clip(slices.Clone(g.members))
	}
	return true
}

// expected is when the group's next row is due.
func (g *group) expected() int64 { return g.last + g.step }

func (g *group) advance(t int64) { g.last, g.step = t, t-g.last }

// sum is a digest of values: a decoder whose state differs from the encoder's
// finds it out by it.
type sum uint64

func (s *sum) add(x uint64) {
	const odd = 0x9e3779b97f4a7c15
	v := (uint64(*s) ^ x) * odd
	*s = sum(v ^ v>>29)
}

func (s *sum) sample(p *Sample, bits uint64) {
	s.add(bits + uint64(p.T) + uint64(p.Ref)<<40)
	if p.ST != 0 {
		s.add(uint64(p.ST))
	}
}
