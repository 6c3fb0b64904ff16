package rewrite

import (
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/schema"
)

// planner rewrites one expression.
type planner struct {
	options Options
	classes map[parser.Expr]class
	ids     map[string]int // of leaves, by key
	plan    *Plan
}

// place is where an expression stands.
type place struct {
	grid Grid
	at   *int64 // the step at which a step-invariant expression is evaluated
	root bool   // the expression's result is the query's
}

func (pl place) below() place {
	pl.root = false
	return pl
}

// rewrite returns e with leaves in the place of what islands compute.
func (p *planner) rewrite(e parser.Expr, pl place) parser.Expr {
	c := p.class(e)
	if c == constant {
		return e
	}
	switch n := e.(type) {
	case *parser.ParenExpr:
		return &parser.ParenExpr{Expr: p.rewrite(n.Expr, pl)}
	case *parser.StepInvariantExpr:
		at := pl.grid.Start
		return p.rewrite(n.Expr, place{grid: pl.grid.invariant(), at: &at, root: pl.root})
	case *parser.SubqueryExpr:
		if unsteady(n) {
			return n
		}
		out := *n
		out.Expr = p.rewrite(n.Expr, place{grid: pl.grid.subquery(n)})
		return &out
	case *parser.MatrixSelector:
		return e
	case *parser.AggregateExpr:
		if out := p.merge(n, pl); out != nil {
			return out
		}
	}
	if c == local && (!p.options.DelayedNames || pl.root || settled(e)) {
		return p.ship(e, pl, Leaf{Keeps: true})
	}
	switch n := e.(type) {
	case *parser.UnaryExpr:
		out := *n
		out.Expr = p.rewrite(n.Expr, pl.below())
		return &out
	case *parser.BinaryExpr:
		out := *n
		out.LHS = p.rewrite(n.LHS, pl.below())
		out.RHS = p.rewrite(n.RHS, pl.below())
		return &out
	case *parser.AggregateExpr:
		out := *n
		out.Expr = p.rewrite(n.Expr, pl.below())
		if n.Param != nil {
			out.Param = p.rewrite(n.Param, pl.below())
		}
		return &out
	case *parser.Call:
		return p.rewriteCall(n, pl.below())
	}
	return e
}

func (p *planner) rewriteCall(n *parser.Call, pl place) parser.Expr {
	switch n.Func.Name {
	case "info": // the engine looks at the argument's own selectors
		return n
	case "absent", "absent_over_time":
		if p.class(n.Args[0]) == local {
			return p.absent(n, pl)
		}
	case "timestamp", "start_timestamp": // the engine asks the selector itself
		if _, ok := bare(n.Args[0]).(*parser.VectorSelector); ok {
			return n
		}
	}
	out := *n
	out.Args = make(parser.Expressions, len(n.Args))
	for i, a := range n.Args {
		out.Args[i] = p.rewrite(a, pl)
	}
	if _, ok := out.Args[0].(*parser.VectorSelector); ok && strings.HasSuffix(n.Func.Name, "timestamp") {
		out.Args[0] = &parser.UnaryExpr{Op: parser.ADD, Expr: out.Args[0]} // not a selector any more
	}
	return &out
}

func bare(e parser.Expr) parser.Expr {
	for {
		switch n := e.(type) {
		case *parser.ParenExpr:
			e = n.Expr
		case *parser.StepInvariantExpr:
			e = n.Expr
		default:
			return e
		}
	}
}

// absent asks islands only whether there is something. The labels of absent()
// come from the matchers of its argument, so those stay.
func (p *planner) absent(n *parser.Call, pl place) parser.Expr {
	arg := bare(n.Args[0])
	probe := parser.Expr(&parser.AggregateExpr{Op: parser.GROUP, Expr: arg})
	var named *parser.VectorSelector
	switch a := arg.(type) {
	case *parser.VectorSelector:
		named = a
	case *parser.MatrixSelector:
		named = a.VectorSelector.(*parser.VectorSelector)
	}
	if arg.Type() == parser.ValueTypeMatrix {
		// Not present_over_time: it drops names, which may leave equal labels.
		probe = &parser.AggregateExpr{Op: parser.GROUP, Expr: &parser.Call{
			Func: parser.Functions["last_over_time"], Args: parser.Expressions{arg},
		}}
	}
	sel := p.leaf(probe, pl, Leaf{Floats: true, Absent: true})
	if named != nil {
		sel.Name = named.Name
		sel.LabelMatchers = slices.Concat(named.LabelMatchers, sel.LabelMatchers)
	}
	return &parser.Call{Func: parser.Functions["absent"], Args: parser.Expressions{sel}}
}

// merge pushes an aggregation and aggregates again what comes back; nil if that
// is not the same or not wanted.
func (p *planner) merge(n *parser.AggregateExpr, pl place) parser.Expr {
	if p.class(n.Expr) != local || p.class(n.Param) != constant {
		return nil
	}
	ordered := n.Op == parser.TOPK || n.Op == parser.BOTTOMK
	if p.class(n) == local && !ordered {
		return nil // can be pushed as it is; topk goes on, to be put in order again
	}
	if p.options.DelayedNames && !settled(n) && (!pl.root || !ordered && n.Op != parser.LIMITK || byName(n)) {
		return nil
	}
	again := *n
	var out parser.Expr = &again
	leaf := Leaf{}
	switch n.Op {
	case parser.SUM:
		leaf.Sums = true
	case parser.MIN, parser.MAX, parser.GROUP:
		leaf.Floats = true
	case parser.TOPK, parser.BOTTOMK, parser.LIMITK:
		leaf.Keeps = true
		leaf.Floats = ordered
	case parser.COUNT:
		leaf.Floats = true
		again.Op = parser.SUM
	case parser.COUNT_VALUES:
		label := n.Param.(*parser.StringLiteral).Val
		if label == p.options.Label {
			return nil
		}
		leaf.Floats = true
		again.Op, again.Param = parser.SUM, nil
		if !n.Without && !slices.Contains(n.Grouping, label) {
			again.Grouping = append(slices.Clone(n.Grouping), label)
		}
	case parser.AVG:
		return p.mergeAvg(n, pl)
	default:
		return nil
	}
	if p.whole(n, pl) {
		return nil
	}
	shipped := p.ship(n, pl, leaf)
	if shipped == parser.Expr(n) {
		return n // to be fetched
	}
	again.Expr = shipped
	return out
}

// byName reports whether n groups by the metric name, or by what goes with it.
func byName(n *parser.AggregateExpr) bool {
	return !n.Without && slices.ContainsFunc(n.Grouping, schema.IsMetadataLabel)
}

// mergeAvg divides the sum by the count. A division drops the metric name, so a
// mean by name is not merged.
func (p *planner) mergeAvg(n *parser.AggregateExpr, pl place) parser.Expr {
	if byName(n) {
		return nil
	}
	sum, count := *n, *n
	sum.Op, count.Op = parser.SUM, parser.COUNT
	if p.whole(&sum, pl) {
		return nil
	}
	if p.fetch(n, pl, true) {
		return n
	}
	total, number := sum, count
	number.Op = parser.SUM
	total.Expr = p.leaf(&sum, pl, Leaf{Sums: true, Means: true})
	number.Expr = p.leaf(&count, pl, Leaf{Floats: true})
	return &parser.ParenExpr{Expr: &parser.BinaryExpr{
		Op: parser.DIV, LHS: &total, RHS: &number,
		VectorMatching: &parser.VectorMatching{Card: parser.CardOneToOne},
	}}
}

func (p *planner) whole(n parser.Expr, pl place) bool {
	return p.options.Whole != nil && p.options.Whole(leafKey(n.String(), pl.grid))
}

func (p *planner) fetch(e parser.Expr, pl place, merged bool) bool {
	if p.options.Fetch == nil {
		return false
	}
	mint, maxt := p.reads(e, pl.grid)
	_, plain := bare(e).(*parser.VectorSelector)
	return p.options.Fetch(Candidate{
		Expr: e.String(), Grid: pl.grid, MinTime: mint, MaxTime: maxt,
		Selectors: len(parser.ExtractSelectors(e)), Merged: merged, Plain: plain,
	})
}

// ship makes e a leaf, or returns e itself if it is to be fetched.
func (p *planner) ship(e parser.Expr, pl place, l Leaf) parser.Expr {
	_, aggregate := e.(*parser.AggregateExpr)
	if p.fetch(e, pl, aggregate) {
		return e
	}
	return p.leaf(e, pl, l)
}

// leaf makes e a leaf, or finds the one that computes the same, and returns the
// selector that stands for it.
func (p *planner) leaf(e parser.Expr, pl place, l Leaf) *parser.VectorSelector {
	l.Expr, l.Grid = e.String(), pl.grid
	key := l.Key()
	id, ok := p.ids[key]
	if ok {
		known := &p.plan.Leaves[id]
		known.Sums, known.Means = known.Sums || l.Sums, known.Means || l.Means
		known.Absent = known.Absent || l.Absent
	} else {
		id = len(p.plan.Leaves)
		p.ids[key] = id
		l.MinTime, l.MaxTime = p.reads(e, pl.grid)
		l.Selectors = parser.ExtractSelectors(e)
		l.Ahead = ahead(e)
		p.plan.Leaves = append(p.plan.Leaves, l)
	}
	// Not by equality: absent() would make it a label of its result.
	m := labels.MustNewMatcher(labels.MatchRegexp, LeafLabel, strconv.Itoa(id))
	return &parser.VectorSelector{LabelMatchers: []*labels.Matcher{m}, Timestamp: pl.at}
}

// ahead reports whether anything in e looks at times that are not before the one
// of the evaluation.
func ahead(e parser.Expr) (yes bool) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			yes = yes || n.Timestamp != nil || n.OriginalOffset < 0 || n.Smoothed
		case *parser.SubqueryExpr:
			yes = yes || n.Timestamp != nil || n.OriginalOffset < 0
		}
		return nil
	})
	return yes
}
