package dimension

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/health"
)

// Members are the islands among which rules with scope all are shared: those
// alive that can answer queries over all data, and what this one goes by, which
// need not be among them. Outside of a network there are none.
type Members func() (self string, all []string)

// Source is where rules read: Query evaluates PromQL, Queryable lists label
// values and finds samples; where it is nil, Query is asked for them. Whole is Query
// that fails where islands are missing.
type Source struct {
	Query     rules.QueryFunc
	Whole     rules.QueryFunc
	Queryable storage.Queryable
}

// Options are what a Generator is made from.
type Options struct {
	Config Config

	// Engine and Queryable read this island's own samples.
	Engine    promql.QueryEngine
	Queryable storage.Queryable
	// Global reads those of all islands; nil refuses rules with scope all.
	Global *Source
	// Appendable takes what rules record.
	Appendable storage.AppendableV2

	// Members is required where Global is set.
	Members Members

	Parser parser.Parser // nil for the upstream default
	// Interval is that of rules that name none; 0 is a minute.
	Interval time.Duration
	// Lookback is that of the engine; 0 is five minutes.
	Lookback time.Duration
	// Ready, if not nil, is closed once the store answers.
	Ready <-chan struct{}

	Logger      *slog.Logger
	Registerer  prometheus.Registerer
	Health      *health.List
	ExternalURL *url.URL
}

func (o *Options) complete() error {
	var errs []error
	require := func(name string, ok bool) {
		if !ok {
			errs = append(errs, fmt.Errorf("dimension: Options.%s is required", name))
		}
	}
	require("Engine", o.Engine != nil)
	require("Queryable", o.Queryable != nil)
	require("Appendable", o.Appendable != nil)
	if o.Global != nil {
		require("Global.Query", o.Global.Query != nil)
		require("Global.Whole", o.Global.Whole != nil)
		require("Members", o.Members != nil)
	}
	if o.Parser == nil {
		o.Parser = parser.NewParser(parser.Options{})
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Health == nil {
		o.Health = health.New(nil)
	}
	if o.ExternalURL == nil {
		o.ExternalURL = &url.URL{Scheme: "http", Host: "127.0.0.1:59080"}
	}
	return errors.Join(errs...)
}

// Generator makes narrow rules of declared ones and evaluates them.
type Generator struct {
	opts     Options
	logger   *slog.Logger
	local    Source
	manager  *rules.ManagerOptions // what every narrow group shares
	metrics  *metrics
	warnings *warnings
	slots    atomic.Pointer[chan struct{}]

	// mu guards what follows.
	mu       sync.Mutex
	phase    phase
	plans    []*plan
	families map[string]*family
	life     context.Context
	wg       sync.WaitGroup
	// farewells are staleness markers that wait for their time.
	farewells sync.WaitGroup
}

type phase int

const (
	phaseNew phase = iota
	phaseRunning
	phaseStopped
)

// New checks the configuration and starts nothing.
func New(o Options) (*Generator, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	g := &Generator{
		opts: o, logger: o.Logger, families: map[string]*family{},
		local: Source{Query: rules.EngineQueryFunc(o.Engine, o.Queryable), Queryable: o.Queryable},
		manager: &rules.ManagerOptions{
			ExternalURL: o.ExternalURL, AppendableV2: o.Appendable, Queryable: o.Queryable,
			Logger: o.Logger.With("part", "dimension"), Context: context.Background(), Parser: o.Parser,
			// The names of upstream's metrics belong to the rules of rule files.
			Metrics: rules.NewGroupMetrics(nil),
		},
	}
	plans, err := g.compile(o.Config)
	if err != nil {
		return nil, err
	}
	g.metrics, g.warnings = newMetrics(o.Registerer), newWarnings(o.Health)
	g.take(o.Config, plans)
	return g, nil
}

func (g *Generator) compiler() compiler {
	return compiler{parser: g.opts.Parser, interval: g.opts.Interval, lookback: g.opts.Lookback}
}

func (g *Generator) compile(c Config) ([]*plan, error) {
	plans, found := compileAll(c, g.compiler())
	for i, r := range c.Rules {
		if r.Scope == ScopeAll && g.opts.Global == nil {
			found = append(found, finding{path: fmt.Sprintf("dimension_rules[%d].scope", i), offset: -1,
				message: "all needs a mesh to query: join one, or remove scope"})
		}
	}
	if err := joined(found); err != nil {
		return nil, err
	}
	for _, f := range found {
		g.logger.Warn("suspicious rule by dimension", "field", f.path, "message", f.message)
	}
	return plans, nil
}

func (g *Generator) take(c Config, plans []*plan) {
	n := c.Concurrency
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if old := g.slots.Load(); old == nil || cap(*old) != n {
		slots := make(chan struct{}, n)
		g.slots.Store(&slots)
	}
	g.plans = plans
}

// Run evaluates until ctx ends, then waits for what is under way. A Generator
// runs once.
func (g *Generator) Run(ctx context.Context) error {
	if g.opts.Ready != nil {
		select {
		case <-g.opts.Ready:
		case <-ctx.Done():
			return nil
		}
	}
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	g.mu.Lock()
	if g.phase != phaseNew {
		g.mu.Unlock()
		return errors.New("running rules by dimension: they ran already: make a new Generator")
	}
	g.phase, g.life = phaseRunning, life
	g.apply()
	g.mu.Unlock()

	<-ctx.Done()
	g.mu.Lock()
	g.phase = phaseStopped
	for _, f := range g.families {
		f.cancel()
	}
	g.mu.Unlock()
	g.wg.Wait()
	g.farewells.Wait()
	return nil
}

// Prepare checks a new configuration. Until commit the old one works on. Rules
// that are declared as before go on untouched; changed ones take over what
// their values recorded. One of commit and discard must be called, once.
func (g *Generator) Prepare(c Config) (commit, discard func(), err error) {
	plans, err := g.compile(c)
	if err != nil {
		return nil, nil, err
	}
	commit = func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.phase == phaseStopped {
			return
		}
		g.take(c, plans)
		if g.phase == phaseRunning {
			g.apply()
		}
	}
	return commit, func() {}, nil
}

// apply brings the families in step with the plans.
func (g *Generator) apply() {
	next := make(map[string]*family, len(g.plans))
	for _, p := range g.plans {
		old := g.families[p.name]
		if old != nil && old.plan.identity() == p.identity() {
			next[p.name] = old
			continue
		}
		f := g.newFamily(p, old)
		var ctx context.Context
		ctx, f.cancel = context.WithCancel(g.life)
		if old != nil {
			old.cancel()
		}
		next[p.name] = f
		g.wg.Go(func() { f.run(ctx, g.life) })
	}
	for name, f := range g.families {
		if _, stays := next[name]; !stays {
			f.ended.Store(true)
			f.cancel()
		}
	}
	g.families = next
}

// sorted returns the families by name.
func (g *Generator) sorted() []*family {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]*family, 0, len(g.families))
	for _, f := range g.families {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b *family) int { return strings.Compare(a.plan.name, b.plan.name) })
	return out
}
