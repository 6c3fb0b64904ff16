package router

import (
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// ring says which backends get a series. It is immutable.
type ring struct {
	labels, ignore []string
	replicas       int
	backends       []place
}

type place struct {
	key    string
	hash   uint64
	window Window
}

func newRing(c Config) *ring {
	r := &ring{labels: slices.Clone(c.Labels), ignore: c.IgnoreLabels, replicas: c.Replicas}
	slices.Sort(r.labels)
	for _, b := range c.Backends {
		key := b.key()
		r.backends = append(r.backends, place{key: key, hash: xxhash.Sum64String(key), window: b.Window})
	}
	return r
}

// with returns the ring with one more backend.
func (r *ring) with(key string) *ring {
	more := *r
	more.backends = append(slices.Clone(r.backends), place{key: key, hash: xxhash.Sum64String(key)})
	return &more
}

// hash is of the labels that count, and the same in every version of this program.
func (r *ring) hash(ls labels.Labels, buf []byte) (uint64, []byte) {
	buf = buf[:0]
	ls.Range(func(l labels.Label) {
		if len(r.labels) > 0 && !slices.Contains(r.labels, l.Name) || slices.Contains(r.ignore, l.Name) {
			return
		}
		buf = append(buf, l.Name...)
		buf = append(buf, 0xff)
		buf = append(buf, l.Value...)
		buf = append(buf, 0xff)
	})
	return xxhash.Sum64(buf), buf
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable
// Pseudorandom Number Generators, 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// choose appends to dst the places of the replicas whose windows take t, highest
// weight first (rendezvous hashing: Thaler, Ravishankar, 1998). Those that were
// passed over because of their windows are given to skipped.
func (r *ring) choose(dst []int, hash uint64, t, now int64, skipped func(i int)) []int {
	var ranked [32]int
	order := ranked[:0]
	for i := range r.backends {
		order = append(order, i)
	}
	weight := func(i int) uint64 { return mix(hash ^ r.backends[i].hash) }
	for found := 0; found < r.replicas && len(order) > 0; {
		best := 0
		for k := range order {
			if weight(order[k]) > weight(order[best]) {
				best = k
			}
		}
		i := order[best]
		order[best] = order[len(order)-1]
		order = order[:len(order)-1]
		if !r.backends[i].window.takes(t, now) {
			skipped(i)
			continue
		}
		dst = append(dst, i)
		found++
	}
	return dst
}
