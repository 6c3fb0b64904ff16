package query

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/features"
)

var (
	_ promql.QueryEngine       = (*engine)(nil)
	_ promql.QuerySlotAcquirer = (*engine)(nil)
)

// engine is the upstream engine with an eye on how its queries end.
type engine struct {
	*promql.Engine
	logger  *slog.Logger
	metrics *metrics
	trouble *trouble
	slow    atomic.Int64 // nanoseconds; 0 is off
	timeout atomic.Int64 // nanoseconds
}

func newParser(cfg Config) parser.Parser {
	return parser.NewParser(parser.Options{
		EnableExperimentalFunctions: cfg.ExperimentalFunctions,
		EnableBinopFillModifiers:    cfg.ExperimentalFunctions,
		EnableUnquotedUTF8Names:     cfg.ExperimentalFunctions,
	})
}

// engineOpts are those of all engines of this island, so that what one evaluates
// here and another elsewhere means the same.
func (q *Query) engineOpts(reg prometheus.Registerer, f features.Collector, tracker promql.QueryTracker) promql.EngineOpts {
	o := q.options
	return promql.EngineOpts{
		Logger:             o.Logger,
		Reg:                reg,
		MaxSamples:         o.Config.MaxSamples,
		Timeout:            time.Duration(o.Config.Timeout),
		ActiveQueryTracker: tracker,
		LookbackDelta:      time.Duration(o.Config.LookbackDelta),
		NoStepSubqueryIntervalFn: func(int64) int64 {
			return time.Duration(o.PrometheusConfig().GlobalConfig.EvaluationInterval).Milliseconds()
		},
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		EnablePerStepStats:       true, // computed only when a request says stats=all
		EnableDelayedNameRemoval: o.Config.DelayedNameRemoval,
		UseStartTimestamps:       o.Config.StartTimestamps,
		EnableQueryCost:          true, // what makes the limits of a query live
		FeatureRegistry:          f,
		Parser:                   q.parser,
	}
}

// NewInstantQuery prepares an evaluation of qs at ts.
func (e *engine) NewInstantQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, ts time.Time) (promql.Query, error) {
	began := time.Now()
	qry, err := e.Engine.NewInstantQuery(ctx, q, opts, qs, ts)
	return e.watch(ctx, began, qry, qs, err)
}

// NewRangeQuery prepares an evaluation of qs at every step from start to end.
func (e *engine) NewRangeQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, start, end time.Time, step time.Duration) (promql.Query, error) {
	began := time.Now()
	qry, err := e.Engine.NewRangeQuery(ctx, q, opts, qs, start, end, step)
	return e.watch(ctx, began, qry, qs, err)
}

func (e *engine) watch(ctx context.Context, began time.Time, qry promql.Query, qs string, err error) (promql.Query, error) {
	if err != nil {
		e.finished(ctx, qs, time.Since(began), err)
		return nil, err
	}
	return &watched{Query: qry, engine: e, began: began}, nil
}

// watched is a query from its preparation on.
type watched struct {
	promql.Query
	engine *engine
	began  time.Time
}

func (w *watched) Exec(ctx context.Context) *promql.Result {
	// The statement may be taken apart by the evaluation: read it first.
	var start, end time.Time
	var step time.Duration
	if s, ok := w.Statement().(*parser.EvalStmt); ok {
		start, end, step = s.Start, s.End, s.Interval
	}
	res := w.Query.Exec(ctx)
	took := time.Since(w.began)
	w.engine.finished(ctx, w.String(), took, res.Err)
	if limit := time.Duration(w.engine.slow.Load()); limit > 0 && took >= limit {
		w.engine.metrics.slow.Inc()
		attrs := []any{"query", w.String(), "took", took, "threshold", limit,
			"start", start.UTC(), "end", end.UTC(), "step", step, "origin", origin(ctx)}
		if st := w.Stats(); st != nil && st.Samples != nil {
			attrs = append(attrs, "samples", st.Samples.TotalSamples, "peak_samples", st.Samples.PeakSamples)
		}
		if res.Err != nil {
			attrs = append(attrs, "err", res.Err)
		}
		w.engine.logger.Warn("slow query", attrs...)
	}
	return res
}

// finished records how a query ended; err is nil for success.
func (e *engine) finished(ctx context.Context, qs string, took time.Duration, err error) {
	result := outcome(err)
	e.metrics.queries.WithLabelValues(origin(ctx), result).Inc()
	// A client that gave its query less time than this island would is not in trouble.
	if result == "timeout" && took >= time.Duration(e.timeout.Load()) {
		e.trouble.timeout(qs, err)
	}
}

func outcome(err error) string {
	var (
		timeout  promql.ErrQueryTimeout
		canceled promql.ErrQueryCanceled
		samples  promql.ErrTooManySamples
		series   promql.ErrTooManySeries
		read     promql.ErrTooManySamplesRead
	)
	switch {
	case err == nil:
		return "success"
	case errors.Is(err, ErrQueueFull):
		return "refused"
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &canceled), errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &samples), errors.As(err, &series), errors.As(err, &read):
		return "limit"
	default:
		return "error"
	}
}

// origin says who asked, as the engine's callers mark it in the context.
func origin(ctx context.Context) string {
	m, _ := ctx.Value(promql.QueryOrigin{}).(map[string]any)
	switch {
	case m["httpRequest"] != nil:
		return "http"
	case m["ruleGroup"] != nil:
		return "rule"
	default:
		return "other"
	}
}

// apply sets what can change while queries run.
func (e *engine) apply(cfg Config) {
	e.SetQueryLimits(cfg.MaxSeries, cfg.MaxSamplesRead, time.Duration(cfg.Timeout))
	e.slow.Store(int64(cfg.SlowQuery))
	e.timeout.Store(int64(cfg.Timeout))
}
