package preview

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
)

// world is a store with one series for each host, a value a minute since begin.
type world struct {
	t      *testing.T
	db     *tsdb.DB
	engine *promql.Engine
	begin  time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	o := tsdb.DefaultOptions()
	db, err := tsdb.Open(t.TempDir(), nil, nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &world{
		t: t, db: db, begin: time.Now().Add(-90 * time.Minute).Truncate(time.Hour),
		engine: promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 50 * time.Second}),
	}
}

func (w *world) load(host string, values ...float64) {
	w.t.Helper()
	app := w.db.Appender(context.Background())
	for n, v := range values {
		if math.IsNaN(v) {
			continue
		}
		if _, err := app.Append(0, labels.FromStrings("__name__", "load", "host", host), w.at(n).UnixMilli(), v); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) at(minute int) time.Time { return w.begin.Add(time.Duration(minute) * time.Minute) }

func (w *world) run(a Ask) *Answer {
	w.t.Helper()
	out, err := Run(w.t.Context(), w.engine, w.db, parser.NewParser(parser.Options{}), a)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestForAndKeepFiringForHoldForEachSeries(t *testing.T) {
	w := newWorld(t)
	w.load("a", 1, 9, 9, 9, 1, 9, 1, 9, 9, 9, 9)
	w.load("b", 1, 1, 9, 1, 1, 1, 1, 1, 1, 9, 9)
	ask := Ask{Expr: "load > 5", Interval: time.Minute, Range: 10 * time.Minute, To: w.at(10), Labels: map[string]string{"severity": "page"}}

	got := w.run(ask)
	if got.Fired != 5 || got.Series != 2 || got.FiringNow != 2 || got.Coarser || got.StepSeconds != 60 {
		t.Errorf("without for: %+v", got)
	}
	if got.FiringSeconds != 60*(3+1+3+1+1) { // an open incident ends now, at minute 10
		t.Errorf("fired for %g s", got.FiringSeconds)
	}

	ask.For = 2 * time.Minute
	got = w.run(ask)
	if got.Fired != 2 || got.FiringNow != 1 || got.PendingNow != 1 {
		t.Fatalf("for 2m: %+v", got)
	}
	first := got.Incidents[1]
	if !first.Since.Equal(w.at(1)) || !first.From.Equal(w.at(3)) || !first.To.Equal(w.at(4)) || first.Open {
		t.Errorf("first incident %+v", first)
	}
	if first.Labels["host"] != "a" || first.Labels["severity"] != "page" || first.Labels["__name__"] != "" {
		t.Errorf("labels %v", first.Labels)
	}

	// It never ends: each gap is shorter than it is kept.
	ask.KeepFiringFor = 2 * time.Minute
	got = w.run(ask)
	if got.Fired != 1 || !got.Incidents[0].Open || !got.Incidents[0].From.Equal(w.at(3)) {
		t.Errorf("kept: %+v", got.Incidents)
	}
}

func TestChartLeavesTheConditionOff(t *testing.T) {
	w := newWorld(t)
	w.load("a", 1, 9, 9)
	for _, c := range []struct {
		expr, shown, condition string
		threshold              float64
	}{
		{"load > 5", "load", ">", 5},
		{"(load) <= (-5)", "(load)", "<=", -5},
		{"5 < load", "load", ">", 5},
		{"avg by (host) (load) == 1e3", "avg by (host) (load)", "==", 1000},
		{"load > 5 and load < 9", "load > 5 and load < 9", "", 0},
		{"load > bool 5", "load > bool 5", "", 0},
		{"load > load", "load > load", "", 0},
	} {
		got := w.run(Ask{Expr: c.expr, Interval: time.Minute, Range: 2 * time.Minute, To: w.at(2)}).Chart
		if got.Expr != c.shown || got.Condition != c.condition {
			t.Errorf("%s is shown as %q with condition %q", c.expr, got.Expr, got.Condition)
		}
		if (got.Threshold != nil) != (c.condition != "") || got.Threshold != nil && *got.Threshold != c.threshold {
			t.Errorf("%s has the threshold %v", c.expr, got.Threshold)
		}
	}
}

func TestBounds(t *testing.T) {
	w := newWorld(t)
	for n := range maxSeries + 7 {
		w.load(strings.Repeat("h", n+1), 9, 9, 9)
	}
	got := w.run(Ask{Expr: "load > 5", Interval: time.Minute, Range: 2 * time.Minute, To: w.at(2)})
	if got.Fired != maxSeries || got.SeriesLeftOut != 7 || len(got.Chart.Series) != chartSeries || got.Chart.LeftOut != maxSeries+7-chartSeries {
		t.Errorf("fired %d, left out %d, drawn %d and %d", got.Fired, got.SeriesLeftOut, len(got.Chart.Series), got.Chart.LeftOut)
	}
	for _, c := range []struct{ span, interval, want time.Duration }{
		{7 * 24 * time.Hour, 15 * time.Second, 5 * time.Minute},
		{7 * 24 * time.Hour, time.Hour, time.Hour},
		{24 * time.Hour, 15 * time.Second, time.Minute},
		{time.Hour, 15 * time.Second, 15 * time.Second},
		{31 * 24 * time.Hour, time.Millisecond, 30 * time.Minute},
	} {
		if got := stepFor(c.span, c.interval); got != c.want || c.span/got > maxPoints {
			t.Errorf("%s every %s is looked at every %s, want %s", c.span, c.interval, got, c.want)
		}
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	w := newWorld(t)
	for _, expr := range []string{"", "load >", `"text"`, "load[5m]", strings.Repeat("x", maxExpr+1)} {
		_, err := Run(t.Context(), w.engine, w.db, parser.NewParser(parser.Options{}), Ask{Expr: expr, Interval: time.Minute, Range: time.Hour, To: w.at(2)})
		var refused *Error
		if !errors.As(err, &refused) || refused.Field != "expr" {
			t.Errorf("%.20q: %v", expr, err)
		}
	}
}

func TestPointsHoldEveryNumber(t *testing.T) {
	text, err := json.Marshal([]Point{{1, math.Inf(1)}, {2, math.NaN()}, {3, 0.5}})
	if want := `[[1,"+Inf"],[2,"NaN"],[3,"0.5"]]`; err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
}

func TestWhatBeganMinutesAgoFiresNow(t *testing.T) {
	w := newWorld(t)
	w.load("a", 9, 9, 9)
	got := w.run(Ask{Expr: "load > 5", Interval: 2 * time.Second, Range: 7 * 24 * time.Hour, To: w.at(2)})
	if got.FiringNow != 1 || got.Fired != 1 || len(got.Chart.Series) != 1 {
		t.Errorf("fires now %d, fired %d, drawn %d; want 1 of each", got.FiringNow, got.Fired, len(got.Chart.Series))
	}
}
