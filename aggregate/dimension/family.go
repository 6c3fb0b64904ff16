package dimension

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/rules"
)

// family is one declaration at work: its narrow rules and the loop that keeps
// them in step with the values and evaluates them.
type family struct {
	gen     *Generator
	plan    *plan
	query   rules.QueryFunc
	source  source
	ranking ranking

	// before is the family of the same name that this one replaces.
	before *family
	cancel context.CancelFunc
	done   chan struct{}
	// ended tells that the rule is no longer declared, and not only stopped.
	ended atomic.Bool
	evals sync.WaitGroup
	last  time.Time // tick; the loop's own

	mu      sync.Mutex
	running map[string]*narrow
	order   []*narrow // by delay
	status  Status
}

func (g *Generator) newFamily(p *plan, before *family) *family {
	from := g.local
	if p.all {
		from = *g.opts.Global
		if !p.ignore {
			from.Query = from.Whole
		}
	}
	s := source{queryable: from.Queryable, plan: p}
	if from.Queryable == nil {
		s.asked = &asked{query: from.Query, plan: p}
	}
	return &family{
		gen: g, plan: p, before: before, query: from.Query, source: s, ranking: ranking{source: s},
		done: make(chan struct{}), running: map[string]*narrow{}, status: p.status(),
	}
}

// run follows the values and evaluates until ctx ends. Evaluations under way
// finish, unless life ends too.
func (f *family) run(ctx, life context.Context) {
	defer close(f.done)
	if f.before != nil {
		<-f.before.done
		f.last = f.before.last
	}
	f.gen.metrics.start(f.plan.name)
	for {
		timer := time.NewTimer(time.Until(f.next(time.Now())))
		select {
		case <-ctx.Done():
			timer.Stop()
			f.evals.Wait()
			f.leave(life)
			return
		case <-timer.C:
		}
		now := time.Now()
		f.refresh(ctx, life, now)
		if tick := floor(now, f.plan.interval); tick.After(f.last) {
			f.skipped(tick)
			f.last = tick
			f.sweep(ctx, life, tick)
		}
	}
}

// floor is the last multiple of d since 1970, as upstream aligns rules.
func floor(t time.Time, d time.Duration) time.Time {
	ns := t.UnixNano()
	return time.Unix(0, ns-ns%int64(d)).UTC()
}

// next is the next moment to look at the values: every tick, and so often in
// between that none goes unnoticed for longer than pollAtMost.
func (f *family) next(now time.Time) time.Time {
	tick := floor(now, f.plan.interval)
	polls := (f.plan.interval + pollAtMost - 1) / pollAtMost
	step := f.plan.interval / polls
	k := now.Sub(tick)/step + 1
	if k >= polls {
		return tick.Add(f.plan.interval)
	}
	return tick.Add(k * step)
}

// skipped counts ticks that passed while an earlier one was at work.
func (f *family) skipped(tick time.Time) {
	if f.last.IsZero() {
		return
	}
	if n := tick.Sub(f.last)/f.plan.interval - 1; n > 0 {
		f.gen.metrics.missed.WithLabelValues(f.plan.name).Add(float64(n) * float64(len(f.order)))
	}
}

// leave ends what a rule that is no longer declared recorded.
func (f *family) leave(life context.Context) {
	if !f.ended.Load() {
		return
	}
	gone := slices.Collect(maps.Values(f.heritage()))
	f.dismiss(life, gone, time.Now())
	f.gen.metrics.forget(f.plan.name)
	f.gen.warnings.forget(f.plan.name)
}

// dismiss says farewell to rules, all at the same time.
func (f *family) dismiss(life context.Context, gone []*narrow, removed time.Time) {
	for _, n := range gone {
		f.gen.farewells.Go(func() { f.farewell(life, n, removed) })
	}
}

// sweep evaluates every narrow rule as of a tick, each after its delay and when
// a slot is free. It returns when the last one has begun.
func (f *family) sweep(ctx, life context.Context, tick time.Time) {
	slots := *f.gen.slots.Load()
	s := &sweep{family: f, tick: tick}
	s.left.Store(1)
	defer s.finish()
	for _, n := range f.order {
		if wait := time.Until(tick.Add(n.delay)); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
		}
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		s.left.Add(1)
		f.evals.Go(func() {
			defer s.finish()
			defer func() { <-slots }()
			s.evaluate(life, n)
		})
	}
}

// sweep is the evaluations of one tick.
type sweep struct {
	family *family
	tick   time.Time
	left   atomic.Int64
}

func (s *sweep) evaluate(life context.Context, n *narrow) {
	m, name := s.family.gen.metrics, s.family.plan.name
	start := time.Now()
	if !n.evaluate(life, s.tick) {
		m.missed.WithLabelValues(name).Inc()
		return
	}
	m.evaluated.WithLabelValues(name).Inc()
	m.seconds.WithLabelValues(name).Add(time.Since(start).Seconds())
	if n.failed.Load() {
		m.failures.WithLabelValues(name).Inc()
		return
	}
	m.samples.WithLabelValues(name).Add(float64(max(n.result.Load(), 0)))
}

// finish is called once per evaluation, and once when all have begun; the last
// one sums up.
func (s *sweep) finish() {
	if s.left.Add(-1) > 0 {
		return
	}
	f := s.family
	lag := time.Since(s.tick)
	f.mu.Lock()
	failing, text := 0, ""
	for _, n := range f.order {
		if !n.failed.Load() {
			continue
		}
		failing++
		if err := n.rule.LastError(); err != nil && text == "" {
			text = n.key + ": " + err.Error()
		}
	}
	rules := len(f.order)
	f.status.LastTick, f.status.Lag, f.status.Failing, f.status.LastError = s.tick, lag, failing, text
	f.mu.Unlock()
	if f.ended.Load() {
		return
	}
	f.gen.metrics.lag.WithLabelValues(f.plan.name).Set(lag.Seconds())
	f.gen.metrics.failing.WithLabelValues(f.plan.name).Set(float64(failing))
	if failing > 0 {
		f.gen.warnings.failing.set(f.plan.name, "%d of %d narrow rules fail, such as %s", failing, rules, text)
	} else {
		f.gen.warnings.failing.clear(f.plan.name)
	}
}

// byDelay is the order in which rules are evaluated.
func byDelay(running map[string]*narrow) []*narrow {
	return slices.SortedFunc(maps.Values(running), func(a, b *narrow) int {
		return cmp.Or(cmp.Compare(a.delay, b.delay), strings.Compare(a.key, b.key))
	})
}
