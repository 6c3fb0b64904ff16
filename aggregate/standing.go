package aggregate

import (
	"time"

	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// RulesPath is where an island tells how its rules do.
const RulesPath = "/api/atoll/v1/aggregate/rules"

// Standing is a rule and how it does. Durations are seconds.
type Standing struct {
	Rule  string `json:"rule"`
	Line  int    `json:"line"`
	Match string `json:"match"`

	Interval float64  `json:"interval_seconds"`
	By       []string `json:"by,omitempty"`
	Without  []string `json:"without,omitempty"`
	Outputs  []string `json:"outputs"`
	// Late is what becomes of samples of sealed windows: carry, correct or drop.
	Late       string `json:"late"`
	KeepInput  bool   `json:"keep_input"`
	Distribute bool   `json:"distribute"`
	MaxGroups  int    `json:"max_groups"`

	// Series come in, Groups are made of them, Made are the series that go out.
	Series int `json:"series"`
	Groups int `json:"groups"`
	Made   int `json:"made_series"`
	// Overflow counts series that found no group of their own.
	Overflow uint64 `json:"overflow_series"`
	// Sealed is the end of the last window that was sealed, nil if there was none; Lag
	// is how long after its end that was.
	Sealed *time.Time `json:"sealed,omitempty"`
	Lag    float64    `json:"lag_seconds"`
	// LateGroups counts groups of sealed windows that changed, by what came of it.
	LateGroups map[string]uint64 `json:"late_groups"`
}

// Standings lists the rules in the order of their file.
func (a *Aggregator) Standings() []Standing {
	all := []Standing{}
	for _, e := range a.engine.Standings() {
		s := Standing{
			Rule: e.Rule.Label, Line: e.Rule.Line, Match: e.Rule.Selectors().String(),
			Interval: e.Rule.Interval.Seconds(), By: e.Rule.By, Without: e.Rule.Without, Outputs: outputNames(e.Rule),
			Late: e.Rule.Late.String(), KeepInput: e.Rule.KeepInput, Distribute: e.Rule.Distribute, MaxGroups: e.Rule.MaxGroups,
			Series: e.Series, Groups: e.Groups, Made: e.Groups * len(e.Rule.Outputs), Overflow: e.Overflow,
			Lag: float64(e.Lag) / 1000, LateGroups: e.Late,
		}
		if e.Began {
			at := time.UnixMilli(e.Sealed).UTC()
			s.Sealed = &at
		}
		all = append(all, s)
	}
	return all
}

func outputNames(r *rule.Rule) []string {
	names := make([]string, len(r.Outputs))
	for i, o := range r.Outputs {
		names[i] = o.String()
	}
	return names
}
