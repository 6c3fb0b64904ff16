package global

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Kinds of the documents that this package is about.
const (
	// KindRules are rule files whose groups are evaluated once for the network.
	KindRules = "globalrules"
	// KindState are what primaries leave for each other.
	KindState = "alertstate"
	// KindPrimary say which islands are primaries.
	KindPrimary = "primary"
)

// OnMissing is what a rule does while islands are missing in its answer.
type OnMissing string

const (
	// Keep leaves an alert as it was, and writes no sample.
	Keep OnMissing = "keep"
	// Fire is Keep, and an alert for each missing island.
	Fire OnMissing = "fire"
	// Ignore takes the answer as if it were whole.
	Ignore OnMissing = "ignore"
)

// ParseOnMissing reads a rule's word; an empty one is Keep.
func ParseOnMissing(word string) (OnMissing, error) {
	switch o := OnMissing(word); o {
	case "":
		return Keep, nil
	case Keep, Fire, Ignore:
		return o, nil
	}
	return "", fmt.Errorf("on_missing: %q: must be keep, fire or ignore", word)
}

// Group is a rule group that is evaluated for the whole network.
type Group struct {
	// Document is the name of the rules document, Name the group's in it.
	Document, Name string
	// Interval is 0 for the default.
	Interval time.Duration
	Offset   time.Duration
	Limit    int
	Rules    []Rule
}

// Rule alerts or records.
type Rule struct {
	Record, Alert, Expr string
	For, KeepFiringFor  time.Duration
	Labels, Annotations labels.Labels
	OnMissing           OnMissing
}

// ID names the group in documents and hashes: it must not change between versions.
func (g *Group) ID() string { return groupID(g.Document, g.Name) }

func groupID(document, name string) string {
	h := fnv.New64a()
	h.Write([]byte(document + "\x00" + name))
	return hex.EncodeToString(h.Sum(nil))
}

// Title names the group to people.
func (g *Group) Title() string { return KindRules + "/" + g.Document + " " + g.Name }

// Equal reports whether both say the same.
func (g *Group) Equal(o *Group) bool {
	return g.Document == o.Document && g.Name == o.Name && g.Interval == o.Interval && g.Offset == o.Offset &&
		g.Limit == o.Limit && slices.EqualFunc(g.Rules, o.Rules, func(a, b Rule) bool { return a.equal(b) })
}

func (r Rule) equal(o Rule) bool {
	return r.key() == o.key() && r.Expr == o.Expr && r.For == o.For && r.KeepFiringFor == o.KeepFiringFor &&
		r.OnMissing == o.OnMissing && labels.Equal(r.Annotations, o.Annotations)
}

// key is what the state of a rule goes by: it survives a change of the expression.
func (r Rule) key() string {
	if r.Alert != "" {
		return "alert " + r.Alert + " " + r.Labels.String()
	}
	return "record " + r.Record + " " + r.Labels.String()
}

// Owner returns which of the names a group belongs to: the one with the highest
// hash of group and name, so that one that goes moves only its own groups. It is
// empty where there is none.
func Owner(id string, names []string) string {
	best, highest := "", uint64(0)
	for _, n := range names {
		if h := weigh(id, n); best == "" || h > highest || h == highest && n < best {
			best, highest = n, h
		}
	}
	return best
}

// weigh is FNV-1a, whose low bits are mixed into the high ones by the finalizer of
// splitmix64. All islands must agree on it.
func weigh(id, name string) uint64 {
	f := fnv.New64a()
	f.Write([]byte(id + "\x00" + name))
	h := f.Sum64()
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// slot is the newest time, not after now, at which the group is evaluated: the
// same on every island, so that two that evaluate it write the same.
func slot(id string, interval time.Duration, now time.Time) time.Time {
	offset := int64(weigh(id, "slot") % uint64(interval.Milliseconds()))
	ms := now.UnixMilli() - offset
	return time.UnixMilli(ms - ms%interval.Milliseconds() + offset)
}

// MissingIsland names an island that is missing in an answer, and why.
type MissingIsland struct{ Island, Why string }

func describe(missing []MissingIsland) string {
	sorted := slices.SortedFunc(slices.Values(missing), func(a, b MissingIsland) int { return cmp.Compare(a.Island, b.Island) })
	parts := make([]string, len(sorted))
	for i, m := range sorted {
		parts[i] = m.Island + " (" + m.Why + ")"
	}
	return strings.Join(parts, ", ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
