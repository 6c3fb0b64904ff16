package dimension

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// grammar makes random expressions, of all that may be divided and
// much that may not.
type grammar struct{ *rand.Rand }

func (g grammar) one(of ...string) string { return of[g.IntN(len(of))] }

func (g grammar) labels() string {
	return g.one("", "service", "service, pod", "pod", "service, zone", "service, le", "service, pod, le, zone", "zone", "le")
}

func (g grammar) vector(depth int) string {
	if depth <= 0 {
		return g.one("m", "n", "m", "zones", `m{service=~"a|b"}`, `m{pod="p"}`, `m offset 30s`, `n{service!="b"}`)
	}
	d := depth - 1
	switch g.IntN(9) {
	case 0, 1:
		op := g.one("sum", "avg", "max", "count", "group", "stddev", "topk", "bottomk", "quantile", "limitk")
		param := ""
		switch op {
		case "topk", "bottomk", "limitk":
			param = g.one("1, ", "2, ", "scalar(zones), ")
		case "quantile":
			param = "0.5, "
		}
		return fmt.Sprintf("%s %s (%s) (%s%s)", op, g.one("by", "without"), g.labels(), param, g.vector(d))
	case 2, 3:
		op := g.one("+", "-", "*", "/", ">", "<= bool", "==")
		match := fmt.Sprintf("%s (%s)", g.one("on", "ignoring"), g.labels())
		if g.IntN(2) == 0 {
			match += g.one(" group_left ()", " group_right ()", " group_left (zone)", " group_left (service)", " group_right (pod)")
		}
		return fmt.Sprintf("(%s) %s %s (%s)", g.vector(d), op, match, g.vector(d))
	case 4:
		return fmt.Sprintf("(%s) %s %s (%s) (%s)", g.vector(d), g.one("and", "or", "unless"), g.one("on", "ignoring"), g.labels(), g.vector(d))
	case 5:
		return fmt.Sprintf("%s(%s[%s])", g.one("rate", "increase", "max_over_time", "count_over_time", "last_over_time", "absent_over_time", "changes"),
			g.vector(0)[:1], g.one("1m", "3m", "45s"))
	case 6:
		return fmt.Sprintf("%s((%s)[3m:30s])", g.one("avg_over_time", "min_over_time", "sum_over_time", "absent_over_time"), g.vector(d))
	case 7:
		f := g.one("abs(%s)", "clamp_max(%s, 9)", "absent(%s)", "vector(scalar(%s))", "sort(%s)", "timestamp(%s)", "-(%s)", "(%s) > 3", "2 * (%s)", "(%s) / scalar(zones)",
			`label_replace(%s, "team", "$1", "service", "(.)")`, `label_replace(%s, "service", "x", "pod", "q")`, `label_join(%s, "pod", "-", "pod", "zone")`,
			"histogram_quantile(0.5, %s)", "histogram_fraction(0, 1, %s)")
		return fmt.Sprintf(f, g.vector(d))
	default:
		return g.vector(d)
	}
}

// TestRandomExpressions evaluates thousands of expressions both ways: those that
// the proof lets through must agree.
func TestRandomExpressions(t *testing.T) {
	r := newRig(t)
	defer r.close()
	at := smallSet(r)
	g := grammar{rand.New(rand.NewPCG(7, 7))}
	splits := [][]string{{"service"}, {"pod"}, {"service", "pod"}, {"zone"}, {"le", "service"}}
	compared, refused, failed, malformed := 0, 0, 0, 0
	for range 6000 {
		rule := Rule{Record: "out", Expr: g.vector(1 + g.IntN(3)), Metric: g.one("", "", "m"), SplitBy: splits[g.IntN(len(splits))]}
		if _, err := experimental().ParseExpr(rule.Expr); err != nil {
			malformed++ // such as one label in both on and group_left
			continue
		}
		p, _ := compiler{parser: experimental()}.compile(rule)
		if p == nil || arbitrary(p) {
			refused++
			continue
		}
		whole, divided, ok := unionOf(t, r, p, at)
		if !ok {
			failed++
			continue
		}
		if len(whole) > 1 {
			compared++
		}
		if diff := compare(whole, divided); diff != "" {
			t.Errorf("%s by %s of %q:\n%s", rule.Expr, rule.SplitBy, rule.Metric, diff)
		}
	}
	t.Logf("%d compared with more than one element, %d refused, %d fail undivided, %d do not parse", compared, refused, failed, malformed)
	if compared < 800 {
		t.Errorf("only %d expressions compared: the grammar is too poor", compared)
	}
}
