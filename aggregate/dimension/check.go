package dimension

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Explanation says what a declaration would make of the data there is.
type Explanation struct {
	// Name and Record are as declared; Expr is the undivided rule.
	Name, Record, Expr string
	// Interval is the time between evaluations; Reach is how long after its last
	// sample a value keeps its rule.
	Interval, Reach time.Duration
	// Rules are the narrow rules of all islands, those with the most series first.
	Rules []ExplainedRule
	// LeftOut are the values beyond the cap, those with the fewest series first.
	LeftOut []LeftOut
	// Warnings are suspicious but accepted.
	Warnings []string
}

// ExplainedRule is one narrow rule that would be made.
type ExplainedRule struct {
	// Value reads like {service="cart"}.
	Value string
	// Expr is what would be evaluated.
	Expr string
	// Series is how many series it would read.
	Series int
	// Owner is the island that would evaluate it; empty for scope local: each does.
	Owner string
}

// Check says what a configuration would generate from the data of now. It
// changes nothing. The error lists everything that is wrong with it.
func (g *Generator) Check(ctx context.Context, c Config) ([]Explanation, error) {
	plans, err := g.compile(c)
	if err != nil {
		return nil, err
	}
	_, found := compileAll(c, g.compiler())
	out := make([]Explanation, 0, len(plans))
	for i, p := range plans {
		e, err := g.explain(ctx, p)
		if err != nil {
			return nil, err
		}
		e.Warnings = warningsOf(found, i)
		out = append(out, e)
	}
	return out, nil
}

func (g *Generator) explain(ctx context.Context, p *plan) (Explanation, error) {
	e := Explanation{Name: p.name, Record: p.record, Expr: p.whole, Interval: p.interval, Reach: p.reach}
	f := g.newFamily(p, nil)
	now := time.Now()
	values, _, err := f.source.list(ctx, now)
	if err != nil {
		return e, err
	}
	if values, err = f.living(ctx, now, values); err != nil {
		return e, err
	}
	if values, e.LeftOut, err = f.ranking.choose(ctx, now, values); err != nil {
		return e, err
	}
	for _, k := range slices.Sorted(maps.Keys(values)) {
		expr, err := p.narrow(values[k])
		if err != nil {
			return e, err
		}
		n, err := f.source.count(ctx, now, []value{values[k]})
		if err != nil {
			return e, err
		}
		r := ExplainedRule{Value: k, Expr: expr.String(), Series: n[0]}
		if p.all {
			_, members := g.members()
			r.Owner = owner(p.name, k, members)
		}
		e.Rules = append(e.Rules, r)
	}
	slices.SortStableFunc(e.Rules, func(a, b ExplainedRule) int { return b.Series - a.Series })
	return e, nil
}

func warningsOf(found []finding, rule int) []string {
	var out []string
	prefix := fmt.Sprintf("dimension_rules[%d].", rule)
	for _, f := range found {
		if field, own := strings.CutPrefix(f.path, prefix); own && f.warning {
			out = append(out, field+": "+f.message)
		}
	}
	return out
}
