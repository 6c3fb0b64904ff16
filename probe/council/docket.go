package council

import (
	"cmp"
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/probe/compare"
	"github.com/atoll-mesh/atoll/probe/emit"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// docket is one target that is judged here, by the first or the second judge.
type docket struct {
	target  Target
	ballots map[string]*ballot // of the others, by vantage
	judge   verdict.Judge
	last    verdict.Verdict
	expires int64
	// differences are those of the answers that are compared, compared what they may be
	// in; held is the origin's word that they were found by.
	differences []compare.Difference
	compared    []string
	origin      *origin
	held        uint64
	// lead tells that this island is the first: it writes and answers.
	lead   bool
	series *emit.Target // nil where it does not write
	// due is when it is counted again without anything new.
	due time.Time
	// opened is when the first vote came.
	opened time.Time
}

// young is for how long after that votes tell how the target was before: all that vote
// have heard meanwhile who judges.
const young = 2 * leeway

func (c *Council) open(t Target) *docket {
	d := c.dockets[t]
	if d == nil {
		d = &docket{target: t, ballots: map[string]*ballot{}, opened: time.Now()}
		c.dockets[t] = d
	}
	return d
}

// close ends a docket; its votes are refused from now on.
func (c *Council) close(d *docket, why string) {
	for _, b := range d.ballots {
		b.from.deny(b.id, d.target.Definition, why)
	}
	if d.series != nil {
		c.ended = append(c.ended, d.series)
	}
	delete(c.dockets, d.target)
}

// leads finds out whether this island is the first to judge a target.
func (c *Council) leads(d *docket) bool {
	def := c.defs[d.target.Definition]
	if def == nil {
		return false
	}
	first, _ := c.judges(d.target, def.Shared)
	d.lead = first == c.self.Name
	return d.lead
}

// count takes all votes as they are now. It reports whether the verdict is another one.
func (c *Council) count(d *docket, now time.Time) (changed bool) {
	def := c.defs[d.target.Definition]
	if def == nil {
		return false
	}
	d.expires = 0
	soonest := func(at int64) {
		if at != 0 && (d.expires == 0 || at < d.expires) {
			d.expires = at
		}
	}
	for _, b := range d.ballots {
		v := b.vote
		v.Vantage, v.At, v.Uplink = b.from.vantage, b.from.heard, b.from.uplink
		d.judge.Vote(v)
		if now.Sub(v.At) <= def.fresh() {
			soonest(b.expires)
		}
	}
	if s := c.seats[d.target]; s != nil && (s.first == c.self.Name || s.second == c.self.Name) {
		d.judge.Vote(s.vote(c))
		soonest(s.expires)
	}
	was, rules := d.last, verdict.Rules{Quorum: def.Quorum, Fresh: def.fresh(), Expected: def.Expected}
	if def.Shared && now.Sub(d.opened) < young {
		d.judge.Recall(rules, now)
	}
	d.last = d.judge.Verdict(rules, now)
	return was.State != d.last.State || was.Page != d.last.Page || was.Words != d.last.Words
}

// judge counts what is due, and returns what is to be written.
func (c *Council) judge(now time.Time) (all []writable) {
	// Nobody can tell of a result meanwhile: the rest follows with the next pass.
	const most = 1000
	c.retire(now)
	counted := 0
	for _, d := range c.dockets {
		if now.Before(d.due) {
			continue
		}
		if counted++; counted > most {
			c.stir()
			break
		}
		c.count(d, now)
		if d.judge.Votes() == 0 {
			c.close(d, refusedUnknown)
			continue
		}
		d.due = now.Add(period)
		if c.wary(d, now) {
			d.due = now.Add(told / 2)
		}
		if s := c.seats[d.target]; s != nil && (s.first == c.self.Name || s.second == c.self.Name) {
			s.seen = c.seenBy(d, c.self.Name, c.self)
			s.seen.at = now
		}
		c.compare(d)
		switch lead := c.leads(d) && c.settled(d, now); {
		case lead:
			ls := d.target.series(c.defs[d.target.Definition])
			if d.series == nil {
				d.series = c.o.Emitter.Target(ls)
			}
			all = append(all, writable{d.series, ls, d.samples()})
		case d.series != nil:
			c.ended, d.series = append(c.ended, d.series), nil
		case d.lead:
			d.due = c.started.Add(leeway)
		}
	}
	c.m.judged.Set(float64(len(c.dockets)))
	return append(all, c.infos(now)...)
}

// settled tells that votes had time to come since the island started.
func (c *Council) settled(d *docket, now time.Time) bool {
	return c.defs[d.target.Definition].Expected <= 1 || now.Sub(c.started) >= leeway || len(c.live) > 1
}

// wary tells that time alone may change the verdict soon.
func (c *Council) wary(d *docket, now time.Time) bool {
	if d.last.Flapping {
		return true
	}
	for _, b := range d.ballots {
		if now.Sub(b.from.heard) > told+castTimeout {
			return true
		}
	}
	return false
}

// retire forgets those who were silent for long.
func (c *Council) retire(now time.Time) {
	for name, v := range c.voters {
		if now.Sub(v.heard) > forgetAfter {
			c.forget(v)
			delete(c.voters, name)
		}
	}
}

// Retain forgets the votes of islands that are no members any more.
func (c *Council) Retain(members []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, v := range c.voters {
		if !slices.Contains(members, name) {
			c.forget(v)
			delete(c.voters, name)
			c.stir()
		}
	}
}

// nearest is how many vantages are named of those that see a target well.
const nearest = 3

// seenBy is what all others than one vantage see of a target. Those with a bad way out
// are among the others: when all of them seem to have one, it is the targets.
func (c *Council) seenBy(d *docket, name string, at verdict.Vantage) seen {
	out := seen{state: d.last.State}
	for _, list := range [][]verdict.Vote{d.last.Failing, d.last.Slow, d.last.Fine, d.last.Blind} {
		for _, v := range list {
			if v.Vantage.Name != name {
				out.others++
			}
		}
	}
	var fine []verdict.Vantage
	for _, v := range d.last.Fine {
		if v.Vantage.Name != name {
			fine = append(fine, v.Vantage)
		}
	}
	slices.SortStableFunc(fine, func(a, b verdict.Vantage) int { return cmp.Compare(distance(at, a), distance(at, b)) })
	out.fine = len(fine)
	for _, v := range fine[:min(len(fine), nearest)] {
		out.names = append(out.names, v.Name)
	}
	return out
}

// distance sorts those of the same region but another ISP first: what fails for the
// one and not for the other of those says most.
func distance(a, b verdict.Vantage) int {
	switch {
	case a.Region == b.Region && a.ISP != b.ISP:
		return 0
	case a.Region == b.Region:
		return 1
	}
	return 2
}

func (s seen) message(id uint64) *probepb.Seen {
	return &probepb.Seen{Id: id, State: uint32(s.state), Others: uint32(s.others), Fine: uint32(s.fine), Names: s.names}
}
