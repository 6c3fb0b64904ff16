package verdict

import (
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
)

// State is what a target is in.
type State uint8

// The states, the better one first.
const (
	Unknown  State = iota // nobody can tell
	Up                    // as it should be
	Degraded              // slow, or not for all
	Down
)

var stateNames = [...]string{"unknown", "up", "degraded", "down"}

// String is the state's name in the API and in labels.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return stateNames[Unknown]
}

// Outcome is what one probe came to.
type Outcome struct {
	At time.Time
	// State is Up, Degraded (it answered too late) or Down.
	State State
	// Code and Words say why, empty where Up.
	Code, Words string
}

// View is what one vantage thinks of one target, after its last results: it changes
// its mind when enough of them say so. The zero View knows nothing.
type View struct {
	state State
	since time.Time
	last  Outcome
	// why is the newest outcome that agrees with state, or that made it.
	why Outcome
	// recent are the states of the last results, the newest last.
	recent []State
	// turns are as Turns returns them, and older ones.
	turns []Turn
}

// Turn is when a state began.
type Turn struct {
	At    time.Time
	State State
}

// MostTurns bounds those of a vote. Of one that turns more often than every 20 s the
// judge who comes late knows that it flaps, but perhaps not since when.
const MostTurns = 32

// Add takes the next outcome. With damping "2 of 3" the view changes once 2 of the
// last 3 results are at least that bad, or that good; with none at each. The first
// outcome is believed at once. It reports whether the state changed.
func (v *View) Add(o Outcome, damp definition.History) (changed bool) {
	need, of := max(damp.Need, 1), max(damp.Of, 1)
	if v.recent = append(v.recent, o.State); len(v.recent) > of {
		v.recent = v.recent[:copy(v.recent, v.recent[len(v.recent)-of:])]
	}
	v.last = o
	next := v.state
	switch {
	case v.state == Unknown:
		next = o.State
	case v.count(func(s State) bool { return s > v.state }) >= need:
		next = v.nth(need, true)
	case v.count(func(s State) bool { return s < v.state }) >= need:
		next = v.nth(need, false)
	}
	if changed = next != v.state; changed {
		v.turn(next, o.At)
	}
	if o.State == v.state || changed {
		v.why = o
	}
	return changed
}

func (v *View) turn(next State, at time.Time) {
	switch {
	case v.state == Unknown: // before it nothing was known
	case len(v.turns) == 0:
		v.turns = append(v.turns, Turn{v.since, v.state}, Turn{at, next})
	default:
		v.turns = append(v.turns, Turn{at, next})
	}
	if over := len(v.turns) - MostTurns; over > 0 {
		v.turns = slices.Delete(v.turns, 0, over)
	}
	v.state, v.since = next, at
}

// Turns are the changes of the last ten minutes, the oldest first, after the state that
// was before them. They tell another judge how the target has been.
func (v *View) Turns(now time.Time) []Turn {
	n := 0
	for n+1 < len(v.turns) && now.Sub(v.turns[n+1].At) > flapWindow {
		n++
	}
	if v.turns = slices.Delete(v.turns, 0, n); len(v.turns) < 2 {
		v.turns = nil
	}
	return slices.Clone(v.turns)
}

func (v *View) count(is func(State) bool) (n int) {
	for _, s := range v.recent {
		if is(s) {
			n++
		}
	}
	return n
}

// nth is the worst state that at least need of the recent ones are as bad as, or the
// best that as many are as good as.
func (v *View) nth(need int, worst bool) State {
	if worst {
		for s := Down; s > Up; s-- {
			if v.count(func(x State) bool { return x >= s }) >= need {
				return s
			}
		}
		return Up
	}
	for s := Up; s < Down; s++ {
		if v.count(func(x State) bool { return x <= s }) >= need {
			return s
		}
	}
	return Down
}

// State is what the vantage thinks now, Unknown before the first outcome.
func (v *View) State() State { return v.state }

// Since is when it began to.
func (v *View) Since() time.Time { return v.since }

// Last is the newest outcome, which need not agree with State.
func (v *View) Last() Outcome { return v.last }

// Why is the newest outcome that agrees with State.
func (v *View) Why() Outcome { return v.why }

// Recent returns how many of the last results were not Up, and of how many.
func (v *View) Recent() (bad, of int) {
	return v.count(func(s State) bool { return s > Up }), len(v.recent)
}
