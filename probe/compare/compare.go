package compare

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
)

// What is compared, beside headers, which go by their names.
const (
	status = "status"
	body   = "body"
	age    = "age"
	// Origin differs where the origin gives no answer to compare with.
	Origin = "origin"
)

// Difference is one thing in which some vantages' answers are not as they should be.
type Difference struct {
	// What is status, body, age, origin, or a header's name.
	What string
	// Vantages got it, from Edges; both sorted, each once.
	Vantages, Edges []string
	// Want and Got are the two values, in words.
	Want, Got string
}

// String says it in one line.
func (d Difference) String() string {
	edges, gets := "", "get"
	if len(d.Edges) > 0 {
		edges = " from " + some(d.Edges)
	}
	if len(d.Vantages) == 1 {
		gets = "gets"
	}
	return fmt.Sprintf("%s: %s %s %s%s, want %s", d.What, some(d.Vantages), gets, d.Got, edges, d.Want)
}

// mostNamed are so many vantages or edges as a line names.
const mostNamed = 4

func some(names []string) string {
	if len(names) <= mostNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNamed], ", "), len(names)-mostNamed)
}

// Unanswered is the difference that there is nothing to compare with: the origin gave
// the vantage that asked it no answer that is fine, for a reason in words.
func Unanswered(vantage, url, words string) Difference {
	return Difference{What: Origin, Vantages: []string{vantage}, Edges: []string{url}, Want: "one to compare with", Got: "no answer (" + words + ")"}
}

// Differences compares the answers of all vantages with the origin's; without an
// origin with what most of them got, and of two as frequent ones with the one that
// sorts first.
func Differences(rules *definition.Compare, origin *Answer, answers []Answer) (all []Difference) {
	for _, a := range aspects(rules) {
		all = append(all, a.differences(origin, answers)...)
	}
	if rules.MaxAge > 0 {
		all = append(all, tooOld(time.Duration(rules.MaxAge), answers)...)
	}
	return all
}

// Compared are all that Differences can say What of, with these answers: with no
// origin, one answer has nothing to differ from.
func Compared(rules *definition.Compare, origin *Answer, answers []Answer) (whats []string) {
	least := 2
	if origin != nil {
		least = 1
	}
	for _, a := range aspects(rules) {
		if len(answers) >= least {
			whats = append(whats, a.what)
		}
	}
	if rules.MaxAge > 0 && len(answers) > 0 {
		whats = append(whats, age)
	}
	return whats
}

// aspect is one thing that is compared; "" is not known.
type aspect struct {
	what string
	of   func(*Answer) string
}

func aspects(rules *definition.Compare) []aspect {
	all := []aspect{{status, func(a *Answer) string { return strconv.Itoa(a.Status) }}}
	if !rules.IgnoreBody {
		all = append(all, aspect{body, func(a *Answer) string {
			if a.SHA256 == [len(a.SHA256)]byte{} {
				return ""
			}
			return fmt.Sprintf("%d bytes (sha256 %s…)", a.Size, hex.EncodeToString(a.SHA256[:6]))
		}})
	}
	for _, name := range rules.Headers {
		name = textproto.CanonicalMIMEHeaderKey(name)
		all = append(all, aspect{name, func(a *Answer) string {
			v, ok := a.Header[name]
			if !ok {
				return "none"
			}
			return strconv.Quote(v)
		}})
	}
	return all
}

// mostValues are so many different ones of one thing as are told one by one.
const mostValues = 5

func (a aspect) differences(origin *Answer, answers []Answer) (all []Difference) {
	got := map[string][]*Answer{}
	for i := range answers {
		if v := a.of(&answers[i]); v != "" {
			got[v] = append(got[v], &answers[i])
		}
	}
	want := ""
	if origin != nil {
		want = a.of(origin)
	} else {
		want = mostFrequent(got)
	}
	if want == "" {
		return nil
	}
	delete(got, want)
	values := slices.Sorted(maps.Keys(got))
	for i, v := range values {
		if i == mostValues-1 && len(values) > mostValues {
			var rest []*Answer
			for _, v := range values[i:] {
				rest = append(rest, got[v]...)
			}
			return append(all, difference(a.what, want, fmt.Sprintf("%d other values", len(values)-i), rest))
		}
		all = append(all, difference(a.what, want, v, got[v]))
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

// tooOld finds copies that a cache has kept for longer than is allowed. Who sends no
// header Age has no copy.
func tooOld(most time.Duration, answers []Answer) (all []Difference) {
	var old []*Answer
	var oldest time.Duration
	for i := range answers {
		if a := &answers[i]; a.Age >= most {
			old, oldest = append(old, a), max(oldest, a.Age)
		}
	}
	if len(old) == 0 {
		return nil
	}
	return []Difference{difference(age, "at most "+most.String(), "a copy of more than "+oldest.String(), old)}
}
