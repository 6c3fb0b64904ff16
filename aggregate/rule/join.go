package rule

import (
	"fmt"
	"slices"
)

// Join returns the rules of s and, after them, those of other; both stay as they
// are. One engine tells series apart by one choice of labels: it is an error if
// the replica or source labels differ.
func (s *Set) Join(other *Set) (*Set, error) {
	if len(s.Rules) == 0 {
		return other, nil
	}
	for _, l := range []struct {
		field      string
		mine, that []string
	}{
		{"replica_labels", s.ReplicaLabels, other.ReplicaLabels},
		{"source_labels", s.SourceLabels, other.SourceLabels},
	} {
		if !slices.Equal(l.mine, l.that) {
			return nil, fmt.Errorf("%s: %q here and %q in the rules in force: all rules of an island have the same", l.field, l.that, l.mine)
		}
	}
	joined := *s
	joined.Rules = slices.Clone(s.Rules)
	joined.Warnings = slices.Concat(s.Warnings, other.Warnings)
	seen, called := map[uint64]bool{}, map[string]bool{}
	for _, r := range s.Rules {
		seen[r.Hash], called[r.Label] = true, true
	}
	for _, r := range other.Rules {
		next := *r
		next.ID = uint32(len(joined.Rules))
		next.labelled(called)
		for again := uint64(1); seen[next.Hash]; again++ {
			next.Hash = r.hash(other, again)
		}
		seen[next.Hash] = true
		joined.Rules = append(joined.Rules, &next)
	}
	return &joined, nil
}
