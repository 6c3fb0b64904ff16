package verdict

import (
	"slices"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
)

// Rules are how votes are counted.
type Rules struct {
	Quorum definition.Quorum
	// Fresh is how long a vote counts after its probe: some three intervals.
	Fresh time.Duration
	// Expected is how many vantages probe the target when all are there; 0 if that is
	// not known.
	Expected int
}

// Verdict is what all votes on a target together say.
type Verdict struct {
	State State
	// Since is when the state began, as the vantages saw it.
	Since time.Time
	// Page tells that enough vantages agree to wake somebody; PageQuorum is how many
	// that takes.
	Page       bool
	PageQuorum int
	// Flapping tells that the state went to and fro and is held at the worst of late.
	Flapping bool
	// Words say it all in one sentence without the target's name: "down from 2 ISPs in
	// cn-north since 14:02 UTC (connect_timeout), fine from 9 other vantages; below
	// paging quorum 3".
	Words string
	// Failing and Slow see it down and degraded, Fine see it up, Blind have a bad uplink,
	// Silent have not voted of late. Each sorted by name.
	Failing, Slow, Fine, Blind, Silent []Vote
}

// Judge decides on one target. The zero Judge has no votes. It is not for
// concurrent use.
type Judge struct {
	votes map[string]Vote // by vantage
	state State
	since time.Time
	flaps flaps
}

// Vote takes what a vantage says; an older vote than the one that is there changes
// nothing.
func (j *Judge) Vote(v Vote) {
	if old, ok := j.votes[v.Vantage.Name]; ok && old.At.After(v.At) {
		return
	}
	if j.votes == nil {
		j.votes = map[string]Vote{}
	}
	j.votes[v.Vantage.Name] = v
}

// Leave forgets a vantage that does not probe the target any more.
func (j *Judge) Leave(vantage string) { delete(j.votes, vantage) }

// Has reports whether a vantage has voted.
func (j *Judge) Has(vantage string) bool {
	_, ok := j.votes[vantage]
	return ok
}

// Votes is how many vantages have voted.
func (j *Judge) Votes() int { return len(j.votes) }

// Verdict counts the votes. It is called whenever one came, and from time to time.
func (j *Judge) Verdict(r Rules, now time.Time) Verdict {
	v := j.count(r, now)
	raw, since := v.decide(r)
	j.turn(raw, since, now)
	v.State, v.Since = j.state, j.since
	if worst, held := j.flaps.hold(now); held {
		v.Flapping = true
		v.State, v.Since = max(v.State, worst), j.flaps.since
	}
	v.PageQuorum = pageQuorum(r, v.voters())
	v.Page = v.State == Down && len(v.Failing) >= v.PageQuorum
	v.Words = v.sentence(r, now)
	return v
}

func (j *Judge) turn(raw State, since, now time.Time) {
	if raw == j.state {
		return
	}
	// Votes come one after the other: the state began when the first of those saw it
	// that see it now, unless another state lay between.
	if raw == Unknown || since.Before(j.since) {
		since = now
	}
	j.flaps.add(raw, now)
	j.state, j.since = raw, since
}

// Recall has a judge that comes new to a target know what one knows that was there all
// the time, as far as the votes tell: it counts them at each moment of late at which one
// of them changed.
func (j *Judge) Recall(r Rules, now time.Time) {
	var past Judge
	var moments []time.Time
	for _, v := range j.votes {
		for _, t := range v.Turns {
			moments = append(moments, t.At)
		}
	}
	slices.SortFunc(moments, time.Time.Compare)
	for _, at := range moments {
		then := Judge{votes: make(map[string]Vote, len(j.votes))}
		for name, v := range j.votes {
			if v, known := v.then(at); known {
				then.votes[name] = v
			}
		}
		v := then.count(r, now)
		raw, since := v.decide(r)
		past.flaps.hold(at) // it may have been calm for long
		past.turn(raw, since, at)
	}
	j.state, j.since, j.flaps = past.state, past.since, past.flaps
}

// then is what the vantage said at a time, if it said anything.
func (v Vote) then(at time.Time) (Vote, bool) {
	if len(v.Turns) == 0 {
		return v, !v.Since.After(at)
	}
	for _, t := range slices.Backward(v.Turns) {
		if !t.At.After(at) {
			v.State, v.Since = t.State, t.At
			return v, true
		}
	}
	return v, false
}

func (j *Judge) count(r Rules, now time.Time) (v Verdict) {
	for _, vote := range j.votes {
		list := &v.Fine
		switch {
		case now.Sub(vote.At) > r.Fresh:
			list = &v.Silent
		case vote.Uplink != "":
			list = &v.Blind
		case vote.State == Down:
			list = &v.Failing
		case vote.State == Degraded:
			list = &v.Slow
		case vote.State == Unknown:
			list = &v.Silent
		}
		*list = append(*list, vote)
	}
	byName := func(a, b Vote) int { return strings.Compare(a.Vantage.Name, b.Vantage.Name) }
	for _, list := range [][]Vote{v.Failing, v.Slow, v.Fine, v.Blind, v.Silent} {
		slices.SortFunc(list, byName)
	}
	return v
}

// voters are those whose votes say something about the target.
func (v *Verdict) voters() int { return len(v.Failing) + len(v.Slow) + len(v.Fine) }

// decide returns the state that the votes say, and since when those see it that say so.
func (v *Verdict) decide(r Rules) (State, time.Time) {
	voters := v.voters()
	switch {
	case voters == 0:
		return Unknown, time.Time{}
	case len(v.Failing) >= atLeast(r.Quorum.Down, r, voters) && regions(v.Failing) >= min(max(r.Quorum.Regions, 1), allRegions(v)):
		return Down, earliest(v.Failing)
	case len(v.Failing)+len(v.Slow) >= atLeast(r.Quorum.Degraded, r, voters):
		return Degraded, earliest(v.Failing, v.Slow)
	}
	return Up, earliest(v.Fine)
}

// atLeast is how many vantages it takes: what is configured, else 2, but 1 where only
// one probes the target at all.
func atLeast(configured int, r Rules, voters int) int {
	switch {
	case configured > 0:
		return configured
	case max(r.Expected, voters) <= 1:
		return 1
	}
	return 2
}

func pageQuorum(r Rules, voters int) int {
	if r.Quorum.Page > 0 {
		return r.Quorum.Page
	}
	return atLeast(r.Quorum.Down, r, voters)
}

func regions(votes []Vote) int {
	seen := map[string]bool{}
	for _, v := range votes {
		seen[v.Vantage.Region] = true
	}
	return len(seen)
}

// allRegions bounds what a quorum may ask for: with vantages in one region only,
// nothing would ever be down.
func allRegions(v *Verdict) int {
	return max(1, regions(slices.Concat(v.Failing, v.Slow, v.Fine)))
}

func earliest(lists ...[]Vote) (at time.Time) {
	for _, votes := range lists {
		for _, v := range votes {
			if at.IsZero() || v.Since.Before(at) {
				at = v.Since
			}
		}
	}
	return at
}
