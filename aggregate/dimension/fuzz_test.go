package dimension

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// FuzzSplit: whatever the expression, the proof does not panic, and what it lets
// through gives the same divided and undivided.
func FuzzSplit(f *testing.F) {
	for _, e := range []string{
		`sum by (service) (rate(m[1m]))`, `topk by (service, pod) (1, m) or on (service, pod) n`,
		`m * on (zone) group_left zones`, `m / on (service) group_left () sum by (service) (n)`,
		`histogram_quantile(0.5, sum without (pod) (m))`, `sum without (pod) (m{service=~"a|"})[2m:30s]`,
		`max_over_time(m[5m:1m] offset 30s)`, `m unless on (service) (n > 3)`, `label_replace(m, "x", "$1", "service", "(.)")`,
		`count_values without (pod) ("v", m)`, `sort_desc(m and ignoring (le) n)`, `m > bool on (service, pod) group_right (zone) n`,
		`clamp(m, 1, scalar(zones))`, `-m ^ 2`, `sum by (service, pod) ({__name__=~"m|n"})`, `limitk by (service) (1, m)`,
		`timestamp(m offset -1m)`, `stddev by (service) (m @ end())`, `m and on () absent(q)`,
	} {
		f.Add(e, "", uint8(0))
		f.Add(e, "m", uint8(1))
	}
	r := newRig(f)
	at := smallSet(r)
	f.Cleanup(r.close)
	splits := [][]string{{"service"}, {"pod"}, {"service", "pod"}, {"le"}, {"zone", "service"}, {"nope"}}
	f.Fuzz(func(t *testing.T, expr, metric string, split uint8) {
		if len(expr) > 400 {
			return
		}
		p, _ := compiler{parser: experimental()}.compile(Rule{
			Record: "out", Expr: expr, Metric: metric, SplitBy: splits[int(split)%len(splits)],
		})
		if p == nil || expensive(p) {
			return
		}
		whole, divided, ok := unionOf(t, r, p, at)
		if !ok || arbitrary(p) {
			return
		}
		for _, set := range []map[string][]point{whole, divided} {
			for _, points := range set {
				for i := range points {
					if math.Abs(points[i].v) > 1e12 { // cancellation makes the order of additions show
						return
					}
				}
			}
		}
		if diff := compare(whole, divided); diff != "" {
			t.Errorf("%s by %s:\n%s", p.whole, p.splitter.labels, diff)
		}
	})
}

func inspect(p *plan, see func(parser.Node)) {
	e, err := p.parser.ParseExpr(p.whole)
	if err != nil {
		return
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error { see(n); return nil })
}

// expensive keeps subqueries of a million steps out.
func expensive(p *plan) bool {
	found := false
	inspect(p, func(n parser.Node) {
		if q, ok := n.(*parser.SubqueryExpr); ok && (q.Range > time.Hour || q.Step > 0 && q.Step < 10*time.Second || q.RangeExpr != nil || q.StepExpr != nil) {
			found = true
		}
	})
	return found
}

// arbitrary reports what the undivided rule itself leaves open: which of equal
// elements is picked out of those of a function that returns them in random order.
func arbitrary(p *plan) bool {
	picks, shuffles := false, false
	inspect(p, func(n parser.Node) {
		switch n := n.(type) {
		case *parser.AggregateExpr:
			picks = picks || n.Op == parser.TOPK || n.Op == parser.BOTTOMK || n.Op == parser.LIMITK
		case *parser.Call:
			shuffles = shuffles || strings.HasPrefix(n.Func.Name, "histogram_")
		}
	})
	return picks && shuffles
}

// FuzzLoad: no bytes make the loader panic, and what it accepts validates.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("dimension_rules:\n- record: a\n  expr: sum by (s) (m)\n  split_by: [s]\n"))
	f.Add([]byte("dimension_rules:\n- &x {record: a, metric: m, function: rate, split_by: [s], spread: 1s}\n- {<<: *x, record: b, filter: {s: 'a('}}\n"))
	f.Add([]byte("dimension_rules: {a: 1}\ndimension_concurrency: x\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, problems := Load("f.yml", content, experimental())
		if problems.Fatal() {
			return
		}
		if err := c.Validate(); err != nil {
			t.Errorf("accepted, but does not validate: %v", err)
		}
	})
}
