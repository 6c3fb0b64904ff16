package rewrite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

func newParser() parser.Parser {
	return parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true})
}

func options() Options {
	return Options{Label: "island", Lookback: 300_000, SubqueryStep: func(int64) int64 { return 60_000 }}
}

// plan prepares expr as the engine does: a range from 1000 s to 1060 s by 15 s,
// or an instant at 1000 s.
func plan(t testing.TB, expr string, instant bool, o Options) (*Plan, error) {
	t.Helper()
	e, err := newParser().ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	q := Query{Start: 1_000_000, End: 1_060_000, Step: 15_000}
	if instant {
		q = Query{Start: q.Start, End: q.Start}
	}
	q.Expr, err = promql.PreprocessExpr(e, timestamp.Time(q.Start), timestamp.Time(q.End), time.Duration(q.Step)*time.Millisecond)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return New(q, o)
}

// TestPlans shows what becomes of expressions: the remainder, where leaf N is #N,
// and the leaves.
func TestPlans(t *testing.T) {
	for _, c := range []struct {
		expr, rest string
		leaves     []string
	}{
		// What is local is pushed as it is.
		{`up`, `#0`, []string{`up`}},
		{`rate(c[5m] offset 1m) > 2 * time()`, `#0`, []string{`rate(c[5m] offset 1m) > 2 * time()`}},
		{`sum by (island, job) (up)`, `#0`, []string{`sum by (island, job) (up)`}},
		{`quantile without (pod) (0.9, up)`, `#0`, []string{`quantile without (pod) (0.9, up)`}},
		{`histogram_quantile(0.9, rate(h[5m]))`, `#0`, []string{`histogram_quantile(0.9, rate(h[5m]))`}},
		{`a / on (island, job) b`, `#0`, []string{`a / on (island, job) b`}},
		{`a and on () (hour() > 8)`, `#0`, []string{`a and on () (hour() > 8)`}},
		{`max_over_time(sum by (island) (up)[5m:])`, `#0`, []string{`max_over_time(sum by (island) (up)[5m:1m])`}},
		{`limit_ratio(0.5, up)`, `#0`, []string{`limit_ratio(0.5, up)`}},
		{`label_replace(up, "a", "$1", "island", "(.*)")`, `#0`, []string{`label_replace(up, "a", "$1", "island", "(.*)")`}},
		// Aggregations are merged.
		{`sum by (job) (rate(c[5m]))`, `sum by (job) (#0)`, []string{`sum by (job) (rate(c[5m]))`}},
		{`min without (island) (up)`, `min without (island) (#0)`, []string{`min without (island) (up)`}},
		{`count(up)`, `sum(#0)`, []string{`count(up)`}},
		{`avg by (job) (up)`, `(sum by (job) (#0) / sum by (job) (#1))`, []string{`sum by (job) (up)`, `count by (job) (up)`}},
		{`topk(3, rate(c[5m]))`, `topk(3, #0)`, []string{`topk(3, rate(c[5m]))`}},
		{`count_values by (job) ("v", up)`, `sum by (job, v) (#0)`, []string{`count_values by (job) ("v", up)`}},
		{`histogram_quantile(0.9, sum by (le) (rate(h[5m])))`, `histogram_quantile(0.9, sum by (le) (#0))`, []string{`sum by (le) (rate(h[5m]))`}},
		{`sum(a) / sum(b)`, `sum(#0) / sum(#1)`, []string{`sum(a)`, `sum(b)`}},
		{`sum(a) / sum(a)`, `sum(#0) / sum(#0)`, []string{`sum(a)`}},
		{`max(sum by (job) (up))`, `max(sum by (job) (#0))`, []string{`sum by (job) (up)`}},
		{`max(sum by (job, island) (up))`, `max(#0)`, []string{`max(sum by (job, island) (up))`}},
		// What cannot be merged is computed from the operand.
		{`quantile(0.9, rate(c[5m]))`, `quantile(0.9, #0)`, []string{`rate(c[5m])`}},
		{`stddev by (job) (up)`, `stddev by (job) (#0)`, []string{`up`}},
		{`avg by (__name__) (up)`, `avg by (__name__) (#0)`, []string{`up`}},
		{`topk(scalar(sum(b)), up)`, `topk(scalar(sum(#1)), #0)`, []string{`up`, `sum(b)`}},
		{`a / on (job) b`, `#0 / on (job) #1`, []string{`a`, `b`}},
		{`a + ignoring (island) b`, `#0 + ignoring (island) #1`, []string{`a`, `b`}},
		{`up or vector(0)`, `#0 or vector(0)`, []string{`up`}},
		{`up > scalar(avg(up))`, `#0 > scalar((sum(#1) / sum(#2)))`, []string{`up`, `sum(up)`, `count(up)`}},
		{`label_replace(up, "island", "x", "", "")`, `label_replace(#0, "island", "x", "", "")`, []string{`up`}},
		{`count_values("island", up)`, `count_values("island", #0)`, []string{`up`}},
		{`sort_desc(sum by (job) (up))`, `sort_desc(sum by (job) (#0))`, []string{`sum by (job) (up)`}},
		{`timestamp(sum(up))`, `timestamp(sum(#0))`, []string{`sum(up)`}},
		// absent() keeps the matchers that its labels come from.
		{`absent(up{job="a"})`, `absent(up{__leaf__=~"0",job="a"})`, []string{`group(up{job="a"})`}},
		{`absent_over_time(up{job="a"}[5m] offset 1m)`, `absent(up{__leaf__=~"0",job="a"})`, []string{`group(last_over_time(up{job="a"}[5m] offset 1m))`}},
		{`absent(sum(up))`, `absent(sum(#0))`, []string{`sum(up)`}},
		// Times are resolved here, on grids of their own.
		{`sum(up @ end())`, `sum(#0 @ 1000.000)`, []string{`sum(up @ 1060.000)`}},
		{`rate(c[5m] offset step())`, `#0`, []string{`rate(c[5m] offset 15s)`}},
		{`max_over_time(sum(up)[2m:])`, `max_over_time(sum(#0)[2m:1m])`, []string{`sum(up)`}},
		{`max_over_time(sum(up @ 300)[2m:])`, `max_over_time(sum(#0 @ 900.000)[2m:1m])`, []string{`sum(up @ 300.000)`}},
		// What stays here.
		{`max_over_time(sum(up @ 300)[2m:] offset 1m)`, `max_over_time(sum(up @ 300.000)[2m:1m] offset 1m)`, nil},
		{`max(max_over_time((up @ 300)[2m:] @ 900))`, `max(max_over_time((up @ 300.000)[2m:1m] @ 900.000))`, nil},
		{`vector(1) + time()`, `vector(1) + time()`, nil},
		{`info(up)`, `info(up)`, nil},
		{`quantile_over_time(scalar(sum(b)), c[5m])`, `quantile_over_time(scalar(sum(#0)), c[5m])`, []string{`sum(b)`}},
		{`2 ^ start()`, `2 ^ 1000`, nil},
	} {
		p, err := plan(t, c.expr, false, options())
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		rest := p.Expr
		var leaves []string
		for i, l := range p.Leaves {
			leaves = append(leaves, l.Expr)
			rest = strings.ReplaceAll(rest, fmt.Sprintf(`{__leaf__=~"%d"}`, i), fmt.Sprintf("#%d", i))
		}
		if rest != c.rest || !slices.Equal(leaves, c.leaves) {
			t.Errorf("%s\n got %s %q\nwant %s %q", c.expr, rest, leaves, c.rest, c.leaves)
		}
	}
}

// TestGrids checks when leaves are evaluated and what they read.
func TestGrids(t *testing.T) {
	for _, c := range []struct {
		expr string
		want Leaf
	}{
		{`sum(rate(c[1m]))`, Leaf{Grid: Grid{1_000_000, 1_060_000, 15_000}, MinTime: 940_001, MaxTime: 1_060_000}},
		{`sum(up)`, Leaf{Grid: Grid{1_000_000, 1_060_000, 15_000}, MinTime: 700_001, MaxTime: 1_060_000}},
		{`sum(up @ 500)`, Leaf{Grid: Grid{1_000_000, 1_000_000, 1}, MinTime: 200_001, MaxTime: 500_000}},
		{`max_over_time(sum(up)[2m:1m])`, Leaf{Grid: Grid{900_000, 1_060_000, 60_000}, MinTime: 600_001, MaxTime: 1_060_000}},
		{`max_over_time(sum(up)[2m:1m] offset 1m)`, Leaf{Grid: Grid{840_000, 1_000_000, 60_000}, MinTime: 540_001, MaxTime: 1_000_000}},
		{`max_over_time(sum(up)[2m:1m] @ 600)`, Leaf{Grid: Grid{540_000, 600_000, 60_000}, MinTime: 240_001, MaxTime: 600_000}},
		{`max_over_time(sum(up @ 300)[2m:1m])`, Leaf{Grid: Grid{900_000, 900_000, 1}, MinTime: 1, MaxTime: 300_000}},
	} {
		p, err := plan(t, c.expr, false, options())
		if err != nil || len(p.Leaves) != 1 {
			t.Fatalf("%s: %v %+v", c.expr, err, p)
		}
		got := p.Leaves[0]
		if got.Grid != c.want.Grid || got.MinTime != c.want.MinTime || got.MaxTime != c.want.MaxTime {
			t.Errorf("%s: grid %v reads %d..%d, want %v %d..%d", c.expr, got.Grid, got.MinTime, got.MaxTime, c.want.Grid, c.want.MinTime, c.want.MaxTime)
		}
	}
}

// TestRaw checks that the selectors that stay are known before they are read.
func TestRaw(t *testing.T) {
	fetch := options()
	fetch.Fetch = func(Candidate) bool { return true }
	for _, c := range []struct {
		expr string
		want []string
	}{
		{`sum(rate(c[1m] offset 10s)) + up`, []string{`__name__="c" 930001 1050000`, `__name__="up" 700001 1060000`}},
		{`max_over_time(up[10m:1m] @ 2000)`, []string{`__name__="up" 1100001 2000000`}},
		{`rate(c[1m] anchored)`, []string{`__name__="c" 640001 1060000`}},
		{`rate(c[1m] smoothed)`, []string{`__name__="c" 640001 1360000`}},
		{`info(up, {version=~".+"})`, []string{`__name__="up" 700001 1060000`}},
	} {
		p, err := plan(t, c.expr, false, fetch)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range p.Raw {
			got = append(got, fmt.Sprintf("%s %d %d", r.Matchers[0], r.MinTime, r.MaxTime))
		}
		if d := cmp.Diff(c.want, got); d != "" || len(p.Leaves) > 0 {
			t.Errorf("%s: %d leaves, raw (-want +got)\n%s", c.expr, len(p.Leaves), d)
		}
	}
}

// TestDelayedNames: with delayed name removal, only what has settled its names
// is pushed.
func TestDelayedNames(t *testing.T) {
	o := options()
	o.DelayedNames = true
	for expr, leaves := range map[string][]string{
		`rate(c[5m])`:                           {`rate(c[5m])`},
		`quantile(0.9, rate(c[5m]))`:            nil,
		`quantile(0.9, up)`:                     {`up`},
		`sum by (__name__) (rate(c[5m]))`:       nil,
		`sum by (job) (rate(c[5m]))`:            {`sum by (job) (rate(c[5m]))`},
		`topk(2, rate(c[5m]))`:                  {`topk(2, rate(c[5m]))`},
		`topk by (__name__) (2, rate(c[5m]))`:   nil,
		`abs(topk(2, rate(c[5m])))`:             nil,
		`abs(sum by (job) (rate(c[5m])))`:       {`sum by (job) (rate(c[5m]))`},
		`timestamp(up) + on (__name__) sum(up)`: {`sum(up)`},
	} {
		p, err := plan(t, expr, true, o)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range p.Leaves {
			got = append(got, l.Expr)
		}
		if !slices.Equal(got, leaves) {
			t.Errorf("%s: leaves %q, want %q", expr, got, leaves)
		}
	}
}

// TestWhole: a leaf whose partial results are unusable is replaced by its operand.
func TestWhole(t *testing.T) {
	p, err := plan(t, `avg by (job) (up) + sum(up)`, true, options())
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Whole = func(key string) bool { return key == p.Leaves[0].Key() }
	if p, err = plan(t, `avg by (job) (up) + sum(up)`, true, o); err != nil {
		t.Fatal(err)
	}
	if want := `avg by (job) ({__leaf__=~"0"}) + sum({__leaf__=~"1"})`; p.Expr != want || p.Leaves[0].Expr != "up" {
		t.Errorf("got %s with %q, want %s", p.Expr, p.Leaves[0].Expr, want)
	}
}

func TestRefused(t *testing.T) {
	for expr, want := range map[string]string{
		`sum({__leaf__=~"0"})`:          `query: matcher __leaf__=~"0": the label __leaf__ is reserved: remove it`,
		"count_values(\"a\\xc5z\", up)": `invalid label name "a\xc5z"`,
	} {
		if _, err := plan(t, expr, true, options()); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", expr, err, want)
		}
	}
	if _, err := New(Query{Start: 1, End: 2}, options()); !errors.Is(err, ErrStep) {
		t.Errorf("step 0: %v", err)
	}
}

// FuzzNew: whatever parses can be taken apart, and what comes out parses.
func FuzzNew(f *testing.F) {
	for _, s := range []string{
		`sum by (job) (rate(c[5m] offset -1m)) / ignoring (island) group_left () avg(b @ end())`,
		`absent_over_time({a=~".+"}[5m:3s] @ 7)`, `topk(-1, -up ^ 2)`, `-1 ^ scalar(up)`, `label_join(up, "island", ",")`,
		`info(rate(c[1m]), {a="b"})`, `(a or b)[5m:1m]`, `quantile(NaN, up) == bool -Inf`, `"x"`,
	} {
		f.Add(s)
	}
	prs := newParser()
	f.Fuzz(func(t *testing.T, expr string) {
		e, err := prs.ParseExpr(expr)
		if err != nil {
			return
		}
		q := Query{Start: 1_000_000, End: 1_000_000}
		if q.Expr, err = promql.PreprocessExpr(e, timestamp.Time(q.Start), timestamp.Time(q.End), 0); err != nil {
			return
		}
		before := q.Expr.String()
		p, err := New(q, options())
		if err != nil {
			return
		}
		if after := q.Expr.String(); after != before {
			t.Errorf("%s was changed to %s", before, after)
		}
		if _, err := prs.ParseExpr(p.Expr); err != nil {
			t.Errorf("%s: remainder %s: %v", expr, p.Expr, err)
		}
		for _, l := range p.Leaves {
			if _, err := prs.ParseExpr(l.Expr); err != nil {
				t.Errorf("%s: leaf %s: %v", expr, l.Expr, err)
			}
		}
	})
}

func BenchmarkNew(b *testing.B) {
	for name, expr := range map[string]string{
		"one":  `sum by (job) (rate(http_requests_total{job="a"}[5m]))`,
		"two":  `sum by (job) (rate(errors_total[5m])) / sum by (job) (rate(requests_total[5m])) > 0.01`,
		"deep": `histogram_quantile(0.99, sum by (le) (rate(h_bucket[5m]))) / on () group_left () max(avg_over_time(sum(up)[10m:1m])) + topk(3, avg by (job) (g))`,
	} {
		b.Run(name, func(b *testing.B) {
			e, err := newParser().ParseExpr(expr)
			if err != nil {
				b.Fatal(err)
			}
			q := Query{Start: 1_000_000, End: 4_600_000, Step: 60_000}
			if q.Expr, err = promql.PreprocessExpr(e, timestamp.Time(q.Start), timestamp.Time(q.End), time.Minute); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := New(q, options()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
