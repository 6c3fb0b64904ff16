package council

import (
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/probe/compare"
	"github.com/atoll-mesh/atoll/probe/verdict"
)

// Outcome is what a probe of this island came to.
type Outcome struct {
	verdict.Outcome
	// Host is what the target's trouble may be, beside the target's own: its name.
	Host string
	Took time.Duration
	// Phases are in the order of package protocol.
	Phases []time.Duration
	// Expires is when the first certificate expires, Unix seconds; 0 without any.
	Expires int64
	// Answer is what is compared, nil if there was none.
	Answer *compare.Answer
}

// seat is one target that this island probes.
type seat struct {
	id     uint64
	target Target
	shared bool
	host   string
	view   verdict.View
	// took and phases are of the newest probe that agrees with the view, and measured is
	// when that was.
	took     time.Duration
	phases   []time.Duration
	measured time.Time
	expires  int64
	// failure is the ID of the evidence, "" while the view is up.
	failure string
	// figure is the duration that was told last, and figured when that was.
	figure  time.Duration
	figured time.Time
	// answer is the newest one, until the target is down.
	answer *compare.Answer
	// code and bad are what was told last.
	code string
	bad  int
	// first and second judge it.
	first, second string
	seen          seen
}

// seen is what others see of a target.
type seen struct {
	state        verdict.State
	others, fine int
	names        []string
	at           time.Time // zero where nobody said
}

// Observe takes what a probe came to. turned tells that with it this island's view of
// the target became worse than up.
func (c *Council) Observe(t Target, o Outcome) (turned bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.defs[t.Definition]
	if d == nil {
		return false // it went this very moment
	}
	s := c.seats[t]
	if s == nil {
		c.nextID++
		s = &seat{id: c.nextID, target: t, shared: d.Shared, host: o.Host}
		c.seats[t], c.byID[s.id] = s, s
		c.assign(s)
	}
	before := s.view.State()
	changed := s.view.Add(o.Outcome, d.History)
	if o.State == s.view.State() || changed {
		s.took, s.phases, s.measured = o.Took, append(s.phases[:0], o.Phases...), o.At
	}
	if s.view.State() == verdict.Up {
		s.failure = ""
	}
	bad, _ := s.view.Recent()
	answered := s.answers(d, o.Answer)
	small := answered || s.code != s.view.Why().Code || s.bad != bad || s.drifts(o.At) || s.expires != o.Expires && o.Expires != 0
	s.code, s.bad = s.view.Why().Code, bad
	if o.Expires != 0 {
		s.expires = o.Expires
	}
	switch {
	case changed:
		c.shifted = true
		c.tell(s)
	case small:
		c.note(s)
		if k := c.dockets[t]; answered && k != nil {
			k.due = time.Time{} // it may be judged here
		}
	}
	return s.view.State() > max(before, verdict.Up)
}

const (
	// figureAge is how often figures are told anew that changed, figureNoise what they may
	// change by.
	figureAge   = time.Minute
	figureNoise = 5 * time.Millisecond
)

// drifts tells that others know a duration that is half or twice what it is now.
func (s *seat) drifts(now time.Time) bool {
	const much = 2
	low, high := min(s.took, s.figure), max(s.took, s.figure)
	return now.Sub(s.figured) >= figureAge && high > much*low && high-low > figureNoise
}

// Evidence has the judges know where it is found out why a target is not up for this
// island.
func (c *Council) Evidence(t Target, failure string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.seats[t]; s != nil && s.view.State() > verdict.Up && s.failure != failure {
		s.failure = failure
		c.tell(s)
	}
}

// answers takes an answer to compare, and reports whether it is another one. That a
// probe has none says nothing about what is served, unless nobody is served any more.
func (s *seat) answers(d *Definition, a *compare.Answer) (news bool) {
	if a == nil && s.view.State() != verdict.Down && d.Compare != nil {
		return false
	}
	was := s.answer
	s.answer = a
	return !a.Equal(was)
}

// Leave withdraws what this island said of a target that it probes no more, or not at
// this time of day.
func (c *Council) Leave(t Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.seats[t]; s != nil {
		c.leave(s)
		c.stir()
	}
}

func (c *Council) leave(s *seat) {
	delete(c.seats, s.target)
	delete(c.byID, s.id)
	for _, name := range [...]string{s.first, s.second} {
		c.withdraw(s, name)
	}
}

// withdraw has a judge forget a vote.
func (c *Council) withdraw(s *seat, judge string) {
	if judge == c.self.Name {
		if d := c.dockets[s.target]; d != nil {
			d.judge.Leave(c.self.Name)
			d.due = time.Time{}
		}
		return
	}
	if t := c.towards[judge]; t != nil {
		t.drop(s)
	}
}

// assign finds who judges a target now, and tells those who did not know.
func (c *Council) assign(s *seat) {
	first, second := c.judges(s.target, s.shared)
	was := [...]string{s.first, s.second}
	s.first, s.second = first, second
	for _, name := range was {
		if name != "" && name != first && name != second {
			c.withdraw(s, name)
		}
	}
	for _, name := range [...]string{first, second} {
		if name != "" && !slices.Contains(was[:], name) {
			c.hand(s, name)
		}
	}
	if first == c.self.Name || second == c.self.Name {
		c.open(s.target).due = time.Time{}
	}
}

// tell has the judges know at once.
func (c *Council) tell(s *seat) {
	for _, name := range [...]string{s.first, s.second} {
		if name != "" {
			c.hand(s, name)
		}
	}
	c.stir()
}

// hand gives a vote to one judge.
func (c *Council) hand(s *seat, judge string) {
	if judge == c.self.Name {
		c.open(s.target).due = time.Time{}
		return
	}
	c.toward(judge).dirty[s.id] = s
}

// note has the judges know when they hear of this island anyway.
func (c *Council) note(s *seat) {
	for _, name := range [...]string{s.first, s.second} {
		if t := c.towards[name]; t != nil {
			t.later[s.id] = s
		}
	}
}

// vote is what this island says of a target now.
func (s *seat) vote(c *Council) verdict.Vote {
	why, last := s.view.Why(), s.view.Last()
	bad, of := s.view.Recent()
	return verdict.Vote{
		Vantage: c.self, State: s.view.State(), Since: s.view.Since(), At: last.At, Code: why.Code, Words: why.Words,
		Bad: bad, Of: of, Took: s.took, Phases: slices.Clone(s.phases), Measured: s.measured, Uplink: c.uplink,
		Turns: s.view.Turns(time.Now()), Failure: s.failure,
	}
}

// lookAgain is how often it is looked whether this island is blind where nothing
// changed: it may be told, or asked, no more.
const lookAgain = 5 * time.Second

// look tells whether this island's own way out is bad, and what it last was told of
// those targets that fail.
func (c *Council) look(now time.Time) {
	if age := now.Sub(c.looked); age < time.Second || !c.shifted && age < lookAgain {
		return
	}
	c.looked, c.shifted = now, false
	type host struct{ up, fine bool }
	hosts := map[string]host{}
	asked := false
	for _, s := range c.seats {
		if d := c.defs[s.target.Definition]; d == nil || now.Sub(s.view.Last().At) > d.fresh() {
			c.leave(s) // it is probed no more
			continue
		}
		h := hosts[s.host]
		h.up = h.up || s.view.State() != verdict.Down
		if known := now.Sub(s.seen.at) < shortestFresh && s.seen.others > 0; known {
			asked = true
			h.fine = h.fine || s.seen.fine > 0
		}
		hosts[s.host] = h
	}
	u := verdict.Uplink{Hosts: len(hosts)}
	for _, h := range hosts {
		if !h.up {
			u.Failing++
			if h.fine {
				u.Healthy++
			}
		}
	}
	if !asked {
		u.Healthy = -1
	}
	words := ""
	c.blind = 0
	if u.Bad() {
		words, c.blind = u.Words(), 1
		if !asked {
			c.blind = 2 // it may as well be all those targets
		}
	}
	if (words == "") == (c.uplink == "") {
		return // the numbers alone are no news
	}
	c.uplink = words
	for _, d := range c.dockets {
		d.due = time.Time{}
	}
	for _, t := range c.towards {
		t.soon = true
	}
}

// Others are vantages that see a target as it should be, at most three, the nearest
// first.
func (c *Council) Others(t Target) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.seats[t]; s != nil {
		return slices.Clone(s.seen.names)
	}
	return nil
}

// Standing is how this island's own way out is: how many targets it probes, how many of
// these are not up for it, and, where that is its own fault, 1 or, where no other can be
// asked, 2, and why.
func (c *Council) Standing() (targets, failing, blind int, uplink string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.seats {
		if s.view.State() > verdict.Up {
			failing++
		}
	}
	return len(c.seats), failing, int(c.blind), c.uplink
}
