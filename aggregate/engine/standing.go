package engine

import "github.com/atoll-mesh/atoll/aggregate/rule"

// Standing is how a rule does. Times in milliseconds.
type Standing struct {
	Rule *rule.Rule
	// Series come in, Groups are made of them; Overflow counts series that found no
	// group of their own.
	Series, Groups int
	Overflow       uint64
	// Sealed is the end of the last window that was sealed, if Began; Lag how long
	// after its end that was.
	Began       bool
	Sealed, Lag int64
	// Late counts groups of sealed windows that changed, by what came of it: carried,
	// corrected, dropped, published.
	Late map[string]uint64
}

// Standings lists the rules in the order of their file.
func (e *Engine) Standings() []Standing {
	set := e.rules.Load()
	all := make([]Standing, 0, len(set.active))
	for _, rs := range set.active {
		s := Standing{
			Rule: rs.rule.Load(), Sealed: rs.sealed.Load(), Lag: rs.lag.Load(), Overflow: rs.groups.over.Load(),
			Late: make(map[string]uint64, lateOutcomes),
		}
		s.Began = s.Sealed != never
		s.Series, s.Groups = rs.groups.size()
		for o := range rs.late {
			s.Late[lateOutcome(o).String()] = rs.late[o].Load()
		}
		all = append(all, s)
	}
	return all
}

// size counts input series and groups.
func (g *groups) size() (series, count int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.all {
		if p := &g.all[i]; p.used {
			series += int(p.refs)
		}
	}
	return series, g.count
}
