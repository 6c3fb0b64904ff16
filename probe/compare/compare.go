package compare

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
)

// Answer is what one vantage got.
type Answer struct {
	Vantage string
	// Edge is the address that answered it.
	Edge   string
	Status int
	// Size and SHA256 of the body after decompression.
	Size   int64
	SHA256 [32]byte
	// Header holds the chosen headers, by their canonical names, and Age if it was sent.
	Header map[string]string
}

// Difference is one thing in which some vantages' answers are not as they should be.
type Difference struct {
	// What is status, body, age, or a header's name.
	What string
	// Vantages got it, from Edges; both sorted, each once.
	Vantages, Edges []string
	// Want and Got are the two values, in words.
	Want, Got string
}

// String says it in one line.
func (d Difference) String() string {
	edges := ""
	if len(d.Edges) > 0 {
		edges = " from " + some(d.Edges)
	}
	return fmt.Sprintf("%s: %s get %s%s, want %s", d.What, some(d.Vantages), d.Got, edges, d.Want)
}

// mostNamed are so many vantages or edges as a line names.
const mostNamed = 4

func some(names []string) string {
	if len(names) <= mostNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNamed], ", "), len(names)-mostNamed)
}

// Differences compares the answers of all vantages with the origin's; without an
// origin with what most of them got, and of two as frequent ones with the one that
// sorts first.
func Differences(rules definition.Compare, origin *Answer, answers []Answer) (all []Difference) {
	for _, a := range aspects(rules) {
		all = append(all, a.differences(origin, answers)...)
	}
	if rules.MaxAge > 0 {
		all = append(all, tooOld(time.Duration(rules.MaxAge), answers)...)
	}
	return all
}

// aspect is one thing that is compared.
type aspect struct {
	what string
	of   func(*Answer) string
}

func aspects(rules definition.Compare) []aspect {
	all := []aspect{{"status", func(a *Answer) string { return strconv.Itoa(a.Status) }}}
	if !rules.IgnoreBody {
		all = append(all, aspect{"body", func(a *Answer) string {
			return fmt.Sprintf("%d bytes (sha256 %s…)", a.Size, hex.EncodeToString(a.SHA256[:6]))
		}})
	}
	for _, name := range rules.Headers {
		all = append(all, aspect{name, func(a *Answer) string {
			v, ok := a.Header[name]
			if !ok {
				return "none"
			}
			return strconv.Quote(short(v))
		}})
	}
	return all
}

// mostValue is how much of a header's value is repeated.
const mostValue = 60

func short(s string) string {
	if len(s) > mostValue {
		return s[:mostValue] + "…"
	}
	return s
}

func (a aspect) differences(origin *Answer, answers []Answer) (all []Difference) {
	got := map[string][]*Answer{}
	for i := range answers {
		v := a.of(&answers[i])
		got[v] = append(got[v], &answers[i])
	}
	want := ""
	if origin != nil {
		want = a.of(origin)
	} else {
		want = mostFrequent(got)
	}
	for _, v := range slices.Sorted(maps.Keys(got)) {
		if v != want {
			all = append(all, difference(a.what, want, v, got[v]))
		}
	}
	return all
}

func mostFrequent(got map[string][]*Answer) string {
	values := slices.SortedFunc(maps.Keys(got), func(x, y string) int {
		return cmp.Or(cmp.Compare(len(got[y]), len(got[x])), strings.Compare(x, y))
	})
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func difference(what, want, got string, from []*Answer) Difference {
	d := Difference{What: what, Want: want, Got: got}
	for _, a := range from {
		d.Vantages = append(d.Vantages, a.Vantage)
		if a.Edge != "" {
			d.Edges = append(d.Edges, a.Edge)
		}
	}
	slices.Sort(d.Vantages)
	slices.Sort(d.Edges)
	d.Vantages, d.Edges = slices.Compact(d.Vantages), slices.Compact(d.Edges)
	return d
}

// tooOld finds copies that a cache has kept for longer than is allowed, by the
// header Age (RFC 9111, in seconds). Who sends none has no copy.
func tooOld(most time.Duration, answers []Answer) (all []Difference) {
	got := map[time.Duration][]*Answer{}
	for i := range answers {
		seconds, err := strconv.ParseUint(strings.TrimSpace(answers[i].Header["Age"]), 10, 31)
		if age := time.Duration(seconds) * time.Second; err == nil && age > most {
			got[age] = append(got[age], &answers[i])
		}
	}
	for _, age := range slices.Sorted(maps.Keys(got)) {
		all = append(all, difference("age", "at most "+most.String(), age.String(), got[age]))
	}
	return all
}
