package dimension

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
)

// TestSplit says of expressions whether they may be divided by service, and, if
// not, a part of the reason and the text that it must point at.
func TestSplit(t *testing.T) {
	for _, c := range []struct{ expr, metric, reason, at string }{
		{expr: `m`},
		{expr: `rate(m[5m])`},
		{expr: `sum by (service, code) (rate(m[1m] offset 1h))`},
		{expr: `sum without (pod) (m)`},
		{expr: `-sum by (service) (m) * 2 > bool 1`},
		{expr: `topk by (service) (3, m)`},
		{expr: `quantile by (service) (0.9, m)`},
		{expr: `count_values by (service) ("v", m)`},
		{expr: `histogram_quantile(0.9, sum by (le, service) (rate(m[5m])))`},
		{expr: `max_over_time(sum by (service) (rate(m[1m]))[10m:1m])`},
		{expr: `predict_linear(m[5m], 60 * 60)`},
		{expr: `clamp_max(m, time() - 5)`},
		{expr: `label_replace(m, "team", "$1", "service", "(.*)")`},
		{expr: `sum by (service) (rate(e[1m])) / sum by (service) (rate(m[1m]))`},
		{expr: `rate(e[1m]) / on (service) group_left sum by (service) (rate(m[1m]))`},
		{expr: `m unless ignoring (pod) n`},
		{expr: `m or on (service) n`},
		{expr: `m * on (zone) group_left (weight) zones`, metric: "m"},
		{expr: `zones * on (zone) group_right m`, metric: "m"},
		{expr: `m and on () (sum(up) > 3)`, metric: "m"},
		{expr: `m unless on (service) muted`, metric: "m"},
		{expr: `m / scalar(sum(weights))`, metric: "m"},
		{expr: `m - on (service) base`, metric: "m"},
		{expr: `{__name__="m"} * on () group_left vector(2)`, metric: "m"},
		{expr: `m and on () absent(down)`, metric: "m"},

		{expr: `sum(m)`, reason: `sum by () does not keep the split label "service"`, at: "sum("},
		{expr: `sum by (code) (m)`, reason: `does not keep`, at: "sum by"},
		{expr: `max(sum by (service) (m))`, reason: `max by () does not keep`, at: "max("},
		{expr: `avg without (service, pod) (m)`, reason: `avg without (service, pod) drops`, at: "avg"},
		{expr: `topk(3, m)`, reason: `topk by () does not keep`, at: "topk"},
		{expr: `absent(m)`, reason: `absent() asks whether all values are missing`, at: "absent"},
		{expr: `m unless absent_over_time(m[1m])`, reason: `absent_over_time()`, at: "absent_over"},
		{expr: `m / scalar(sum by (service) (m))`, reason: `scalar() looks at all values`, at: "scalar"},
		{expr: `quantile by (service) (scalar(m), m)`, reason: `scalar()`, at: "scalar"},
		{expr: `m or vector(0)`, reason: `come out of or, and so out of every narrow rule`, at: "m or"},
		{expr: `n or m`, metric: "m", reason: `come out of or`, at: "n or"},
		{expr: `n and m`, metric: "m", reason: `come out of and`, at: "n and"},
		{expr: `n unless m`, metric: "m", reason: `come out of unless`, at: "n unless"},
		{expr: `m / on (pod) n`, reason: `without comparing the split label "service"`, at: "m /"},
		{expr: `m / ignoring (service) n`, reason: `without comparing`, at: "m /"},
		{expr: `m and on () n`, reason: `without comparing`, at: "m and"},
		{expr: `m * on (zone) group_left (service) zones`, metric: "m", reason: `overwrites the split label`, at: "m *"},
		{expr: `m * on (zone) zones`, metric: "m", reason: `without comparing`, at: "m *"},
		{expr: `label_replace(m, "service", "x", "pod", ".*")`, reason: `overwrites the split label`, at: "label_replace"},
		{expr: `label_join(m, "service", "-", "pod")`, reason: `overwrites the split label`, at: "label_join"},
		{expr: `count_values by (service) ("service", m)`, reason: `overwrites the split label`, at: "count_values"},
		{expr: `info(m)`, reason: `info() is not known`, at: "info"},
		{expr: `m @ 1600000000`, reason: `@ with a fixed time`, at: "m @"},
		{expr: `sum_over_time(m[5m:1m] @ 1600000000)`, reason: `@ with a fixed time`, at: "m[5m"},
		{expr: `rate(m[step() + 5m])`, reason: `how far back it reaches is not known`, at: "m["},
		{expr: `m + on (service) fill(0) n`, reason: `fill makes elements`, at: "m +"},
		{expr: `time()`, reason: `reads no series`, at: "time"},
		{expr: `vector(1)`, reason: `reads no series`, at: "vector"},
		{expr: `up`, metric: "m", reason: `no selector of metric "m"`, at: "up"},
		{expr: `m[5m]`, reason: `only an instant vector can be recorded`, at: "m["},
	} {
		t.Run(c.expr, func(t *testing.T) {
			e, err := experimental().ParseExpr(c.expr)
			if err != nil {
				t.Fatal(err)
			}
			got := Split(e, []string{"service"}, c.metric)
			if c.reason == "" {
				if got != nil {
					t.Errorf("refused: %v", got)
				}
				return
			}
			var r *Refusal
			if !errors.As(got, &r) {
				t.Fatal("accepted")
			}
			if !strings.Contains(r.Reason, c.reason) || !strings.HasPrefix(c.expr[r.Offset:], c.at) {
				t.Errorf("%q at %q, want %q at %q", r.Reason, c.expr[r.Offset:], c.reason, c.at)
			}
		})
	}
	e, err := experimental().ParseExpr(`histogram_quantile(0.9, m)`)
	if err != nil {
		t.Fatal(err)
	}
	if Split(e, []string{"le"}, "") == nil {
		t.Error("histogram_quantile was divided by le")
	}
}

// smallSet is a few series that tell operators apart: labels that are missing,
// shared, and equal values.
func smallSet(r *rig) time.Time {
	start := time.Unix(1_700_000_000, 0)
	for i := range int64(20) {
		at := start.Add(time.Duration(i) * 30 * time.Second).UnixMilli()
		for _, metric := range []string{"m", "n"} {
			for j, s := range []string{"a", "a", "b", "b", "c", ""} {
				if metric == "n" && s == "c" {
					continue
				}
				pod := []string{"p", "q"}[j%2]
				v := float64(i*int64(j%3+1)) + float64(j%3)
				r.append(sample{series(metric, "service", s, "pod", pod, "le", []string{"1", "+Inf"}[j%2], "zone", "z"), at, v})
			}
		}
		r.append(sample{series("zones", "zone", "z"), at, 7})
	}
	return start.Add(590 * time.Second)
}

// unionOf evaluates an expression undivided and divided. ok is false if the
// undivided one fails.
func unionOf(t testing.TB, r *rig, p *plan, at time.Time) (whole, divided map[string][]point, ok bool) {
	t.Helper()
	query := rules.EngineQueryFunc(r.engine, r.db)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	collect := func(into map[string][]point, v promql.Vector) {
		for _, s := range v {
			pt := point{t: s.T, v: s.F}
			if s.H != nil {
				pt.v = s.H.Sum
			}
			into[s.Metric.String()] = append(into[s.Metric.String()], pt)
		}
	}
	whole, divided = map[string][]point{}, map[string][]point{}
	v, err := query(ctx, p.whole, at)
	if err != nil || v.ContainsSameLabelset() {
		return nil, nil, false
	}
	collect(whole, v)
	s := source{queryable: r.db, plan: p}
	values, _, err := s.list(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	for k, one := range values {
		e, err := p.narrow(one)
		if err != nil {
			t.Fatal(err)
		}
		alive, err := s.alive(ctx, at, []value{one})
		if err != nil {
			t.Fatal(err)
		}
		v, err := query(ctx, e.String(), at)
		if err != nil {
			t.Fatalf("%s works undivided, but %s for %s fails: %v", p.whole, e, k, err)
		}
		if len(v) > 0 && !alive[0] {
			t.Fatalf("%s is not empty although %s has no samples", e, k)
		}
		collect(divided, v)
	}
	return whole, divided, true
}

// TestAcceptedAreEqual evaluates a table of accepted expressions both ways.
func TestAcceptedAreEqual(t *testing.T) {
	r := newRig(t)
	defer r.close()
	at := smallSet(r)
	for _, c := range []Rule{
		{Expr: `m * on (zone) group_left zones`, Metric: "m"},
		{Expr: `zones * on (zone) group_right m`, Metric: "m"},
		{Expr: `m and on () (sum(n) > 3)`, Metric: "m"},
		{Expr: `m unless on (service) n`, Metric: "m"},
		{Expr: `sum by (service) (m) - on (service) sum by (service) (n)`, Metric: "m"},
		{Expr: `sum by (service) (n) - on (service) sum by (service) (m)`, Metric: "m"},
		{Expr: `m / scalar(sum(n))`, Metric: "m"},
		{Expr: `count_values by (service) ("v", m)`},
		{Expr: `limitk by (service) (1, m)`},
		{Expr: `limit_ratio by (service) (0.5, m)`},
		{Expr: `topk by (service) (1, m)`},
		{Expr: `histogram_quantile(0.5, sum by (le, service) (rate(m[5m])))`},
		{Expr: `avg_over_time((sum by (service) (m) or sum by (service) (n))[3m:30s])`},
		{Metric: "m", Function: "rate", Range: 300_000_000_000, GroupBy: []string{"service", "pod"}},
		{Metric: "m", Function: "abs", Without: []string{"pod"}, Aggregate: "max"},
		{Expr: `m`, Filter: map[string]string{"service": "a|c|", "pod": "p"}},
	} {
		c.Record, c.SplitBy = "out", []string{"service"}
		p, found := compiler{parser: experimental()}.compile(c)
		if p == nil {
			t.Errorf("%+v: %v", c, found)
			continue
		}
		whole, divided, ok := unionOf(t, r, p, at)
		if !ok || len(whole) == 0 {
			t.Errorf("%s does not work undivided: nothing is compared", p.whole)
		}
		if diff := compare(whole, divided); diff != "" {
			t.Errorf("%s:\n%s", p.whole, diff)
		}
	}
}
