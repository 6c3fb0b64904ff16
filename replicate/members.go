package replicate

import (
	"hash/fnv"
)

// Member is an island that can hold a copy.
type Member struct {
	// ID stays when the island's key or name changes.
	ID     string
	Name   string
	Role   string
	Labels map[string]string
	// Lost says that the network holds the island for lost.
	Lost bool
}

// region is the label by which buddies are chosen from afar.
const region = "region"

// receivers are the members that a stream goes to.
func (s Stream) receivers(self Member, others []Member) []Member {
	if s.Buddy == BuddyAuto {
		if m, ok := buddy(self, others); ok {
			return []Member{m}
		}
		return nil
	}
	var out []Member
	for _, m := range others {
		for _, text := range s.To {
			if r, err := parseReceiver(text); err == nil && r.fits(m) {
				out = append(out, m)
				break
			}
		}
	}
	return out
}

// buddy is the first by rendezvous of the members that are not lost: of those in
// other regions, or of all where there is none.
func buddy(self Member, others []Member) (best Member, ok bool) {
	weight, far := uint64(0), false
	for _, m := range others {
		if m.Lost {
			continue
		}
		f := m.Labels[region] != self.Labels[region]
		h := fnv.New64a()
		_, _ = h.Write([]byte(self.ID + "\x00" + m.ID)) // never fails
		w := mix(h.Sum64())
		if !ok || f && !far || f == far && (w > weight || w == weight && m.ID < best.ID) {
			best, weight, far, ok = m, w, f, true
		}
	}
	return best, ok
}

// mix spreads the bits of a hash whose inputs differ little (splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
