package schedule

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/atoll-mesh/atoll/probe/definition"
)

// Member is an island that may probe.
type Member struct {
	Name   string
	Labels map[string]string
}

// Spread chooses islands for the targets of one definition.
type Spread struct {
	// groups hold the islands that are chosen from, each group for itself.
	groups [][]Member
	each   int // 0 for all
}

// NewSpread groups the members that a definition selects.
func NewSpread(from definition.From, members []Member) Spread {
	groups := map[string][]Member{}
	for _, m := range members {
		if from.Selects(m.Labels) {
			key := ""
			if from.Per != "" {
				key = m.Labels[from.Per]
			}
			groups[key] = append(groups[key], m)
		}
	}
	s := Spread{each: from.Spread}
	for _, g := range groups {
		s.groups = append(s.groups, g)
	}
	return s
}

// Members are the islands that the definition selects.
func (s Spread) Members() (n int) {
	for _, g := range s.groups {
		n += len(g)
	}
	return n
}

// Each is how many islands probe each target.
func (s Spread) Each() (n int) {
	for _, g := range s.groups {
		if s.each > 0 {
			n += min(s.each, len(g))
		} else {
			n += len(g)
		}
	}
	return n
}

// Has reports whether an island probes the target with that key. Each target has
// its islands by rendezvous: one that comes or goes moves only the targets that
// it takes or leaves.
func (s Spread) Has(island, key string) bool {
	for _, g := range s.groups {
		if !slices.ContainsFunc(g, func(m Member) bool { return m.Name == island }) {
			continue
		}
		if s.each == 0 || len(g) <= s.each {
			return true
		}
		own, before := weight(island, key), 0
		for _, m := range g {
			if w := weight(m.Name, key); w > own || w == own && m.Name < island {
				before++
			}
		}
		if before < s.each {
			return true
		}
	}
	return false
}

// Chosen lists the islands that probe the target with that key, in order of names.
func (s Spread) Chosen(key string) (names []string) {
	for _, g := range s.groups {
		g = slices.Clone(g)
		if s.each > 0 && len(g) > s.each {
			slices.SortFunc(g, func(a, b Member) int {
				return cmp.Or(cmp.Compare(weight(b.Name, key), weight(a.Name, key)), cmp.Compare(a.Name, b.Name))
			})
			g = g[:s.each]
		}
		for _, m := range g {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

func weight(island, key string) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(island) // it never errs
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(key)
	return d.Sum64()
}
