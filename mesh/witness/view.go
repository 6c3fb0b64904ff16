package witness

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/trust"
)

// State is how a member is seen from here.
type State int

const (
	// Unknown is neither heard nor looked at yet.
	Unknown State = iota
	// Alive means that the last look succeeded, or it was heard since.
	Alive
	// Suspect was looked at in vain for a while, and others are being asked.
	Suspect
	// Unreachable from here; the testimony says from where else it is reached, or
	// nobody could say more.
	Unreachable
	// Lost is confirmed here, or stated by another and not reached from here.
	Lost
)

// String is the state in words.
func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Unreachable:
		return "unreachable from here"
	case Lost:
		return "lost"
	}
	return "unknown"
}

// View is what this island knows of another.
type View struct {
	Member
	State State
	// Since is when the state began, Heard when the island was last heard; both by
	// this island's clock, Heard zero if never.
	Since, Heard time.Time
	RTT          time.Duration
	// Failures is how many looks failed since, Error why the last one did.
	Failures int
	Error    string
	// Testimony is what others said when last asked.
	Testimony []Vote
}

// Verdict is the view in words where the member is in trouble: what is known of
// it, since when, and who saw what. It is empty for all others.
func (v View) Verdict() string {
	if v.State != Suspect && v.State != Unreachable && v.State != Lost {
		return ""
	}
	saw := map[bool][]string{}
	for _, t := range v.Testimony {
		if t.counts() {
			saw[t.Reached] = append(saw[t.Reached], t.Name+" ("+t.Region+")")
		}
	}
	text := fmt.Sprintf("%s since %s", v.State, v.Since.UTC().Format(time.TimeOnly))
	if by := saw[true]; len(by) > 0 {
		text += "; reached by " + strings.Join(by, ", ")
	}
	if by := saw[false]; len(by) > 0 {
		text += "; not reached by " + strings.Join(by, ", ")
	}
	return text
}

// view is the inside of a View. Its times are for durations only.
type view struct {
	Member
	state State
	since time.Time

	connected bool
	ever      bool      // was reached at some time
	heard     time.Time // last sign of life
	well      time.Time // first sign of life since the last failed look
	looked    time.Time // start of the last look
	flight    *flight
	rtt       time.Duration

	failures int
	silent   time.Time // start of the first failed look since heard
	missed   time.Time // end of the last one
	err      string

	next time.Time // when to look, for those in trouble; zero for the others
	ask  time.Time // when to ask others; zero for never

	asking, speaking bool
	round            uint64 // of asking
	votes            []Vote
	// confirmed is when a quorum last agreed that it is lost; speak when this
	// island would state it.
	confirmed, speak time.Time
	// contradicted is who last withdrew a statement that still seemed right here.
	contradicted trust.Key
	// losses are the times at which it was stated lost within the last hour.
	losses []time.Time
}

// flight is a look under way; rtt and err are set when done is closed.
type flight struct {
	done chan struct{}
	// favour is set where only another island wanted to know: what it finds is
	// remembered, and not followed up.
	favour bool
	rtt    time.Duration
	err    error
}

func (v *view) believedAlive() bool {
	return (v.state == Alive || v.state == Unknown) && v.failures == 0
}

func (v *view) become(s State, now time.Time) {
	if v.state != s {
		v.state, v.since = s, now
	}
}

// View returns what is known of one member.
func (w *Witness) View(key trust.Key) (View, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.views[key]
	if !ok {
		return View{}, false
	}
	return v.export(), true
}

// Views returns what is known of every member but this island, by name.
func (w *Witness) Views() []View {
	w.mu.Lock()
	out := make([]View, 0, len(w.views))
	for _, v := range w.views {
		out = append(out, v.export())
	}
	w.mu.Unlock()
	slices.SortFunc(out, func(a, b View) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (v *view) export() View {
	return View{
		Member: v.Member, State: v.state, Since: v.since, Heard: v.heard, RTT: v.rtt,
		Failures: v.failures, Error: v.err, Testimony: slices.Clone(v.votes),
	}
}

// Statements returns those that stand, by name of the target.
func (w *Witness) Statements() []Statement {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Statement
	for _, s := range w.standing {
		out = append(out, s.Statement)
	}
	slices.SortFunc(out, func(a, b Statement) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Alone reports whether this island reaches hardly anybody.
func (w *Witness) Alone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.alone.IsZero()
}
