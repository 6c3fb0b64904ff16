package dimension

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
)

// apiFile is what stands for the file of narrow rules in the rules API.
const apiFile = "dimension_rules"

// narrow is the rule of one value: an upstream group with one rule, which is
// evaluated when its family says so.
type narrow struct {
	key   string
	value value
	text  string
	// delay after a tick, from 0 to the family's spread, fixed by the key.
	delay time.Duration
	rule  *rules.RecordingRule
	opts  *rules.ManagerOptions

	// mu lets one evaluation run at a time, and guards the group's state.
	mu    sync.Mutex
	group *rules.Group

	// result is the number of samples of the last evaluation that succeeded; -1
	// before the first.
	result atomic.Int64
	failed atomic.Bool
}

// newNarrow makes the rule of one value. What old recorded, if not nil, is
// carried on, and marked stale where it ends.
func (f *family) newNarrow(v value, old *narrow) (*narrow, error) {
	p := f.plan
	expr, err := p.narrow(v)
	if err != nil {
		return nil, err
	}
	key := v.key(p.splitter.labels)
	n := &narrow{key: key, value: v, text: expr.String(), rule: rules.NewRecordingRule(p.record, expr, p.labels)}
	n.result.Store(-1)
	if p.spread > 0 {
		n.delay = time.Duration(weigh(p.name, key) % uint64(p.spread))
	}
	opts := *f.gen.manager
	opts.QueryFunc = n.counting(f.query)
	n.opts = &opts
	n.group = f.newGroup(n, n.rule)
	if old != nil {
		old.mu.Lock()
		defer old.mu.Unlock()
		n.group.CopyState(old.group)
		n.result.Store(old.result.Load())
	}
	return n, nil
}

func (f *family) newGroup(n *narrow, own ...rules.Rule) *rules.Group {
	offset := f.plan.offset
	return rules.NewGroup(rules.GroupOptions{
		Name: f.plan.name + n.key, File: apiFile, Interval: f.plan.interval,
		Rules: own, Opts: n.opts, QueryOffset: &offset,
	})
}

// counting notes how much a query returned.
func (n *narrow) counting(query rules.QueryFunc) rules.QueryFunc {
	return func(ctx context.Context, q string, t time.Time) (promql.Vector, error) {
		v, err := query(ctx, q, t)
		if err == nil {
			n.result.Store(int64(len(v)))
		}
		return v, err
	}
}

// evaluate runs the rule as of a tick. It does nothing, and returns false,
// while an earlier evaluation is under way.
func (n *narrow) evaluate(ctx context.Context, tick time.Time) bool {
	if !n.mu.TryLock() {
		return false
	}
	defer n.mu.Unlock()
	ctx = promql.NewOriginContext(ctx, map[string]any{
		"ruleGroup": map[string]string{"file": n.group.File(), "name": n.group.Name()},
	})
	rules.DefaultEvalIterationFunc(ctx, n.group, tick)
	n.failed.Store(n.rule.LastError() != nil)
	return true
}

// idle reports that the last evaluation found nothing or failed, or that there
// was none: whether the value lives must be looked up.
func (n *narrow) idle() bool { return n.result.Load() <= 0 || n.failed.Load() }

// farewell marks what the rule recorded as stale, as of the time of its
// removal. Like upstream's it waits two intervals, so that a rule that took
// over these series has written to them: then the marker, older, is refused.
func (f *family) farewell(ctx context.Context, n *narrow, removed time.Time) {
	wait := time.NewTimer(2 * f.plan.interval)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return
	case <-wait.C:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	last := f.newGroup(n)
	last.CopyState(n.group)
	last.Eval(ctx, removed)
	f.gen.forgetGroup(last)
}

// forgetGroup frees what upstream's metrics hold for a group.
func (g *Generator) forgetGroup(group *rules.Group) {
	key := rules.GroupKey(group.File(), group.Name())
	m := g.manager.Metrics
	m.IterationsMissed.DeleteLabelValues(key)
	m.IterationsScheduled.DeleteLabelValues(key)
	m.EvalTotal.DeleteLabelValues(key)
	m.EvalFailures.DeleteLabelValues(key)
	m.GroupInterval.DeleteLabelValues(key)
	m.GroupLastEvalTime.DeleteLabelValues(key)
	m.GroupLastDuration.DeleteLabelValues(key)
	m.GroupLastRuleDurationSum.DeleteLabelValues(key)
	m.GroupLastRestoreDuration.DeleteLabelValues(key)
	m.GroupRules.DeleteLabelValues(key)
	m.GroupSamples.DeleteLabelValues(key)
}
