package share

import (
	"cmp"
	"slices"
	"strings"

	"github.com/atoll-mesh/atoll/aggregate/slots"
)

// Slots is the number of shares that all groups are divided into.
const Slots = slots.Count

// slotOf is the slot of a group, the same on every island.
func slotOf(rule, group uint64) int { return slots.Of(rule ^ slots.Mix(group)) }

const none = slots.None

// view is who owns what, for one set of members and one plan: the first of a slot is
// its owner, the second its deputy. It is immutable.
type view struct {
	slots.View
	// apart: islands that aggregate are out of reach of these, and these are not the
	// side that goes on for all.
	apart bool
	plan  *plan  // nil: none
	id    uint64 // equal for equal members, plan and apart
	// own are the slots of each owner, deputies those who are second in them.
	own      [][]uint16
	deputies [][]int16
}

// viewID is that of a view of sorted members.
func viewID(members []string, apart bool, plan uint64) uint64 {
	id := slots.Name(members...) ^ plan
	if apart {
		id = slots.Mix(id)
	}
	return id
}

func newView(members []string, apart bool, p *plan) *view {
	v := &view{View: *slots.New(members), apart: apart, plan: p}
	v.id = viewID(v.Members, apart, p.ident())
	if p != nil {
		for _, x := range p.moves {
			v.move(int(x.slot), v.Index(x.first), v.Index(x.second))
		}
	}
	v.own, v.deputies = make([][]uint16, len(v.Members)), make([][]int16, len(v.Members))
	for k := range Slots {
		v.own[v.First[k]] = append(v.own[v.First[k]], uint16(k))
		if d := &v.deputies[v.First[k]]; !slices.Contains(*d, v.Second[k]) {
			*d = append(*d, v.Second[k])
		}
	}
	return v
}

// move puts those in front whom a plan names, as far as they are there.
func (v *view) move(slot int, first, second int16) {
	for _, m := range []int16{second, first} {
		switch m {
		case none, v.First[slot]:
		default:
			v.First[slot], v.Second[slot] = m, v.First[slot]
		}
	}
}

// holds reports whether the member with an index is owner or deputy of a slot.
func (v *view) holds(member int16, slot int) bool {
	return member != none && (v.First[slot] == member || v.Second[slot] == member)
}

// owns reports whether the member with an index owns any slot.
func (v *view) owns(member int16) bool { return member != none && len(v.deputies[member]) > 0 }

// views remembers those in use: each costs time to make.
type views struct {
	recent []*view
}

const mostViews = 8

// get finds or makes the view of sorted members, each there once.
func (vs *views) get(sorted []string, apart bool, p *plan) *view {
	id := viewID(sorted, apart, p.ident())
	for i, v := range vs.recent {
		if v.id == id && slices.Equal(v.Members, sorted) {
			copy(vs.recent[1:i+1], vs.recent[:i])
			vs.recent[0] = v
			return v
		}
	}
	v := newView(sorted, apart, p)
	vs.recent = slices.Insert(vs.recent, 0, v)
	vs.recent = vs.recent[:min(len(vs.recent), mostViews)]
	return v
}

// bits is one bit per slot.
type bits [Slots / 64]uint64

func (b *bits) has(slot int) bool { return b[slot/64]&(1<<(slot%64)) != 0 }
func (b *bits) set(slot int)      { b[slot/64] |= 1 << (slot % 64) }

// source is one island in one life: it begins another one when it lost its state.
type source struct {
	name string
	life uint64
}

func (s source) compare(o source) int {
	return cmp.Or(strings.Compare(s.name, o.name), cmp.Compare(s.life, o.life))
}
