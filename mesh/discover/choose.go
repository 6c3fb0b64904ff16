package discover

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Member is one of the roster, but self, as the keeper needs it.
type Member struct {
	ID   peer.ID
	Name string
	// Region as its labels say; empty is a region of its own kind.
	Region string
	// Addrs that its documents name.
	Addrs []ma.Multiaddr
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
func choose(self peer.ID, region string, others []Member, n int, seed maphash.Seed) []peer.ID {
	if len(others) <= n {
		out := make([]peer.ID, 0, len(others))
		for _, m := range others {
			out = append(out, m.ID)
		}
		return out
	}
	c := chooser{taken: map[peer.ID]bool{}, n: n}
	c.add(successors(self, others, 1+n/8)...)
	byPair := ranked(others, func(p peer.ID) uint64 { return pairScore(self, p) })
	c.regions(region, byPair, max(1, (n-2)/2))
	c.add(ranked(others, func(p peer.ID) uint64 { return maphash.String(seed, string(p)) })[0].ID)
	for _, m := range byPair {
		c.add(m.ID)
	}
	return c.out
}

// ranked sorts by falling score; which score comes first in a tie is the key's matter.
func ranked(list []Member, score func(peer.ID) uint64) []Member {
	type scored struct {
		score uint64
		at    int
	}
	order := make([]scored, len(list))
	for i, m := range list {
		order[i] = scored{score(m.ID), i}
	}
	slices.SortFunc(order, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(string(list[a.at].ID), string(list[b.at].ID)))
	})
	out := make([]Member, len(list))
	for i, o := range order {
		out[i] = list[o.at]
	}
	return out
}

type chooser struct {
	n     int
	taken map[peer.ID]bool
	out   []peer.ID
}

func (c *chooser) add(ids ...peer.ID) {
	for _, id := range ids {
		if len(c.out) < c.n && !c.taken[id] {
			c.taken[id] = true
			c.out = append(c.out, id)
		}
	}
}

// regions takes the best of own region first, then of up to room-1 others.
func (c *chooser) regions(own string, byPair []Member, room int) {
	seen := map[string]bool{}
	for _, m := range byPair {
		if m.Region == own && !c.taken[m.ID] {
			c.add(m.ID)
			seen[own] = true
			room--
			break
		}
	}
	for _, m := range byPair {
		if room > 0 && m.Region != own && !seen[m.Region] {
			seen[m.Region] = true
			c.add(m.ID)
			room--
		}
	}
}

// successors are those whose hashes follow self's, wrapping around.
func successors(self peer.ID, list []Member, n int) []peer.ID {
	type at struct {
		place uint64
		id    peer.ID
	}
	origin := place(self)
	ring := make([]at, 0, len(list))
	for _, m := range list {
		ring = append(ring, at{place(m.ID) - origin, m.ID}) // distance; wraps by itself
	}
	slices.SortFunc(ring, func(a, b at) int { return cmp.Compare(a.place, b.place) })
	var out []peer.ID
	for _, a := range ring[:min(n, len(ring))] {
		out = append(out, a.id)
	}
	return out
}

func place(p peer.ID) uint64 { return mix(hash(p) ^ 0x72696e67) } // "ring"

// pairScore is the same from both ends.
func pairScore(a, b peer.ID) uint64 { return mix(hash(a) + hash(b)) }

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
