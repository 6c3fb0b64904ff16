package dimension

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// countFor is how long a count of series serves for ranking: values keep their
// rank so long, and counting stays rare.
const countFor = 10 * time.Minute

// owner returns which member evaluates a value: the one with the highest hash
// of rule, value and itself, so that a member that leaves moves only its share.
// (Highest random weight hashing, Thaler and Ravishankar, 1998.)
func owner(rule, key string, members []string) string {
	best, highest := "", uint64(0)
	for _, m := range members {
		h := weigh(rule, key, m)
		if best == "" || h > highest || h == highest && m < best {
			best, highest = m, h
		}
	}
	return best
}

// weigh hashes its parts: FNV-1a, whose low bits are mixed into the high ones
// by the finalizer of splitmix64. Every island must agree on it.
func weigh(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, p := range parts {
		for i := 0; i < len(p); i++ {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// ranking keeps the values with the most series where there are too many.
// It is not for concurrent use.
type ranking struct {
	source source
	counts map[string]counted
}

type counted struct {
	series int
	at     time.Time
}

// LeftOut is a value that has no rule because of the cap.
type LeftOut struct {
	// Value reads like {service="cart"}.
	Value string
	// Series is how many series it has.
	Series int
}

// choose returns at most the cap's number of values, and the others, smallest first.
func (r *ranking) choose(ctx context.Context, now time.Time, values map[string]value) (map[string]value, []LeftOut, error) {
	limit := r.source.plan.maxRules
	if len(values) <= limit {
		r.counts = nil
		return values, nil, nil
	}
	if err := r.count(ctx, now, values); err != nil {
		return nil, nil, err
	}
	keys := make([]string, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(r.counts[b].series, r.counts[a].series), strings.Compare(a, b))
	})
	kept := make(map[string]value, limit)
	for _, k := range keys[:limit] {
		kept[k] = values[k]
	}
	var out []LeftOut
	for _, k := range slices.Backward(keys[limit:]) {
		out = append(out, LeftOut{Value: k, Series: r.counts[k].series})
	}
	return kept, out, nil
}

// count fills in the counts that are missing or old, and forgets values gone.
func (r *ranking) count(ctx context.Context, now time.Time, values map[string]value) error {
	next := make(map[string]counted, len(values))
	var keys []string
	var uncounted []value
	for k, v := range values {
		if c, ok := r.counts[k]; ok && now.Sub(c.at) < countFor {
			next[k] = c
			continue
		}
		keys, uncounted = append(keys, k), append(uncounted, v)
	}
	counts, err := r.source.count(ctx, now, uncounted)
	if err != nil {
		return err
	}
	for i, k := range keys {
		next[k] = counted{series: counts[i], at: now}
	}
	r.counts = next
	return nil
}
