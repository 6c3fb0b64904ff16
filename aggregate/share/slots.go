package share

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"
)

// Slots is the number of shares that all groups are divided into.
const Slots = 4096

// slotOf is the slot of a group, the same on every island.
func slotOf(rule, group uint64) int { return int(mix(rule^mix(group)) % Slots) }

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

const none = -1

// view is who owns what, for one set of members and one plan. It is immutable.
type view struct {
	members []string // sorted
	// apart: islands that aggregate are out of reach of these, and these are not the
	// side that goes on for all.
	apart  bool
	plan   *plan  // nil: none
	id     uint64 // equal for equal members, plan and apart
	first  [Slots]int16
	second [Slots]int16 // none where there is one member
	// own are the slots of each owner, deputies those who are second in them.
	own      [][]uint16
	deputies [][]int16
}

// viewID is that of a view of sorted members.
func viewID(members []string, apart bool, plan uint64) uint64 {
	id := idOf(members) ^ plan
	if apart {
		id = mix(id)
	}
	return id
}

func newView(members []string, apart bool, p *plan) *view {
	v := &view{members: slices.Compact(slices.Sorted(slices.Values(members))), apart: apart, plan: p}
	v.id = viewID(v.members, apart, p.ident())
	hashes := make([]uint64, len(v.members))
	for i, m := range v.members {
		hashes[i] = idOf([]string{m})
	}
	for k := range Slots {
		v.first[k], v.second[k] = v.two(hashes, k)
	}
	if p != nil {
		for _, x := range p.moves {
			v.move(int(x.slot), v.index(x.first), v.index(x.second))
		}
	}
	v.own, v.deputies = make([][]uint16, len(v.members)), make([][]int16, len(v.members))
	for k := range Slots {
		v.own[v.first[k]] = append(v.own[v.first[k]], uint16(k))
		if d := &v.deputies[v.first[k]]; !slices.Contains(*d, v.second[k]) {
			*d = append(*d, v.second[k])
		}
	}
	return v
}

// move puts those in front whom a plan names, as far as they are there.
func (v *view) move(slot int, first, second int16) {
	for _, m := range []int16{second, first} {
		switch m {
		case none, v.first[slot]:
		default:
			v.first[slot], v.second[slot] = m, v.first[slot]
		}
	}
}

func idOf(members []string) uint64 {
	h := fnv.New64a()
	var size [binary.MaxVarintLen64]byte
	for _, m := range members {
		_, _ = h.Write(size[:binary.PutUvarint(size[:], uint64(len(m)))])
		_, _ = h.Write([]byte(m))
	}
	return h.Sum64()
}

// two are the members of the highest weights for a slot.
func (v *view) two(hashes []uint64, slot int) (first, second int16) {
	first, second = none, none
	var w1, w2 uint64
	salt := mix(uint64(slot))
	for i, h := range hashes {
		w := mix(h ^ salt)
		switch {
		case first == none || w > w1:
			first, second, w1, w2 = int16(i), first, w, w1
		case second == none || w > w2:
			second, w2 = int16(i), w
		}
	}
	return first, second
}

// index of a member; none for one that is not in the view.
func (v *view) index(member string) int16 {
	i, found := slices.BinarySearchFunc(v.members, member, strings.Compare)
	if !found {
		return none
	}
	return int16(i)
}

// holds reports whether the member with an index is owner or deputy of a slot.
func (v *view) holds(member int16, slot int) bool {
	return member != none && (v.first[slot] == member || v.second[slot] == member)
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
		if v.id == id && slices.Equal(v.members, sorted) {
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
