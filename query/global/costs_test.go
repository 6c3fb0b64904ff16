package global

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/timestamp"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

func TestCosts(t *testing.T) {
	c := NewCosts(15 * time.Second)
	grid := func(step int64) rewrite.Grid { return rewrite.Grid{Start: 0, End: 3_600_000, Step: step} }
	leaf := func(expr string, step int64, merged bool) rewrite.Candidate {
		return rewrite.Candidate{Expr: expr, Grid: grid(step), MinTime: -300_000, MaxTime: 3_600_000, Selectors: 1, Merged: merged}
	}
	c.learn("sum by (pod) (x)", 990, 1000)
	c.learn("sum by (job) (x)", 10, 1000)
	for _, tc := range []struct {
		name string
		leaf rewrite.Candidate
		want bool
	}{
		{"a rate at the scrape interval", leaf("rate(x[5m])", 15_000, false), true},
		{"samples at the scrape interval", rewrite.Candidate{Expr: "x", Grid: grid(15_000), MinTime: -300_000, MaxTime: 3_600_000, Selectors: 1, Plain: true}, false},
		{"samples at a finer step", rewrite.Candidate{Expr: "x", Grid: grid(5_000), MinTime: -300_000, MaxTime: 3_600_000, Selectors: 1, Plain: true}, true},
		{"a rate once a minute", leaf("rate(x[5m])", 60_000, false), false},
		{"an instant", rewrite.Candidate{Expr: "x", Grid: rewrite.Grid{Step: 1}, Selectors: 1}, false},
		{"a sum of unknown width", leaf("sum by (le) (x)", 15_000, true), false},
		{"a sum of almost nothing", leaf("sum by (pod) (x)", 15_000, true), true},
		{"a sum of much", leaf("sum by (job) (x)", 15_000, true), false},
	} {
		if got := c.fetch(tc.leaf); got != tc.want {
			t.Errorf("%s: fetch %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestCostsInUse: a query at a fine step fetches, a coarse one does not, and the
// widths of sums are learned.
func TestCostsInUse(t *testing.T) {
	e, _ := trio(t, func(o *Options) { o.Costs = NewCosts(scrape * time.Millisecond) })
	for _, c := range []struct {
		expr    string
		step    time.Duration
		fetched int
	}{
		{`quantile(0.9, rate(up[1m]))`, 15 * time.Second, 1},
		{`quantile(0.9, rate(up[1m]))`, time.Minute, 0},
		{`sum by (job) (rate(up[1m]))`, 5 * time.Second, 0},
		{`sum by (job) (rate(up[1m]))`, 5 * time.Second, 1}, // by now it is known to be one row of one series each
	} {
		q := question{expr: c.expr, start: timestamp.Time(120_000), end: timestamp.Time(600_000), step: c.step}
		res, receipt := q.ask(t.Context(), e, nil)
		if res.Err != nil || len(receipt.Fetched) != c.fetched {
			t.Errorf("%s every %v: fetched %q, pushed %q, error %v", c.expr, c.step, receipt.Fetched, receipt.Pushed, res.Err)
		}
	}
}
