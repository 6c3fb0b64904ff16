package share

import "slices"

// spans are the ends of windows that a group was published in, as runs: there is
// one as long as the group is in every window.
type spans []span

type span struct{ from, to int64 }

func (s spans) has(end int64) bool {
	for i := len(s) - 1; i >= 0 && s[i].to >= end; i-- {
		if s[i].from <= end {
			return true
		}
	}
	return false
}

// add puts in a run of windows that are step ms apart.
func (s *spans) add(x span, step int64) {
	i, _ := slices.BinarySearchFunc(*s, x.from, func(a span, from int64) int {
		if a.to+step < from {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(*s) && (*s)[j].from <= x.to+step; j++ {
		x.from, x.to = min(x.from, (*s)[j].from), max(x.to, (*s)[j].to)
	}
	*s = slices.Replace(*s, i, j, x)
}

// drop takes one window out.
func (s *spans) drop(end, step int64) {
	for i, x := range *s {
		if x.from <= end && end <= x.to {
			rest := slices.DeleteFunc([]span{{x.from, end - step}, {end + step, x.to}}, func(x span) bool { return x.from > x.to })
			*s = slices.Replace(*s, i, i+1, rest...)
			return
		}
	}
}

// prune forgets what is not above a horizon.
func (s *spans) prune(horizon int64) {
	i := 0
	for i < len(*s) && (*s)[i].to <= horizon {
		i++
	}
	*s = slices.Delete(*s, 0, i)
}
