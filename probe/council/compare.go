package council

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/probe/compare"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

const (
	// mostDifferences bounds those of one target, mostConcerned the vantages or edges that
	// are listed of one, longestValue its words, in bytes.
	mostDifferences = 128
	mostConcerned   = 100
	longestValue    = 1024
)

// compare holds the answers of those vantages against each other and the origin's that
// are counted. As long as the origin was not asked nothing can be said.
func (c *Council) compare(d *docket) {
	d.differences, d.compared = nil, nil
	def := c.defs[d.target.Definition]
	if def == nil || def.Compare == nil || d.origin != nil && !d.origin.asked || d.origin == nil && c.asksOrigin(def) {
		return
	}
	var origin *compare.Answer
	if o := d.origin; o != nil {
		origin, d.held = o.answer, o.word
		d.compared = append(d.compared, compare.Origin)
		if origin == nil {
			d.differences = append(d.differences, compare.Unanswered(c.self.Name, o.url, o.words))
		}
	}
	answers := c.answers(d)
	d.compared = append(d.compared, compare.Compared(def.Compare, origin, answers)...)
	d.differences = append(d.differences, compare.Differences(def.Compare, origin, answers)...)
}

// answers are those of the vantages whose votes are counted.
func (c *Council) answers(d *docket) (all []compare.Answer) {
	for _, votes := range [...][]verdict.Vote{d.last.Failing, d.last.Slow, d.last.Fine} {
		for _, v := range votes {
			var a *compare.Answer
			if b := d.ballots[v.Vantage.Name]; b != nil {
				a = b.answer
			} else if s := c.seats[d.target]; s != nil && v.Vantage.Name == c.self.Name {
				a = s.answer
			}
			if a != nil {
				named := *a
				named.Vantage = v.Vantage.Name
				all = append(all, named)
			}
		}
	}
	return all
}

// mismatches are 1 for what differs and 0 for what was compared and does not.
func (d *docket) mismatches() (out []protocol.Sample) {
	for _, what := range d.compared {
		value := 0.0
		if slices.ContainsFunc(d.differences, func(one compare.Difference) bool { return one.What == what }) {
			value = 1
		}
		out = append(out, protocol.Sample{Name: Mismatch, Labels: []string{"what", what}, Value: value})
	}
	return out
}

func answerMessage(a *compare.Answer) *probepb.Answer {
	if a == nil {
		return nil
	}
	m := &probepb.Answer{Edge: a.Edge, Status: uint32(a.Status), Size: a.Size, AgeMs: uint64(a.Age.Milliseconds())}
	if a.SHA256 != [len(a.SHA256)]byte{} {
		m.Sha256 = bytes.Clone(a.SHA256[:])
	}
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		m.Headers = append(m.Headers, name, a.Header[name])
	}
	return m
}

// answerOf reads what another island got, nil if it got none or plainAnswer refuses it.
func answerOf(m *probepb.Answer) *compare.Answer {
	if m == nil {
		return nil
	}
	a := &compare.Answer{
		Edge: m.GetEdge(), Status: int(min(m.GetStatus(), 1<<16)), Size: m.GetSize(), Header: map[string]string{},
		Age: time.Duration(min(m.GetAgeMs(), uint64(longestAgo.Milliseconds())*10)) * time.Millisecond,
	}
	copy(a.SHA256[:], m.GetSha256())
	for pair := range slices.Chunk(m.GetHeaders(), 2) {
		if len(pair) == 2 {
			a.Header[pair[0]] = pair[1]
		}
	}
	return a
}

func plainAnswer(m *probepb.Answer) bool {
	if m == nil {
		return true
	}
	most := 2 * mostPairs
	if n := len(m.GetSha256()); n != 0 && n != len(compare.Answer{}.SHA256) || len(m.GetHeaders()) > most || len(m.GetHeaders())%2 != 0 {
		return false
	}
	return answerOf(m).Plain()
}

func differenceMessage(d compare.Difference) *probepb.Difference {
	return &probepb.Difference{
		What: d.What, Vantages: d.Vantages[:min(len(d.Vantages), mostConcerned)], Edges: d.Edges[:min(len(d.Edges), mostConcerned)],
		Want: d.Want, Got: d.Got,
	}
}

// differenceOf reads what another island says.
func differenceOf(m *probepb.Difference) compare.Difference {
	names := func(all []string) (out []string) {
		for _, name := range all[:min(len(all), mostConcerned)] {
			out = append(out, clip(name, longestName))
		}
		return out
	}
	return compare.Difference{
		What: clip(m.GetWhat(), longestPlace), Vantages: names(m.GetVantages()), Edges: names(m.GetEdges()),
		Want: clip(m.GetWant(), longestValue), Got: clip(m.GetGot(), longestValue),
	}
}
