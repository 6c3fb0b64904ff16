// Package slots divides work among islands: which of them has which of 4096 slots.
//
// In: the names of those that take part. Out: for each slot the first and the second
// by rendezvous hashing (Thaler and Ravishankar, 1998): an island that comes or goes
// moves only its own share.
package slots

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"
)

// Count is the number of slots.
const Count = 4096

// None is the index of no member.
const None = -1

// Of is the slot of a hash, the same on every island.
func Of(hash uint64) int { return int(Mix(hash) % Count) }

// Mix is the finalizer of SplitMix64 (Steele, Lea, Flood, 2014).
func Mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// View is who has what, for one set of members. It is immutable.
type View struct {
	Members []string // sorted
	ID      uint64   // equal for equal members
	First   [Count]int16
	Second  [Count]int16 // None where there is one member
}

// New makes the view of members, in any order.
func New(members []string) *View {
	v := &View{Members: slices.Compact(slices.Sorted(slices.Values(members)))}
	v.ID = Name(v.Members...)
	hashes := make([]uint64, len(v.Members))
	for i, m := range v.Members {
		hashes[i] = Name(m)
	}
	for k := range Count {
		v.First[k], v.Second[k] = two(hashes, k)
	}
	return v
}

// Name is a hash of names.
func Name(members ...string) uint64 {
	h := fnv.New64a()
	var size [binary.MaxVarintLen64]byte
	for _, m := range members {
		_, _ = h.Write(size[:binary.PutUvarint(size[:], uint64(len(m)))])
		_, _ = h.Write([]byte(m))
	}
	return h.Sum64()
}

// two are the members of the highest weights for a slot.
func two(hashes []uint64, slot int) (first, second int16) {
	first, second = None, None
	var w1, w2 uint64
	salt := Mix(uint64(slot))
	for i, h := range hashes {
		w := Mix(h ^ salt)
		switch {
		case first == None || w > w1:
			first, second, w1, w2 = int16(i), first, w, w1
		case second == None || w > w2:
			second, w2 = int16(i), w
		}
	}
	return first, second
}

// Index of a member; None for one that is not in the view.
func (v *View) Index(member string) int16 {
	i, found := slices.BinarySearchFunc(v.Members, member, strings.Compare)
	if !found {
		return None
	}
	return int16(i)
}
