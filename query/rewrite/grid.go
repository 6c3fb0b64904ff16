package rewrite

import (
	"time"

	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// invariant is the grid of what is evaluated once, at the first step.
func (g Grid) invariant() Grid {
	if g.End < g.Start {
		return g
	}
	return Grid{Start: g.Start, End: g.Start, Step: 1}
}

// subquery is the grid on which n evaluates its operand if n is evaluated on g:
// subqueryEvaluationTimes of promql/engine.go, which is not exported. The
// rounding of Go's division towards zero is part of it.
func (g Grid) subquery(n *parser.SubqueryExpr) Grid {
	start, end := g.Start, g.Start+((g.End-g.Start)/g.Step)*g.Step
	offset, width, step := n.OriginalOffset.Milliseconds(), n.Range.Milliseconds(), n.Step.Milliseconds()
	if n.Timestamp != nil {
		end = start
		offset += start - *n.Timestamp
	}
	first := step * ((start - offset - width) / step)
	if first <= start-offset-width {
		first += step
	}
	return Grid{Start: first, End: end - offset, Step: step}
}

// reads bounds the samples that e reads if it is evaluated on g.
func (p *planner) reads(e parser.Expr, g Grid) (mint, maxt int64) {
	return promql.FindMinMaxTime(&parser.EvalStmt{
		Expr:          e,
		Start:         timestamp.Time(g.Start),
		End:           timestamp.Time(g.End),
		Interval:      time.Duration(g.Step) * time.Millisecond,
		LookbackDelta: time.Duration(p.options.Lookback) * time.Millisecond,
	})
}

// readRaw lists the raw selectors of the remainder.
func (p *planner) readRaw(expr parser.Expr, q Query) {
	var width time.Duration // of the matrix selector whose vector selector comes next
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		switch n := node.(type) {
		case *parser.MatrixSelector:
			width = n.Range
		case *parser.Call:
			p.plan.More = p.plan.More || n.Func.Name == "info"
		case *parser.VectorSelector:
			w := width
			width = 0
			if isLeaf(n) || isInfoSelector(n, path) {
				return nil
			}
			mint, maxt := p.selects(n, path, w, q)
			p.plan.Raw = append(p.plan.Raw, Raw{Matchers: n.LabelMatchers, MinTime: mint, MaxTime: maxt})
		}
		return nil
	})
}

func isLeaf(n *parser.VectorSelector) bool {
	for _, m := range n.LabelMatchers {
		if m.Name == LeafLabel {
			return true
		}
	}
	return false
}

// isInfoSelector reports whether n is the second argument of info(), which has
// the syntax of a selector and selects nothing.
func isInfoSelector(n *parser.VectorSelector, path []parser.Node) bool {
	if len(path) == 0 {
		return false
	}
	c, ok := path[len(path)-1].(*parser.Call)
	return ok && c.Func.Name == "info" && len(c.Args) == 2 && c.Args[1] == parser.Expr(n)
}

// selects bounds the samples that the engine will select for n:
// getTimeRangesForSelector of promql/engine.go, which is not exported.
func (p *planner) selects(n *parser.VectorSelector, path []parser.Node, width time.Duration, q Query) (mint, maxt int64) {
	mint, maxt = q.Start, q.End
	var offset, span int64
	for _, node := range path {
		s, ok := node.(*parser.SubqueryExpr)
		if !ok {
			continue
		}
		if s.Timestamp != nil {
			offset, span = 0, 0
			mint, maxt = *s.Timestamp, *s.Timestamp
		}
		offset += s.OriginalOffset.Milliseconds()
		span += s.Range.Milliseconds()
	}
	if n.Timestamp != nil {
		mint, maxt = *n.Timestamp, *n.Timestamp
	} else {
		mint -= offset + span
		maxt -= offset
	}
	switch {
	case width == 0 || n.Anchored || n.Smoothed:
		mint -= width.Milliseconds() + p.options.Lookback - 1
	default:
		mint -= width.Milliseconds() - 1
	}
	if n.Smoothed {
		maxt += p.options.Lookback
	}
	own := n.OriginalOffset.Milliseconds()
	return mint - own, maxt - own
}
