package dimension

import (
	"slices"
	"time"

	"github.com/prometheus/prometheus/rules"
)

// Status is what a declared rule is doing.
type Status struct {
	// Name and Record are as declared; Expr is the undivided rule.
	Name, Record, Expr string
	SplitBy            []string
	Interval           time.Duration
	Scope              string

	// Values is how many there are; Rules how many this island evaluates,
	// Elsewhere how many others do.
	Values, Rules, Elsewhere int
	// LeftOut are the values beyond the cap, those with the fewest series first.
	LeftOut []LeftOut

	// LastTick is the last one finished; Lag the time from it to its last result.
	LastTick time.Time
	Lag      time.Duration
	// Failing is how many rules failed then; LastError is of one of them.
	Failing   int
	LastError string
}

func (p *plan) status() Status {
	scope := ScopeLocal
	if p.all {
		scope = ScopeAll
	}
	return Status{Name: p.name, Record: p.record, Expr: p.whole, SplitBy: p.splitter.labels, Interval: p.interval, Scope: scope}
}

// Rules returns the declared rules by name.
func (g *Generator) Rules() []Status {
	out := []Status{}
	for _, f := range g.sorted() {
		f.mu.Lock()
		s := f.status
		s.LeftOut = slices.Clone(s.LeftOut)
		f.mu.Unlock()
		out = append(out, s)
	}
	return out
}

// RuleGroups returns the narrow rules that this island evaluates, each as a
// group of its own, for the rules API.
func (g *Generator) RuleGroups() []*rules.Group {
	out := []*rules.Group{}
	for _, f := range g.sorted() {
		f.mu.Lock()
		for _, n := range f.order {
			out = append(out, n.group)
		}
		f.mu.Unlock()
	}
	return out
}
