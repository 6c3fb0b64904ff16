package council

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// Why votes are refused.
const (
	refusedUnknown   = "unknown_target"
	refusedOther     = "other_definition"
	refusedMalformed = "malformed"
	refusedSelected  = "not_selected"
	refusedMany      = "too_many"
	refusedTwice     = "twice"
)

// refusedWords say it to those who voted, "" for what this version does not know.
func refusedWords(why string) string {
	switch why {
	case refusedUnknown:
		return "it knows no such definition, or no such target of it"
	case refusedOther:
		return "it has a definition of its own of that name, which goes before the network's; rename one of them"
	case refusedMalformed:
		return "the votes are not as it expects them"
	case refusedSelected:
		return "by what it knows the definition does not select this island"
	case refusedMany:
		return "it holds as many votes as it can"
	case refusedTwice:
		return "it has two votes of this island on one target"
	}
	return ""
}

func (c *Council) refuse(t Target, from Voter, m *probepb.Vote) string {
	d := c.defs[t.Definition]
	switch {
	case d != nil && !d.Shared:
		return refusedOther
	case d == nil || !d.has(&t):
		return refusedUnknown
	case !d.From.Selects(from.Labels):
		return refusedSelected
	case !t.plain(m.GetTarget().GetLabels()), m.GetState() > uint32(verdict.Down), m.GetBad() > m.GetOf(), m.GetOf() > definition.LongestHistory,
		len(m.GetPhasesUs()) > int(protocol.Phases), !plainCode(m.GetCode()), !plainAnswer(m.GetAnswer()), !plainFailure(m.GetFailure()), !plainTurns(m.GetTurns()):
		return refusedMalformed
	}
	return ""
}

// has reports whether the definition may have the target.
func (d *Definition) has(t *Target) bool {
	if d.targets == nil {
		return t.server() == "" // what is discovered has none
	}
	return d.targets[named{t.Instance, t.server()}]
}

func plainFailure(id string) bool {
	if id == "" {
		return true
	}
	u, err := ulid.ParseStrict(id)
	return err == nil && u.String() == id
}

// plainTurns are in order and known states.
func plainTurns(all []*probepb.Turn) bool {
	for i, t := range all {
		if t.GetState() > uint32(verdict.Down) || i > 0 && t.GetAgoMs() > all[i-1].GetAgoMs() {
			return false
		}
	}
	return len(all) <= verdict.MostTurns
}

// denial is why a vote is refused.
type denial struct{ definition, why string }

// deny remembers a refused vote: with another definition it may do.
func (v *voter) deny(id uint64, definition, why string) {
	v.votes[id], v.denied[id] = nil, denial{clip(definition, longestPlace), why}
}

// mostRefused bounds what one answer says of refused votes.
const mostRefused = 20

// denials tell a voter of which definitions its votes are refused.
func (v *voter) denials() (out []*probepb.Refusal) {
	if len(v.denied) == 0 {
		return nil
	}
	why := map[string]string{}
	for _, d := range v.denied {
		why[d.definition] = max(why[d.definition], d.why)
	}
	for _, name := range slices.Sorted(maps.Keys(why)) {
		if len(out) == mostRefused {
			break
		}
		out = append(out, &probepb.Refusal{Definition: name, Why: why[name]})
	}
	return out
}

// refusal is that a judge counts no votes of this island on a definition, and since when.
type refusal struct {
	why   string
	since time.Time
}

// rebuffed takes what a judge refuses.
func (c *Council) rebuffed(t *toward, all []*probepb.Refusal, now time.Time) {
	before := t.refused
	t.refused = nil
	for _, r := range all[:min(len(all), mostRefused)] {
		name, why := r.GetDefinition(), r.GetWhy()
		if d := c.defs[name]; d == nil || !d.Shared || refusedWords(why) == "" {
			continue
		}
		if t.refused == nil {
			t.refused = map[string]refusal{}
		}
		since := now
		if was, ok := before[name]; ok && was.why == why {
			since = was.since
		}
		t.refused[name] = refusal{why, since}
	}
}

// refusedFor is after what time a refusal is no matter of a document that spreads.
const refusedFor = time.Minute

// Refused says which judges do not count this island's votes, and why; nothing while a
// definition is still on its way.
func (c *Council) Refused() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	type line struct{ judge, definition, why string }
	var lines []line
	for judge, t := range c.towards {
		for name, r := range t.refused {
			if now.Sub(r.since) >= refusedFor && c.defs[name] != nil {
				lines = append(lines, line{judge, name, r.why})
			}
		}
	}
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.definition, b.definition), cmp.Compare(a.judge, b.judge))
	})
	for _, l := range lines {
		all = append(all, fmt.Sprintf("definition %q: %s does not count this island's votes: %s", l.definition, l.judge, refusedWords(l.why)))
	}
	return all
}
