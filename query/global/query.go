package global

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/stats"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

var _ Receipted = (*query)(nil)

// query is a question about all islands. The embedded one is the question as the
// upstream engine prepared it; it is never executed.
type query struct {
	promql.Query
	session *session
	prepare prepare
	opts    promql.QueryOpts
	asked   rewrite.Query

	mu     sync.Mutex
	cancel context.CancelFunc
	rest   promql.Query // the remainder, once there is one
}

// Exec asks the islands and evaluates the remainder.
func (q *query) Exec(ctx context.Context) *promql.Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q.mu.Lock()
	q.cancel = cancel
	q.mu.Unlock()

	res := q.exec(ctx)
	receipt := q.session.receipt()
	if receipt.Partial && q.session.ask.Deny && res.Err == nil {
		res = &promql.Result{Err: ErrPartial{Receipt: receipt}}
	}
	res.Warnings = q.session.annotate(receipt, res.Warnings)
	if into := q.session.ask.Receipt; into != nil {
		*into = *receipt
	}
	q.session.engine.metrics.finished(receipt, res.Err)
	return res
}

func (q *query) exec(ctx context.Context) *promql.Result {
	plan, err := q.plan(ctx)
	if err != nil {
		var limit *Fault
		if !errors.As(err, &limit) && ctx.Err() != nil {
			err = stopped(ctx)
		}
		return &promql.Result{Err: err}
	}
	if q.session.ask.Deny && q.session.receipt().Partial {
		return &promql.Result{} // Exec says why
	}
	opts := q.opts
	if len(plan.Raw) == 0 && !plan.More {
		// Rows have points exactly where they have values.
		opts = lookback{QueryOpts: opts, delta: time.Millisecond}
	}
	rest, err := q.prepare(ctx, &source{session: q.session, plan: plan}, opts, plan.Expr)
	if err != nil {
		return &promql.Result{Err: err}
	}
	q.mu.Lock()
	q.rest = rest
	q.mu.Unlock()
	return rest.Exec(ctx)
}

// plan takes the question apart and asks, again if what came back says that some
// leaves must be computed from their series.
func (q *query) plan(ctx context.Context) (*rewrite.Plan, error) {
	for {
		plan, err := rewrite.New(q.asked, q.session.rewriting())
		if err != nil {
			return nil, err
		}
		q.session.plan = plan
		if err := q.session.gather(ctx, plan.Leaves, plan.Raw); err != nil {
			return nil, err
		}
		if !q.session.spoil(plan.Leaves) {
			q.session.learn(plan.Leaves)
			return plan, nil
		}
	}
}

// stopped is upstream's error for a context that ended.
func stopped(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return promql.ErrQueryTimeout("asking islands")
	}
	return promql.ErrQueryCanceled("asking islands")
}

// Receipt tells how the answer came about, after Exec.
func (q *query) Receipt() *Receipt { return q.session.receipt() }

func (q *query) Cancel() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.cancel != nil {
		q.cancel()
	}
}

func (q *query) Close() {
	if q.rest != nil {
		q.rest.Close()
	}
	q.Query.Close()
}

func (q *query) Stats() *stats.Statistics {
	if q.rest != nil {
		return q.rest.Stats()
	}
	return q.Query.Stats()
}

// lookback replaces the lookback delta and hands the rest on.
type lookback struct {
	promql.QueryOpts
	delta time.Duration
}

func (l lookback) LookbackDelta() time.Duration { return l.delta }

func (l lookback) MaxSeries() uint64 {
	if c, ok := l.QueryOpts.(promql.QueryCostOpts); ok {
		return c.MaxSeries()
	}
	return 0
}

func (l lookback) MaxSamplesRead() uint64 {
	if c, ok := l.QueryOpts.(promql.QueryCostOpts); ok {
		return c.MaxSamplesRead()
	}
	return 0
}

func (l lookback) MaxQueryDuration() time.Duration {
	if c, ok := l.QueryOpts.(promql.QueryCostOpts); ok {
		return c.MaxQueryDuration()
	}
	return 0
}

// note is an annotation without a position: positions in a leaf or a remainder
// mean nothing to who asked.
type note struct {
	text string
	kind error
}

func (n note) Error() string { return n.text }
func (n note) Unwrap() error { return n.kind }

// annotate adds what the receipt has to say and takes the positions away.
func (s *session) annotate(r *Receipt, as annotations.Annotations) annotations.Annotations {
	var out annotations.Annotations
	for _, err := range as {
		out.Add(note{text: err.Error(), kind: errors.Unwrap(err)})
	}
	for _, i := range r.Islands {
		if i.State == StateFailed {
			out.Add(MissingWarning{Island: i.Name, Why: i.Why})
		} else if i.From != "" {
			out.Add(CopyWarning{Island: i.Name, Holder: i.From, Why: i.Why, Newest: i.Newest})
		}
	}
	if missing := r.missing(); len(missing) > 0 && s.plan != nil {
		for _, l := range s.plan.Leaves {
			if l.Absent {
				out.Add(AbsentWarning{Islands: missing})
			}
		}
	}
	return out
}
