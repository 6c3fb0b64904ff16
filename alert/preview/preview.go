package preview

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

// Bounds of one preview.
const (
	maxPoints    = 2500
	maxSeries    = 500
	maxIncidents = 500
	maxExpr      = 16 << 10

	chartPoints = 360
	chartSeries = 20
)

// Ask is a rule and the time to look at.
type Ask struct {
	Expr               string
	For, KeepFiringFor time.Duration
	// Interval is how often the rule would be evaluated.
	Interval time.Duration
	Labels   map[string]string
	To       time.Time
	Range    time.Duration
}

// Error is what is wrong with a question.
type Error struct{ Field, Text string }

// Error implements error.
func (e *Error) Error() string { return e.Text }

// Incident is one series from when it would have fired.
type Incident struct {
	Labels map[string]string `json:"labels"`
	// Since is when the expression began to hold.
	Since time.Time `json:"since"`
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	// Open says that it would still fire.
	Open bool `json:"open,omitempty"`
}

// Point is a time (Unix ms) and a value.
type Point struct {
	At    int64
	Value float64
}

// MarshalJSON writes [at, "value"], as Prometheus does: JSON has no infinities.
func (p Point) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%q]", p.At, model.SampleValue(p.Value).String()), nil
}

// Line is one series of the chart.
type Line struct {
	Labels map[string]string `json:"labels"`
	Points []Point           `json:"points"`
}

// Chart is what the rule looks at.
type Chart struct {
	// Expr is the expression without its condition.
	Expr        string   `json:"expr"`
	Threshold   *float64 `json:"threshold,omitempty"`
	Condition   string   `json:"condition,omitempty"`
	StepSeconds float64  `json:"step_seconds"`
	Series      []Line   `json:"series"`
	LeftOut     int      `json:"series_left_out,omitempty"`
}

// Answer says when the rule would have fired.
type Answer struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// StepSeconds is how often the expression was evaluated, IntervalSeconds how often
	// the rule would be. Coarser says that they differ: shorter incidents may be missing.
	StepSeconds     float64 `json:"step_seconds"`
	IntervalSeconds float64 `json:"interval_seconds"`
	Coarser         bool    `json:"coarser,omitempty"`

	Fired         int     `json:"fired"`
	FiringSeconds float64 `json:"firing_seconds"`
	// Series is how many would have been pending or firing at some time.
	Series           int        `json:"series"`
	SeriesLeftOut    int        `json:"series_left_out,omitempty"`
	Incidents        []Incident `json:"incidents"`
	IncidentsLeftOut int        `json:"incidents_left_out,omitempty"`
	PendingNow       int        `json:"pending_now"`
	FiringNow        int        `json:"firing_now"`
	Chart            Chart      `json:"chart"`
}

// Run evaluates the rule over the past.
func Run(ctx context.Context, engine promql.QueryEngine, q storage.Queryable, p parser.Parser, a Ask) (*Answer, error) {
	if a.Expr == "" || len(a.Expr) > maxExpr {
		return nil, &Error{"expr", fmt.Sprintf("expr has %d bytes: must have 1 to %d", len(a.Expr), maxExpr)}
	}
	expr, err := p.ParseExpr(a.Expr)
	if err != nil {
		return nil, &Error{"expr", err.Error()}
	}
	if t := expr.Type(); t != parser.ValueTypeVector && t != parser.ValueTypeScalar {
		return nil, &Error{"expr", fmt.Sprintf("expr is a %s: a rule needs an instant vector or a scalar", parser.DocumentedType(t))}
	}
	step := stepFor(a.Range, a.Interval)
	// The last evaluation is at the end, not at a round time before it: a series that
	// began minutes ago fires now, though no round time has seen it.
	to := a.To.Truncate(time.Second)
	from := to.Add(a.Range%step - a.Range)
	m, err := matrix(ctx, engine, q, expr.String(), from, to, step)
	if err != nil {
		return nil, err
	}
	out := &Answer{
		From: from, To: to, StepSeconds: step.Seconds(), IntervalSeconds: a.Interval.Seconds(), Coarser: step > a.Interval,
		Series: len(m), Incidents: []Incident{},
	}
	if more := len(m) - maxSeries; more > 0 {
		m, out.SeriesLeftOut = m[:maxSeries], more
	}
	for _, s := range m {
		out.follow(s, a, from, to, step)
	}
	out.tidy()
	out.Chart, err = chart(ctx, engine, q, expr, from, to)
	return out, err
}

// stepFor is the interval, or the least round multiple of time with few enough points.
func stepFor(span, interval time.Duration) time.Duration {
	least := max(span/maxPoints, time.Second)
	if interval >= least {
		return interval
	}
	for _, round := range []time.Duration{5, 10, 15, 30, 60, 120, 300, 600, 900, 1800} {
		if step := round * time.Second; step >= least && step >= interval {
			return step
		}
	}
	return time.Hour
}

func matrix(ctx context.Context, engine promql.QueryEngine, q storage.Queryable, expr string, from, to time.Time, step time.Duration) (promql.Matrix, error) {
	query, err := engine.NewRangeQuery(ctx, q, nil, expr, from, to, step)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", expr, err)
	}
	defer query.Close()
	m, err := query.Exec(ctx).Matrix()
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", expr, err)
	}
	out := make(promql.Matrix, len(m)) // the query's own goes with it
	for i, s := range m {
		out[i] = promql.Series{Metric: s.Metric.Copy(), Floats: slices.Clone(s.Floats)}
		for _, h := range s.Histograms {
			out[i].Floats = append(out[i].Floats, promql.FPoint{T: h.T, F: h.H.Sum})
		}
		slices.SortFunc(out[i].Floats, func(a, b promql.FPoint) int { return cmp.Compare(a.T, b.T) })
	}
	return out, nil
}

// follow plays one series as a rule does: a point is an evaluation at which the
// expression held.
func (out *Answer) follow(s promql.Series, a Ask, from, to time.Time, step time.Duration) {
	var since, fired, kept time.Time // zero: is not active, does not fire, holds
	next := 0
	end := func(at time.Time, open bool) {
		out.Incidents = append(out.Incidents, Incident{Labels: labelsOf(s.Metric, a.Labels), Since: since, From: fired, To: at, Open: open})
	}
	for at := from; !at.After(to); at = at.Add(step) {
		holds := next < len(s.Floats) && s.Floats[next].T == at.UnixMilli()
		if holds {
			next++
		}
		switch {
		case holds && since.IsZero():
			since = at
		case !holds && fired.IsZero():
			since = time.Time{}
		case !holds:
			if kept.IsZero() {
				kept = at
			}
			if at.Sub(kept) >= a.KeepFiringFor {
				end(at, false)
				since, fired, kept = time.Time{}, time.Time{}, time.Time{}
			}
			continue
		}
		if holds {
			kept = time.Time{}
			if fired.IsZero() && at.Sub(since) >= a.For {
				fired = at
			}
		}
	}
	switch {
	case !fired.IsZero():
		out.FiringNow++
		end(to, true)
	case !since.IsZero():
		out.PendingNow++
	}
}

func (out *Answer) tidy() {
	slices.SortStableFunc(out.Incidents, func(a, b Incident) int { return b.From.Compare(a.From) })
	out.Fired = len(out.Incidents)
	for _, i := range out.Incidents {
		out.FiringSeconds += i.To.Sub(i.From).Seconds()
	}
	if more := len(out.Incidents) - maxIncidents; more > 0 {
		out.Incidents, out.IncidentsLeftOut = out.Incidents[:maxIncidents], more
	}
}

func labelsOf(ls labels.Labels, more map[string]string) map[string]string {
	out := ls.Map()
	delete(out, model.MetricNameLabel)
	maps.Copy(out, more)
	return out
}

// chart draws what stands before the condition of an expression, and the threshold.
func chart(ctx context.Context, engine promql.QueryEngine, q storage.Queryable, expr parser.Expr, from, to time.Time) (Chart, error) {
	step := max(to.Sub(from)/chartPoints, time.Second).Round(time.Second)
	out := Chart{StepSeconds: step.Seconds(), Series: []Line{}}
	shown, condition, threshold := split(expr)
	out.Expr, out.Condition, out.Threshold = shown.String(), condition, threshold
	m, err := matrix(ctx, engine, q, out.Expr, from.Add(to.Sub(from)%step), to, step)
	if err != nil {
		return out, err
	}
	if more := len(m) - chartSeries; more > 0 {
		slices.SortStableFunc(m, func(a, b promql.Series) int { return worse(a, b, condition) })
		m, out.LeftOut = m[:chartSeries], more
	}
	for _, s := range m {
		l := Line{Labels: s.Metric.Map(), Points: make([]Point, len(s.Floats))}
		for i, f := range s.Floats {
			l.Points[i] = Point{f.T, f.F}
		}
		out.Series = append(out.Series, l)
	}
	return out, nil
}

// worse puts first what comes nearest to the condition, or farthest beyond.
func worse(a, b promql.Series, condition string) int {
	extreme := func(s promql.Series) float64 {
		values := make([]float64, len(s.Floats))
		for i, f := range s.Floats {
			values[i] = f.F
		}
		switch {
		case len(values) == 0:
			return 0
		case condition == "<" || condition == "<=":
			return -slices.Min(values)
		}
		return slices.Max(values)
	}
	return cmp.Compare(extreme(b), extreme(a))
}

// split takes the condition off an expression that compares with a number.
func split(expr parser.Expr) (shown parser.Expr, condition string, threshold *float64) {
	for {
		inner, ok := expr.(*parser.ParenExpr)
		if !ok {
			break
		}
		expr = inner.Expr
	}
	b, ok := expr.(*parser.BinaryExpr)
	if !ok || !b.Op.IsComparisonOperator() || b.ReturnBool {
		return expr, "", nil
	}
	if n, ok := number(b.RHS); ok {
		return b.LHS, b.Op.String(), &n
	}
	if n, ok := number(b.LHS); ok {
		turned := map[parser.ItemType]string{parser.GTR: "<", parser.GTE: "<=", parser.LSS: ">", parser.LTE: ">="}
		return b.RHS, cmp.Or(turned[b.Op], b.Op.String()), &n
	}
	return expr, "", nil
}

func number(e parser.Expr) (float64, bool) {
	switch e := e.(type) {
	case *parser.NumberLiteral:
		return e.Val, true
	case *parser.ParenExpr:
		return number(e.Expr)
	case *parser.UnaryExpr:
		n, ok := number(e.Expr)
		if e.Op == parser.SUB {
			n = -n
		}
		return n, ok
	}
	return 0, false
}
