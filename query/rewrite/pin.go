package rewrite

import (
	"math"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// pin copies e so that it prints what it means here: start() and end() have
// become timestamps, duration expressions durations, and every subquery names
// its step. Otherwise whoever reads the print would resolve them on their own
// grid. Numbers that PreprocessExpr folded get the parentheses they need.
func pin(e parser.Expr, subqueryStep func(int64) int64) parser.Expr {
	in := func(e parser.Expr) parser.Expr { return pin(e, subqueryStep) }
	switch n := e.(type) {
	case nil:
		return nil
	case *parser.NumberLiteral:
		c := *n
		c.Duration = false
		if math.Signbit(c.Val) {
			return &parser.ParenExpr{Expr: &c}
		}
		return &c
	case *parser.VectorSelector:
		return pinSelector(n)
	case *parser.MatrixSelector:
		c := *n
		c.RangeExpr = nil
		c.VectorSelector = pinSelector(n.VectorSelector.(*parser.VectorSelector))
		return &c
	case *parser.SubqueryExpr:
		c := *n
		c.Expr = in(n.Expr)
		c.RangeExpr, c.OriginalOffsetExpr, c.StepExpr, c.StartOrEnd = nil, nil, nil, 0
		if c.Step == 0 {
			c.Step = time.Duration(subqueryStep(c.Range.Milliseconds())) * time.Millisecond
		}
		return &c
	case *parser.ParenExpr:
		c := *n
		c.Expr = in(n.Expr)
		return &c
	case *parser.UnaryExpr:
		c := *n
		c.Expr = in(n.Expr)
		return &c
	case *parser.StepInvariantExpr:
		return &parser.StepInvariantExpr{Expr: in(n.Expr)}
	case *parser.BinaryExpr:
		c := *n
		c.LHS, c.RHS = in(n.LHS), in(n.RHS)
		return &c
	case *parser.Call:
		c := *n
		c.Args = make(parser.Expressions, len(n.Args))
		for i, a := range n.Args {
			c.Args[i] = in(a)
		}
		return &c
	case *parser.AggregateExpr:
		c := *n
		c.Expr = in(n.Expr)
		c.Param = in(n.Param)
		if paren, ok := c.Param.(*parser.ParenExpr); ok {
			c.Param = paren.Expr // an argument needs none
		}
		return &c
	}
	return e
}

func pinSelector(n *parser.VectorSelector) *parser.VectorSelector {
	c := *n
	c.OriginalOffsetExpr, c.StartOrEnd = nil, 0
	return &c
}
