package decode

import "strings"

// Nearest returns the known name that a mistyped one was probably meant to be,
// or "": a third of its letters may be wrong, and case, '-' and '_' count for nothing.
func Nearest(name string, known []string) string {
	const worth = 3 // a third
	best, bestDistance := "", 0
	for _, k := range known {
		d := distance(fold(name), fold(k))
		if limit := max(len(name), len(k)) / worth; d > limit || fold(name) == "" {
			continue
		}
		if best == "" || d < bestDistance || d == bestDistance && shared(name, k) > shared(name, best) {
			best, bestDistance = k, d
		}
	}
	return best
}

// shared is the length of the common beginning.
func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func fold(s string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
}

// distance is the number of edits (insert, delete, replace, swap neighbours).
func distance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
