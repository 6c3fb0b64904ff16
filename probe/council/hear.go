package council

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/probe/compare"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// What a vote may hold.
const (
	mostVoters   = 10_000
	mostOfOne    = 200_000 // votes of one vantage
	mostDockets  = 200_000
	longestName  = 2048 // bytes of an instance
	longestWords = 512
	longestCode  = 64
	longestPlace = 128
	mostPairs    = 64
	longestPairs = 4096 // bytes of all labels of a target
	longestAgo   = 10 * 365 * 24 * time.Hour
	// forgetAfter is when one is forgotten that is silent.
	forgetAfter = time.Hour
)

// Voter is who a message of votes comes from, as the mesh knows it.
type Voter struct {
	Name string
	// Labels are the island's, by which definitions select.
	Labels map[string]string
}

// voter is another island that votes here.
type voter struct {
	name    string
	vantage verdict.Vantage
	session uint64
	heard   time.Time
	uplink  string
	// votes are its votes by its numbers; nil for one that was refused.
	votes map[uint64]*docket
	// denied are those that were, and why.
	denied map[uint64]denial
	again  bool
}

// ballot is one vote as it came.
type ballot struct {
	from    *voter
	id      uint64
	vote    verdict.Vote
	expires int64
	answer  *compare.Answer
}

// Hear takes a message of votes. The error is for the sender to read.
func (c *Council) Hear(from Voter, r *probepb.CastRequest) (*probepb.CastResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	v := c.voters[from.Name]
	switch {
	case from.Name == c.self.Name:
		return nil, fmt.Errorf("vote as %s: this is its own island", from.Name)
	case v == nil && len(c.voters) == mostVoters:
		return nil, fmt.Errorf("vote as %s: %d islands vote already", from.Name, mostVoters)
	case v == nil:
		v = &voter{name: from.Name, votes: map[uint64]*docket{}, denied: map[uint64]denial{}}
		c.voters[from.Name] = v
	}
	if r.GetBegin() {
		c.forget(v)
		v.session = r.GetSession()
	}
	if v.session != r.GetSession() || v.again {
		v.again = false
		return &probepb.CastResponse{Again: true}, nil
	}
	c.meet(v, from, r, now)
	c.m.received.Add(float64(len(r.GetVotes())))
	for _, id := range r.GetWithdrawn() {
		c.strike(v, id)
	}
	asked := r.GetAsked()
	asked = slices.Clone(asked[:min(len(asked), mostAsked)])
	touched := map[*docket]bool{}
	for _, m := range r.GetVotes() {
		if d := c.accept(v, from, m, now); d != nil {
			touched[d] = true
			if m.GetState() > uint32(verdict.Up) {
				asked = append(asked, m.GetId())
			}
		}
	}
	for d := range touched {
		if c.count(d, now) {
			d.due = time.Time{}
		}
	}
	if len(touched) > 0 {
		c.stir()
	}
	out := &probepb.CastResponse{Again: len(v.votes) < int(r.GetHeld()), Refused: v.denials()}
	for _, id := range asked {
		if d := v.votes[id]; d != nil {
			out.Seen = append(out.Seen, c.seenBy(d, v.name, v.vantage).message(id))
		}
	}
	return out, nil
}

// meet notes what a message says of its sender.
func (c *Council) meet(v *voter, from Voter, r *probepb.CastRequest, now time.Time) {
	next := verdict.Vantage{
		Name: from.Name, Region: from.Labels["region"],
		Country: clip(r.GetCountry(), longestPlace), ISP: clip(r.GetIsp(), longestPlace),
	}
	uplink := clip(r.GetUplink(), longestWords)
	if next != v.vantage || (uplink == "") != (v.uplink == "") || now.Sub(v.heard) > shortestFresh {
		for _, d := range v.votes {
			if d != nil {
				d.due = time.Time{}
			}
		}
		c.stir()
	}
	v.vantage, v.uplink, v.heard = next, uplink, now
}

// forget drops all votes of an island.
func (c *Council) forget(v *voter) {
	for id := range v.votes {
		c.strike(v, id)
	}
	v.again = false
}

// strike drops one vote.
func (c *Council) strike(v *voter, id uint64) {
	d, ok := v.votes[id]
	delete(v.votes, id)
	delete(v.denied, id)
	if ok && d != nil {
		delete(d.ballots, v.name)
		d.judge.Leave(v.name)
		d.due = time.Time{}
	}
}

// accept takes one vote, nil if it is refused. That is remembered: with another
// definition it may do.
func (c *Council) accept(v *voter, from Voter, m *probepb.Vote, now time.Time) *docket {
	c.strike(v, m.GetId())
	if len(v.votes) >= mostOfOne {
		c.m.refused.WithLabelValues(refusedMany).Inc()
		return nil
	}
	t := targetOf(m.GetTarget())
	why := c.refuse(t, from, m)
	if why == "" && c.dockets[t] == nil && len(c.dockets) >= mostDockets {
		why = refusedMany
	}
	if d := c.dockets[t]; why == "" && d != nil && d.ballots[v.name] != nil {
		why = refusedTwice // under another number
	}
	if why != "" {
		c.m.refused.WithLabelValues(why).Inc()
		v.deny(m.GetId(), t.Definition, why)
		return nil
	}
	d := c.open(t)
	b := &ballot{from: v, id: m.GetId(), expires: m.GetExpires(), vote: verdict.Vote{
		State: stateOf(m.GetState()), Since: ago(now, m.GetSinceMs()), Code: m.GetCode(), Words: clip(m.GetWords(), longestWords),
		Bad: int(m.GetBad()), Of: int(m.GetOf()), Took: short64(m.GetTookUs()), Measured: ago(now, m.GetAtMs()), Failure: m.GetFailure(),
	}}
	for _, one := range m.GetTurns() {
		b.vote.Turns = append(b.vote.Turns, verdict.Turn{At: ago(now, one.GetAgoMs()), State: stateOf(one.GetState())})
	}
	for _, us := range m.GetPhasesUs() {
		b.vote.Phases = append(b.vote.Phases, short64(us))
	}
	if rules := c.defs[t.Definition].Compare; rules != nil {
		if b.answer = answerOf(m.GetAnswer()); b.answer != nil {
			b.answer.Chosen(rules)
			d.due = time.Time{}
		}
	}
	d.ballots[v.name], v.votes[m.GetId()] = b, d
	return d
}

// plain reports whether the target can be one of a definition.
func (t *Target) plain(pairs []string) bool {
	if t.Instance == "" || len(t.Instance) > longestName || !utf8.ValidString(t.Instance) || len(pairs)%2 != 0 || len(pairs) > 2*mostPairs || len(t.Labels) > longestPairs {
		return false
	}
	if _, err := netip.ParseAddr(t.Address); t.Address != "" && err != nil {
		return false
	}
	for i := 0; i < len(pairs); i += 2 {
		name := pairs[i]
		if !model.UTF8Validation.IsValidLabelName(name) || strings.HasPrefix(name, "__") || name != definition.ServerLabel && slices.Contains(definition.ReservedLabels(), name) ||
			!utf8.ValidString(pairs[i+1]) || i > 0 && name <= pairs[i-2] {
			return false
		}
	}
	return true
}

func plainCode(code string) bool {
	return len(code) <= longestCode && !strings.ContainsFunc(code, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}

func ago(now time.Time, ms uint64) time.Time {
	return now.Add(-time.Duration(min(ms, uint64(longestAgo.Milliseconds()))) * time.Millisecond)
}

// short64 reads microseconds of what no probe exceeds.
func short64(us uint64) time.Duration {
	const most = uint64(24 * time.Hour / time.Microsecond)
	return time.Duration(min(us, most)) * time.Microsecond
}

// clip makes a foreign text fit to be shown.
func clip(s string, most int) string {
	s = strings.ToValidUTF8(s[:min(len(s), most)], "")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func short(words string) string { return clip(words, longestWords) }
