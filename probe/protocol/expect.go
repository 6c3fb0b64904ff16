package protocol

import (
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
)

// Finish ends a probe that began at r.Start: it notes how long it took, whether that
// was within what the module expects, and that the target is up if nothing failed.
func (r *Result) Finish(want *definition.Expect) *Result {
	r.Took = time.Since(r.Start)
	defer func() { r.Up = r.Reason.Code == "" }()
	if within := time.Duration(want.Within); within > 0 && r.Took > within {
		r.Fail(Slow, slowest(r), "took %s, want %s: %s alone %s", round(r.Took), within, slowest(r), round(r.Phases[slowest(r)]))
	}
	for p := Resolve; p < Phases && len(want.Phases) > 0; p++ {
		if limit, ok := want.Phases[p.String()]; ok && r.Phases[p] > time.Duration(limit) {
			r.Fail(Slow, p, "%s took %s, want %s", p, round(r.Phases[p]), limit)
		}
	}
	return r
}

func slowest(r *Result) Phase {
	at := Resolve
	for p := range Phases {
		if r.Phases[p] > r.Phases[at] {
			at = p
		}
	}
	return at
}

// round leaves three digits.
func round(d time.Duration) time.Duration {
	for unit := time.Second; unit > time.Nanosecond; unit /= 10 {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d
}
