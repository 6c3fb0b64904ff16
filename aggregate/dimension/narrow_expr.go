package dimension

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// value is one value of each split label, in their order; "" is a series
// without the label.
type value []string

// key is unique among the values of one rule, and readable: {service="cart"}.
func (v value) key(names []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(n)
		b.WriteByte('=')
		b.WriteString(strconv.Quote(v[i]))
	}
	b.WriteByte('}')
	return b.String()
}

func (v value) matchers(names []string) []*labels.Matcher {
	out := make([]*labels.Matcher, len(names))
	for i, n := range names {
		out[i] = labels.MustNewMatcher(labels.MatchEqual, n, v[i])
	}
	return out
}

// narrow returns the expression of one value.
func (p *plan) narrow(v value) (parser.Expr, error) {
	e, err := p.parser.ParseExpr(p.base)
	if err != nil {
		return nil, fmt.Errorf("BUG: %s was parsed before: %w", p.base, err)
	}
	p.splitter.inject(e, v.matchers(p.splitter.labels))
	return e, nil
}

// inject adds matchers to every divided selector.
func (s splitter) inject(e parser.Expr, ms []*labels.Matcher) {
	if len(ms) == 0 {
		return
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok && s.divides(v) {
			v.LabelMatchers = append(slices.Clip(v.LabelMatchers), ms...)
		}
		return nil
	})
}

// selectors returns the matchers of the divided selectors, each set once.
func (s splitter) selectors(e parser.Expr) [][]*labels.Matcher {
	var out [][]*labels.Matcher
	seen := map[string]bool{}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok || !s.divides(v) {
			return nil
		}
		key := fmt.Sprint(v.LabelMatchers)
		if !seen[key] {
			seen[key] = true
			out = append(out, v.LabelMatchers)
		}
		return nil
	})
	return out
}

// reach is the longest way back from an evaluation's time that a divided
// selector takes; negative if all look into the future.
func (s splitter) reach(e parser.Expr, lookback time.Duration) time.Duration {
	longest := time.Duration(-1 << 62)
	parser.Inspect(e, func(n parser.Node, path []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok || !s.divides(v) {
			return nil
		}
		back := v.OriginalOffset
		ranged := false
		for _, up := range path {
			switch up := up.(type) {
			case *parser.MatrixSelector:
				back += up.Range
				ranged = true
			case *parser.SubqueryExpr:
				back += up.Range + up.OriginalOffset
			}
		}
		// Anchored and smoothed ranges look one lookback further.
		if !ranged || v.Anchored || v.Smoothed {
			back += lookback
		}
		longest = max(longest, back)
		return nil
	})
	return longest
}
