package asset

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// Kind is what a resource is.
type Kind uint8

// The kinds, in the order in which equal matches are shown.
const (
	KindIsland Kind = iota
	KindHost
	KindAlert
	KindProbe
	KindDashboard
	KindTarget
	KindContainer
	KindProbeTarget
	KindRule
	KindMetric
	KindDocument

	kinds = iota
)

// kindNames are those of the API; weights are what a kind adds to the score of a match.
var (
	kindNames = [kinds]string{"island", "host", "alert", "probe", "dashboard", "target", "container", "probe_target", "rule", "metric", "document"}
	weights   = [kinds]int{7, 6, 6, 5, 5, 3, 3, 3, 2, 4, 1}
)

// String is the kind's name in the API.
func (k Kind) String() string {
	if int(k) < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// KindOf reads a name.
func KindOf(name string) (Kind, bool) {
	k := slices.Index(kindNames[:], name)
	return Kind(max(k, 0)), k >= 0
}

// KindNames lists all.
func KindNames() []string { return slices.Clone(kindNames[:]) }

// Item is one resource as its source tells of it.
type Item struct {
	Kind Kind
	// Key tells resources of one kind apart; "" takes the name.
	Key  string
	Name string
	// Common says that every island that knows it knows the same thing, as a document.
	// All others are of the island that lists them.
	Common bool
	// State is a word as "up" or "firing", Summary a short line.
	State, Summary string
	// Ref is what the address of its page ends in where that is not the name.
	Ref string
	// Labels are shown and searched; More is searched, and shown where one resource is.
	Labels, More labels.Labels
}

// Bounds of one resource: what is longer is cut, what is more is left out.
const (
	maxText   = 256
	maxLabels = 64
)

// id is the same wherever and whenever the resource is listed.
func (it *Item) id(island string) uint64 {
	var d xxhash.Digest
	d.Reset()
	key := it.Key
	if key == "" {
		key = it.Name
	}
	if it.Common {
		island = ""
	}
	for _, part := range [...]string{it.Kind.String(), island, key} {
		_, _ = d.WriteString(part) // never errs
		_, _ = d.WriteString("\x00")
	}
	return d.Sum64()
}

// href is where the portal shows a resource.
func href(kind Kind, name, ref string, label func(string) string) string {
	segment := url.PathEscape(name)
	if ref != "" {
		segment = url.PathEscape(ref)
	}
	switch kind {
	case KindIsland:
		return "/islands/" + segment
	case KindHost:
		return "/hosts/" + segment
	case KindAlert:
		return "/alerts/" + segment
	case KindProbe:
		return "/probes/" + segment
	case KindDashboard:
		return "/dashboards/" + segment
	case KindProbeTarget:
		return "/probes/" + segment + "?" + url.Values{"target": {name}}.Encode()
	case KindRule:
		return "/alerts/rules?" + url.Values{"name": {name}}.Encode()
	case KindMetric:
		return "/explore?" + url.Values{"expr": {selector(name, nil)}}.Encode()
	case KindTarget:
		return "/explore?" + url.Values{"expr": {selector("up", [][2]string{{"instance", label("instance")}, {"job", label("job")}})}}.Encode()
	case KindContainer:
		return "/explore?" + url.Values{"expr": {selector("container_memory_working_set_bytes", [][2]string{{"id", label("id")}, {"instance", label("instance")}})}}.Encode()
	case KindDocument:
		kind, rest, _ := strings.Cut(name, "/")
		return "/settings/documents/" + url.PathEscape(kind) + "/" + url.PathEscape(rest)
	}
	return "/search?" + url.Values{"q": {name}}.Encode()
}

// selector writes a metric and equalities in PromQL.
func selector(metric string, pairs [][2]string) string {
	var parts []string
	for _, p := range pairs {
		if p[1] != "" {
			parts = append(parts, p[0]+"="+quote(p[1]))
		}
	}
	if !plainMetric(metric) {
		parts = append([]string{quote(metric)}, parts...)
		metric = ""
	}
	if len(parts) == 0 {
		return metric
	}
	return metric + "{" + strings.Join(parts, ",") + "}"
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

func plainMetric(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_', c == ':', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', i > 0 && '0' <= c && c <= '9':
		default:
			return false
		}
	}
	return s != ""
}
