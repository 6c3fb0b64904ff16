package discover

import (
	"cmp"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Member is one of the roster, but self, as the keeper needs it.
type Member struct {
	ID   peer.ID
	Name string
	// Region as its labels say; empty is a region of its own kind.
	Region string
}

// choose returns whom self should connect to, at most n members, out of others:
//
//   - its successors on the ring of all keys' hashes: rings hold the graph
//     together whatever else is chosen;
//   - one member of as many other regions as fit, and one of its own;
//   - those with the highest score of the pair (rendezvous hashing, Thaler and
//     Ravishankar 1998), a score that both ends compute alike and that others'
//     coming and going does not change;
//   - one by the process' own seed, so that no two starts have the same weakness.
//
// All parts depend on the pair alone, so that a member that joins displaces at
// most one choice of few islands.
//
// It takes one walk and keeps no copy: a network has thousands, and is walked again
// for each neighbour.
func choose(self peer.ID, region string, others iter.Seq[Member], n int, seed maphash.Seed) []peer.ID {
	origin := hash(self)
	next, own := best{room: 1 + n/8}, best{room: 2 + n/8}
	lot, byPair := best{room: 1}, best{room: n}
	far := map[string]scored{} // the best of each other region
	for m := range others {
		h := hash(m.ID)
		pair := scored{pairScore(origin, h), m.ID}
		byPair.offer(pair)
		next.offer(scored{^(place(h) - place(origin)), m.ID}) // the distance wraps by itself
		lot.offer(scored{maphash.String(seed, string(m.ID)), m.ID})
		if m.Region == region {
			own.offer(pair)
		} else if held, ok := far[m.Region]; !ok || byScore(pair, held) < 0 {
			far[m.Region] = pair
		}
	}
	c := chooser{taken: map[peer.ID]bool{}, n: n}
	c.add(next.list...)
	room := max(1, (n-2)/2)
	if c.first(own.list) {
		room--
	}
	regions := slices.SortedFunc(maps.Values(far), byScore)
	c.add(regions[:min(room, len(regions))]...)
	c.add(lot.list...)
	c.add(byPair.list...)
	return c.out
}

type scored struct {
	score uint64
	id    peer.ID
}

// byScore orders by falling score; which comes first in a tie is the key's matter.
func byScore(a, b scored) int {
	return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(string(a.id), string(b.id)))
}

// best keeps those with the highest scores.
type best struct {
	room int
	list []scored
}

func (b *best) offer(s scored) {
	i, _ := slices.BinarySearchFunc(b.list, s, byScore)
	if i == b.room {
		return
	}
	if len(b.list) == b.room {
		b.list = b.list[:b.room-1]
	}
	b.list = slices.Insert(b.list, i, s)
}

type chooser struct {
	n     int
	taken map[peer.ID]bool
	out   []peer.ID
}

// add takes all of a list for whom there is room.
func (c *chooser) add(list ...scored) {
	for _, s := range list {
		if len(c.out) < c.n && !c.taken[s.id] {
			c.taken[s.id] = true
			c.out = append(c.out, s.id)
		}
	}
}

// first takes the first of a list that is not taken yet, and reports whether there was one.
func (c *chooser) first(list []scored) bool {
	for _, s := range list {
		if !c.taken[s.id] {
			c.add(s)
			return true
		}
	}
	return false
}

// place is a key's on the ring, by its hash.
func place(hash uint64) uint64 { return mix(hash ^ 0x72696e67) } // "ring"

// pairScore is the same from both ends, given both keys' hashes.
func pairScore(a, b uint64) uint64 { return mix(a + b) }

// hash is FNV-1a, the same on every island; a member that grinds keys for a place
// gains neighbours, which gives it nothing but their traffic.
func hash(p peer.ID) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(p) {
		h = (h ^ uint64(p[i])) * 1099511628211
	}
	return h
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
