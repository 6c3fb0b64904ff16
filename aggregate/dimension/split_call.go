package dimension

import (
	"slices"

	"github.com/prometheus/prometheus/promql/parser"
)

// elementwise reports whether a function maps each series of its argument by
// itself and keeps its labels, but for the metric name and those it is told to
// write.
func elementwise(name string) bool {
	switch name {
	case "abs", "ceil", "exp", "floor", "ln", "log2", "log10", "round", "sgn", "sqrt",
		"clamp", "clamp_max", "clamp_min", "deg", "rad",
		"acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "sin", "sinh", "tan", "tanh",
		"timestamp", "minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year",
		"sort", "sort_desc", "sort_by_label", "sort_by_label_desc",
		"rate", "irate", "increase", "delta", "idelta", "deriv", "predict_linear", "changes", "resets",
		"double_exponential_smoothing",
		"avg_over_time", "count_over_time", "first_over_time", "last_over_time", "mad_over_time",
		"max_over_time", "min_over_time", "present_over_time", "quantile_over_time",
		"stddev_over_time", "stdvar_over_time", "sum_over_time",
		"ts_of_first_over_time", "ts_of_last_over_time", "ts_of_max_over_time", "ts_of_min_over_time",
		"histogram_avg", "histogram_count", "histogram_sum", "histogram_stddev", "histogram_stdvar",
		"histogram_fraction", "histogram_quantile", "histogram_quantiles",
		"label_join", "label_replace":
		return true
	}
	return false
}

func (s splitter) call(c *parser.Call) (class, *Refusal) {
	divided := 0
	for _, arg := range c.Args {
		k, err := s.classify(arg)
		if err != nil {
			return k, err
		}
		if k == keyed {
			divided++
		}
	}
	if divided == 0 {
		return same, nil
	}
	name := c.Func.Name
	switch {
	case name == "absent" || name == "absent_over_time":
		return keyed, refuse(c, "%s() asks whether all values are missing at once, and its parts would each answer for one: declare it as an ordinary rule", name)
	case name == "scalar":
		return keyed, refuse(c, "scalar() looks at all values at once: declare it as an ordinary rule, or give metric so that only another metric's selectors are divided")
	case !elementwise(name):
		return keyed, refuse(c, "%s() is not known to treat each series by itself: declare it as an ordinary rule", name)
	case divided > 1:
		return keyed, refuse(c, "%s() reads the divided series in more than one argument: keep one", name)
	}
	return keyed, s.callWrites(c)
}

// callWrites refuses functions that write or take away a split label.
func (s splitter) callWrites(c *parser.Call) *Refusal {
	switch c.Func.Name {
	case "label_replace", "label_join":
		return s.writes(c, c.Args[1])
	case "histogram_quantiles":
		if err := s.writes(c, c.Args[1]); err != nil {
			return err
		}
		fallthrough
	case "histogram_quantile", "histogram_fraction":
		if slices.Contains(s.labels, "le") {
			return refuse(c, "%s() puts the buckets of all values of \"le\" together: take it out of split_by", c.Func.Name)
		}
	}
	return nil
}

func (s splitter) binary(b *parser.BinaryExpr) (class, *Refusal) {
	l, err := s.classify(b.LHS)
	if err != nil {
		return l, err
	}
	r, err := s.classify(b.RHS)
	if err != nil {
		return r, err
	}
	if l == same && r == same {
		return same, nil
	}
	if b.LHS.Type() == parser.ValueTypeScalar || b.RHS.Type() == parser.ValueTypeScalar {
		return keyed, nil
	}
	if m := b.VectorMatching; m.FillValues.LHS != nil || m.FillValues.RHS != nil {
		return keyed, refuse(b, "fill makes elements where there is no match, so that they may come out of several narrow rules: remove it")
	}
	if l == keyed && r == keyed {
		return keyed, s.matching(b)
	}
	return keyed, s.withWhole(b, l == keyed)
}

// matching refuses a match that does not compare every split label.
func (s splitter) matching(b *parser.BinaryExpr) *Refusal {
	m := b.VectorMatching
	for _, label := range s.labels {
		if slices.Contains(m.MatchingLabels, label) != m.On {
			return refuse(b, "the sides of %s match without comparing the split label %q, so that elements of different values meet: name it in on(), not in ignoring(), or take it out of split_by", b.Op, label)
		}
	}
	return nil
}

// withWhole refuses an operation with a side that every narrow rule reads
// whole, unless each element of the result comes out of the divided side, once.
func (s splitter) withWhole(b *parser.BinaryExpr, left bool) *Refusal {
	m := b.VectorMatching
	switch {
	case (b.Op == parser.LAND || b.Op == parser.LUNLESS) && left:
		return nil // a subset of the divided side, whatever it is compared by
	case b.Op.IsSetOperator():
		return refuse(b, "elements of the side that is not divided come out of %s, and so out of every narrow rule: turn the sides, or declare an ordinary rule", b.Op)
	case m.Card == parser.CardManyToOne && left, m.Card == parser.CardOneToMany && !left:
		for _, label := range s.labels {
			if slices.Contains(m.Include, label) {
				return refuse(b, "group_left or group_right overwrites the split label %q with that of the other side: take it out of the list, or out of split_by", label)
			}
		}
		return nil
	}
	return s.matching(b)
}
