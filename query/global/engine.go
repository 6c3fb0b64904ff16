package global

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

var _ promql.QueryEngine = (*Engine)(nil)

// Options are what an asking side is made of.
type Options struct {
	// Engine evaluates remainders and, with ScopeLocal, whole questions. It must
	// allow the @ modifier.
	Engine promql.QueryEngine
	// Islands returns every island of the mesh, this one included, reachable or
	// not: one that it leaves out is missing without a word.
	Islands func(context.Context) []Island
	// Label is the partition label.
	Label string
	// Default is the scope of questions that name none; ScopeAll if not set.
	Default Scope
	// Deadline is how long each island has; 10 s if 0.
	Deadline time.Duration
	// Features are what Engine and its parser are set to, Lookback included.
	Features EngineOptions
	// SubqueryStep is EngineOpts.NoStepSubqueryIntervalFn.
	SubqueryStep func(rangeMillis int64) int64
	// Limits bound what one query receives.
	Limits Limits
	// Memory bounds in bytes what the answers to one query take, as they arrive
	// and taken apart; 0 is unlimited. One island gets half of it at most.
	Memory int64
	// Costs choose between leaves and fetching; nil makes everything that can be
	// one a leaf.
	Costs *Costs
	// Cache keeps answers; nil for none.
	Cache *Cache
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Engine answers questions about all islands. It is safe for concurrent use.
type Engine struct {
	options Options
	metrics *metrics
}

// New checks the options.
func New(o Options) (*Engine, error) {
	var errs []error
	if o.Engine == nil || o.Islands == nil || o.SubqueryStep == nil {
		errs = append(errs, errors.New("BUG: global.Options.Engine, Islands or SubqueryStep is missing"))
	}
	if o.Label == "" {
		errs = append(errs, errors.New("BUG: global.Options.Label is missing"))
	}
	if o.Features.Lookback < 1 {
		errs = append(errs, fmt.Errorf("BUG: global.Options.Features.Lookback is %d ms", o.Features.Lookback))
	}
	if o.Default == ScopeDefault {
		o.Default = ScopeAll
	}
	if o.Deadline <= 0 {
		o.Deadline = 10 * time.Second
	}
	return &Engine{options: o, metrics: newMetrics(o.Registerer)}, errors.Join(errs...)
}

// NewInstantQuery prepares an evaluation of qs at ts. What the context carries
// from WithAsk says how; q is read with ScopeLocal only.
func (e *Engine) NewInstantQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, ts time.Time) (promql.Query, error) {
	return e.query(ctx, q, opts, func(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string) (promql.Query, error) {
		return e.options.Engine.NewInstantQuery(ctx, q, opts, qs, ts)
	}, qs)
}

// NewRangeQuery prepares an evaluation of qs at every step from start to end,
// under the same rules. A step of less than a millisecond is rewrite.ErrStep.
func (e *Engine) NewRangeQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, start, end time.Time, step time.Duration) (promql.Query, error) {
	if step < time.Millisecond {
		return nil, rewrite.ErrStep
	}
	return e.query(ctx, q, opts, func(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string) (promql.Query, error) {
		return e.options.Engine.NewRangeQuery(ctx, q, opts, qs, start, end, step)
	}, qs)
}

// prepare makes a query of the upstream engine for the times of the question.
type prepare func(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string) (promql.Query, error)

func (e *Engine) query(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, prep prepare, qs string) (promql.Query, error) {
	ask := askFrom(ctx)
	if ask.Scope == ScopeDefault {
		ask.Scope = e.options.Default
	}
	if ask.Deadline <= 0 {
		ask.Deadline = e.options.Deadline
	}
	if ask.Scope == ScopeLocal {
		inner, err := prep(ctx, q, opts, qs)
		if err != nil {
			return nil, err
		}
		receipt := Receipt{Scope: ask.Scope.String()}
		if ask.Receipt != nil {
			*ask.Receipt = receipt
		}
		return &localQuery{Query: inner, receipt: &receipt}, nil
	}
	// The question as the upstream engine sees it: it finds every error of syntax
	// and of limits, and is never executed.
	whole, err := prep(ctx, nothing{}, opts, qs)
	if err != nil {
		return nil, err
	}
	stmt, ok := whole.Statement().(*parser.EvalStmt)
	if !ok {
		whole.Close()
		return nil, fmt.Errorf("query: %q is not an expression", qs)
	}
	if opts == nil {
		opts = promql.NewPrometheusQueryOpts(false, 0, nil)
	}
	s := newSession(e, ask, opts)
	return &query{
		Query: whole, session: s, prepare: prep, opts: opts,
		asked: rewrite.Query{
			Expr:  stmt.Expr,
			Start: timestamp.FromTime(stmt.Start), End: timestamp.FromTime(stmt.End),
			Step: stmt.Interval.Milliseconds(),
		},
	}, nil
}

// nothing is a store without data.
type nothing struct{}

func (nothing) Querier(int64, int64) (storage.Querier, error) { return storage.NoopQuerier(), nil }

// localQuery is a question about this island alone.
type localQuery struct {
	promql.Query
	receipt *Receipt
}

func (q *localQuery) Receipt() *Receipt { return q.receipt }
