package verdict

import "time"

// A target flaps when its state changed often of late. Then the worst state of that
// time is held until it is calm again, so that one trouble is one alert.
const (
	flapWindow  = 10 * time.Minute
	flapChanges = 5 // within the window
	calmAfter   = 5 * time.Minute
)

type change struct {
	at time.Time
	to State
}

// flaps are the changes of a state in the last window.
type flaps struct {
	changes []change
	held    bool
	since   time.Time // of the worst state, where it is held
}

func (f *flaps) add(to State, now time.Time) {
	if to == Unknown {
		return // a silence of all vantages is none of the target's doing
	}
	f.forget(now)
	if len(f.changes) < 2*flapChanges {
		f.changes = append(f.changes, change{now, to})
	} else {
		copy(f.changes, f.changes[1:])
		f.changes[len(f.changes)-1] = change{now, to}
	}
	if len(f.changes) >= flapChanges && !f.held {
		f.held, f.since = true, f.began()
	}
}

// began is when the worst state of late was entered first.
func (f *flaps) began() (at time.Time) {
	worst := Unknown
	for _, c := range f.changes {
		if c.to > worst {
			worst, at = c.to, c.at
		}
	}
	return at
}

// hold returns the worst state of late, and whether it is to be held.
func (f *flaps) hold(now time.Time) (worst State, held bool) {
	f.forget(now)
	if n := len(f.changes); f.held && (n == 0 || now.Sub(f.changes[n-1].at) >= calmAfter) {
		f.held = false
	}
	if !f.held {
		return Unknown, false
	}
	for _, c := range f.changes {
		worst = max(worst, c.to)
	}
	return worst, true
}

func (f *flaps) forget(now time.Time) {
	n := 0
	for n < len(f.changes) && now.Sub(f.changes[n].at) > flapWindow {
		n++
	}
	f.changes = f.changes[:copy(f.changes, f.changes[n:])]
}
