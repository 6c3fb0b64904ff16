package emit

import (
	"slices"
	"strings"
	"sync"
)

// mostSets bounds what is shared: some servers make labels out of what they like.
const mostSets = 1024

// labelSets has targets share the labels that samples have beside the target's: those
// of one protocol are the same for all. It is for concurrent use.
type labelSets struct {
	mu  sync.Mutex
	all map[string][]string
}

// one is a slice equal to ls, which stays the caller's, and is not to be changed.
func (s *labelSets) one(ls []string) []string {
	if len(ls) == 0 {
		return nil
	}
	key := strings.Join(ls, "\xff")
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.all[key]; slices.Equal(got, ls) {
		return got
	}
	ls = slices.Clone(ls)
	if s.all == nil {
		s.all = map[string][]string{}
	}
	if len(s.all) < mostSets {
		s.all[key] = ls
	}
	return ls
}
