package rewrite

import (
	"slices"

	"github.com/prometheus/prometheus/promql/parser"
)

// class says what an expression needs to be evaluated.
type class uint8

const (
	unknown  class = iota
	constant       // no series: the same everywhere
	local          // one island's series at a time; the partition label is kept
	global         // series of all islands together
)

func (p *planner) class(e parser.Expr) class {
	if e == nil {
		return constant
	}
	c, ok := p.classes[e]
	if !ok {
		c = p.classify(e)
		p.classes[e] = c
	}
	return c
}

func (p *planner) classify(e parser.Expr) class {
	switch n := e.(type) {
	case *parser.NumberLiteral, *parser.StringLiteral:
		return constant
	case *parser.VectorSelector, *parser.MatrixSelector:
		return local
	case *parser.ParenExpr:
		return p.class(n.Expr)
	case *parser.UnaryExpr:
		return p.class(n.Expr)
	case *parser.StepInvariantExpr:
		return p.class(n.Expr)
	case *parser.SubqueryExpr:
		if unsteady(n) {
			return global
		}
		return p.class(n.Expr)
	case *parser.BinaryExpr:
		return p.classifyBinary(n)
	case *parser.Call:
		return p.classifyCall(n)
	case *parser.AggregateExpr:
		return p.classifyAggregate(n)
	}
	return global
}

func (p *planner) classifyCall(n *parser.Call) class {
	locals := 0
	for _, a := range n.Args {
		switch p.class(a) {
		case local:
			locals++
		case global:
			return global
		}
	}
	switch {
	case locals == 0:
		return constant
	case locals > 1:
		return global
	}
	switch n.Func.Name {
	case "absent", "absent_over_time", "scalar", "info",
		"sort", "sort_desc", "sort_by_label", "sort_by_label_desc":
		return global
	case "label_replace", "label_join", "histogram_quantiles":
		if s, ok := n.Args[1].(*parser.StringLiteral); !ok || s.Val == p.options.Label {
			return global
		}
	}
	return local
}

func (p *planner) classifyBinary(n *parser.BinaryExpr) class {
	l, r := p.class(n.LHS), p.class(n.RHS)
	switch {
	case l == constant && r == constant:
		return constant
	case l == global || r == global:
		return global
	case n.LHS.Type() != parser.ValueTypeVector || n.RHS.Type() != parser.ValueTypeVector:
		return local
	}
	m := n.VectorMatching
	if l == local && r == local {
		if m.On == slices.Contains(m.MatchingLabels, p.options.Label) {
			return local
		}
		return global
	}
	// One side is the same everywhere and has no partition label. What is decided
	// for each series of the other side alone is local.
	switch {
	case m.FillValues.LHS != nil || m.FillValues.RHS != nil || slices.Contains(m.Include, p.options.Label):
		return global
	case n.Op == parser.LAND || n.Op == parser.LUNLESS || m.Card == parser.CardManyToOne:
		return l
	case m.Card == parser.CardOneToMany:
		return r
	}
	return global
}

func (p *planner) classifyAggregate(n *parser.AggregateExpr) class {
	e, param := p.class(n.Expr), p.class(n.Param)
	switch {
	case e == constant && param == constant:
		return constant
	case e != local || param != constant:
		return global
	case n.Op == parser.LIMIT_RATIO: // by each series' hash alone
		return local
	case n.Op == parser.COUNT_VALUES && n.Param.(*parser.StringLiteral).Val == p.options.Label:
		return global
	case n.Without != slices.Contains(n.Grouping, p.options.Label):
		return local
	}
	return global
}

// unsteady reports whether n is moved by an offset or @, and its operand has an @.
// The upstream engine counts the operand's offset from the first step of what is
// around n, and anew only if n has another first step (runSubquery of
// promql/engine.go, v0.316): where they are the same, it reads at another time, and
// what is cut off there decides what it finds. So an answer hangs on when the
// question begins, and only the engine that answers it all gives the same.
func unsteady(n *parser.SubqueryExpr) (yes bool) {
	if n.Timestamp == nil && n.OriginalOffset == 0 {
		return false
	}
	parser.Inspect(n.Expr, func(e parser.Node, _ []parser.Node) error {
		switch e := e.(type) {
		case *parser.VectorSelector:
			yes = yes || e.Timestamp != nil
		case *parser.SubqueryExpr:
			yes = yes || e.Timestamp != nil
		}
		return nil
	})
	return yes
}

// settled reports whether no row of e remembers a metric name that is still to
// be removed.
func settled(e parser.Expr) bool {
	switch n := e.(type) {
	case *parser.VectorSelector:
		return true
	case *parser.AggregateExpr:
		switch n.Op {
		case parser.TOPK, parser.BOTTOMK, parser.LIMITK, parser.LIMIT_RATIO:
			return settled(n.Expr)
		}
		return !byName(n)
	case *parser.ParenExpr:
		return settled(n.Expr)
	case *parser.StepInvariantExpr:
		return settled(n.Expr)
	}
	return false
}
