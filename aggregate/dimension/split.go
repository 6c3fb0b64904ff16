package dimension

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// class says how an expression relates to its division.
type class int

const (
	// same: no divided selector inside; every narrow rule computes the same.
	same class = iota
	// keyed: every element of the result carries one value of each split label,
	// and comes only from series with those values; so the narrow expression for
	// a value is exactly the part of the whole one that carries it.
	keyed
)

// Refusal says why an expression cannot be divided.
type Refusal struct {
	// Offset is where in the expression the reason stands, in bytes.
	Offset int
	// Reason says what stands there, the rule, and what to do.
	Reason string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Reason }

// splitter proves that an expression may be divided.
type splitter struct {
	labels []string
	metric string // empty: every selector is divided
}

// Split proves, from the syntax tree alone, that an expression is the disjoint
// union of its narrow expressions, in which every vector selector of metric (of
// any metric, if empty) got a matcher for one value of each label. It returns
// nil, or why the proof fails.
//
// By induction over the tree, an expression is keyed if each of its elements
// carries the split labels of the series it was computed from:
//   - a divided selector is, alone, in a range or under a subquery;
//   - a function that maps each element by itself is, if its argument is and the
//     function does not write a split label; other arguments must read no
//     divided series;
//   - `op by (L)` is if L holds every split label, `op without (L)` if it holds
//     none: then no group spans two values, whatever op is (topk picks within
//     a value, never across);
//   - a binary operation of two keyed sides is, if matching compares every split
//     label (`on` names all, `ignoring` none); one with a side that reads no
//     divided series is, if each element comes out of the keyed side.
//
// Everything else is refused: absent and scalar look at all values at once,
// vector() and the right side of `or` would come out of every narrow rule.
func Split(e parser.Expr, splitBy []string, metric string) error {
	s := splitter{labels: splitBy, metric: metric}
	c, err := s.classify(e)
	switch {
	case err != nil:
		return err
	case c == same && metric != "":
		return refuse(e, "no selector of metric %q in the expression, so that there is nothing to divide: correct metric, or remove it to divide every selector", metric)
	case c == same:
		return refuse(e, "the expression reads no series, so that there is nothing to divide: declare it as an ordinary rule")
	case e.Type() != parser.ValueTypeVector:
		return refuse(e, "the expression is a %s, and only an instant vector can be recorded: put a function such as rate() around it", e.Type())
	}
	return nil
}

func refuse(at parser.Node, format string, args ...any) *Refusal {
	return &Refusal{Offset: int(at.PositionRange().Start), Reason: fmt.Sprintf(format, args...)}
}

// divides reports whether a selector gets the matchers.
func (s splitter) divides(v *parser.VectorSelector) bool {
	if s.metric == "" || v.Name == s.metric {
		return true
	}
	return slices.ContainsFunc(v.LabelMatchers, func(m *labels.Matcher) bool {
		return m.Name == labels.MetricName && m.Type == labels.MatchEqual && m.Value == s.metric
	})
}

func (s splitter) classify(e parser.Expr) (class, *Refusal) {
	switch e := e.(type) {
	case *parser.NumberLiteral, *parser.StringLiteral:
		return same, nil
	case *parser.ParenExpr:
		return s.classify(e.Expr)
	case *parser.UnaryExpr:
		return s.classify(e.Expr)
	case *parser.StepInvariantExpr:
		return s.classify(e.Expr)
	case *parser.VectorSelector:
		return s.selector(e)
	case *parser.MatrixSelector:
		c, err := s.classify(e.VectorSelector)
		if err == nil && c == keyed && e.RangeExpr != nil {
			err = refuse(e, "the range is computed, so that how far back it reaches is not known: write it as a number")
		}
		return c, err
	case *parser.SubqueryExpr:
		return s.subquery(e)
	case *parser.AggregateExpr:
		return s.aggregate(e)
	case *parser.Call:
		return s.call(e)
	case *parser.BinaryExpr:
		return s.binary(e)
	}
	return same, refuse(e, "%T is not known to be divisible: declare it as an ordinary rule", e)
}

func (s splitter) selector(v *parser.VectorSelector) (class, *Refusal) {
	if !s.divides(v) {
		return same, nil
	}
	if v.Timestamp != nil {
		return keyed, refuse(v, "@ with a fixed time reads other series than those alive now: remove it, or declare an ordinary rule")
	}
	if v.OriginalOffsetExpr != nil {
		return keyed, refuse(v, "the offset is computed, so that how far back it reaches is not known: write it as a number")
	}
	return keyed, nil
}

func (s splitter) subquery(q *parser.SubqueryExpr) (class, *Refusal) {
	c, err := s.classify(q.Expr)
	if err != nil || c == same {
		return c, err
	}
	if q.Timestamp != nil {
		return c, refuse(q, "@ with a fixed time reads other series than those alive now: remove it, or declare an ordinary rule")
	}
	if q.RangeExpr != nil || q.OriginalOffsetExpr != nil || q.StepExpr != nil {
		return c, refuse(q, "the subquery's range, step or offset is computed, so that how far back it reaches is not known: write it as a number")
	}
	return c, nil
}

func (s splitter) aggregate(a *parser.AggregateExpr) (class, *Refusal) {
	c, err := s.classify(a.Expr)
	if err != nil {
		return c, err
	}
	if a.Param != nil {
		p, err := s.classify(a.Param)
		if err != nil {
			return c, err
		}
		if p == keyed {
			return c, refuse(a.Param, "the parameter of %s reads the divided series, and would differ from value to value: write a constant", a.Op)
		}
	}
	if c == same {
		return same, nil
	}
	for _, l := range s.labels {
		in := slices.Contains(a.Grouping, l)
		if a.Without && in {
			return c, refuse(a, "%s without (%s) drops the split label %q, so that one group spans many values: take it out of without, or out of split_by", a.Op, strings.Join(a.Grouping, ", "), l)
		}
		if !a.Without && !in {
			return c, refuse(a, "%s by (%s) does not keep the split label %q, so that one group spans many values: add it to by, or take it out of split_by", a.Op, strings.Join(a.Grouping, ", "), l)
		}
	}
	if a.Op == parser.COUNT_VALUES {
		if err := s.writes(a, a.Param); err != nil {
			return c, err
		}
	}
	return keyed, nil
}

// writes refuses a label argument that is a split label, or not known.
func (s splitter) writes(at parser.Node, e parser.Expr) *Refusal {
	lit, ok := unparen(e).(*parser.StringLiteral)
	if !ok {
		return refuse(at, "the label it writes is no plain text, so that it may be a split label: write it as a text")
	}
	if slices.Contains(s.labels, lit.Val) {
		return refuse(at, "it overwrites the split label %q: write another label, or take this one out of split_by", lit.Val)
	}
	return nil
}

func unparen(e parser.Expr) parser.Expr {
	for {
		p, ok := e.(*parser.ParenExpr)
		if !ok {
			return e
		}
		e = p.Expr
	}
}
