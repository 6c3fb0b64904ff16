package query

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/query/global"
)

// IslandLabel is on every series of an answer about all islands.
const IslandLabel = "island"

// Neighbours are this island's name and the other islands of its network, reachable
// or not; an island of no network is alone.
type Neighbours func() (self string, others []global.Island)

// everywhere is what makes questions about all islands, and answers those of others.
type everywhere struct {
	q       *Query
	asking  *global.Engine
	engine  promql.QueryEngine
	answers chan struct{}
}

// newEverywhere wraps an engine so that its questions can be about all islands.
func (q *Query) newEverywhere() (*everywhere, error) {
	o, cfg := q.options, q.options.Config
	e := &everywhere{
		q: q,
		// Not the one with slots: islands that ask each other would wait for each other.
		engine:  promql.NewEngine(q.engineOpts(nil, nil, nil)),
		answers: make(chan struct{}, cfg.MaxConcurrency),
	}
	step := func(int64) int64 {
		return time.Duration(o.PrometheusConfig().GlobalConfig.EvaluationInterval).Milliseconds()
	}
	var err error
	e.asking, err = global.New(global.Options{
		Engine: q.engine, Islands: e.islands, Label: IslandLabel, Default: global.ScopeLocal,
		Deadline: time.Duration(cfg.Islands.Deadline), Features: e.features(), SubqueryStep: step,
		Limits: cfg.Islands.limits(), Memory: int64(cfg.Islands.MaxMemory), Cache: q.newCache(), Costs: global.NewCosts(time.Duration(o.PrometheusConfig().GlobalConfig.ScrapeInterval)),
		Registerer: o.Registerer,
	})
	return e, err
}

// newCache returns nil where caching is turned off.
func (q *Query) newCache() *global.Cache {
	if q.options.Config.Islands.Cache == 0 {
		return nil
	}
	return global.NewCache(int64(q.options.Config.Islands.Cache), q.options.Registerer)
}

func (e *everywhere) features() global.EngineOptions {
	c := e.q.options.Config
	return global.EngineOptions{
		Lookback:     time.Duration(c.LookbackDelta).Milliseconds(),
		DelayedNames: c.DelayedNameRemoval, StartTimestamps: c.StartTimestamps,
	}
}

// islands lists all, this one included.
func (e *everywhere) islands(context.Context) []global.Island {
	self, others := e.q.options.Neighbours()
	return append([]global.Island{&itself{e: e, name: func() string { return self }}}, others...)
}

// answerer answers for this island under the name that it goes by now.
func (e *everywhere) answerer(name string) (*global.Answerer, error) {
	return global.NewAnswerer(global.AnswererOptions{
		Engine: e.engine, Storage: e.q.options.Store, Label: IslandLabel, Name: name,
		Exemplars: e.q.options.Store, External: e.external(), DelayedNames: e.features().DelayedNames, Limits: e.q.Config().Islands.limits(), Span: e.q.options.Store.Span,
		History: e.q.options.History,
	})
}

// copyAnswerer answers out of a copy; nothing of it is promised to stay.
func (e *everywhere) copyAnswerer(h *Held) (*global.Answerer, error) {
	return global.NewAnswerer(global.AnswererOptions{
		Engine: e.engine, Storage: h.Storage, Label: IslandLabel, Name: h.Name, External: h.External,
		DelayedNames: e.features().DelayedNames, Limits: e.q.Config().Islands.limits(), Span: h.Span,
	})
}

// external are the labels that series carry at the border, but for the island's.
func (e *everywhere) external() labels.Labels {
	prom := e.q.options.PrometheusConfig()
	return labels.NewBuilder(prom.GlobalConfig.ExternalLabels).Del(IslandLabel).Labels()
}

// Held is another island's samples as they are kept here.
type Held struct {
	// Name is the origin's, External the other labels of its series.
	Name     string
	External labels.Labels
	Storage  storage.SampleAndChunkQueryable
	Span     func() (oldest, newest int64)
}

// CopyOf answers for another island out of what is kept here, within this island's
// limits.
func (q *Query) CopyOf(h Held) global.Catalog {
	return &itself{e: q.everywhere, name: func() string { return h.Name }, held: &h}
}

// Itself is this island as others ask it: within the limits of both.
func (q *Query) Itself() global.Catalog {
	return &itself{e: q.everywhere, name: func() string {
		name, _ := q.options.Neighbours()
		return name
	}}
}

// itself is this island, asked without a network between.
type itself struct {
	e    *everywhere
	name func() string
	held *Held // what is answered from; nil for the store
}

// Facts implements global.Island.
func (i *itself) Facts() global.Facts {
	if i.held != nil {
		return global.Facts{Name: i.held.Name, External: i.held.External}
	}
	return global.Facts{Name: i.name(), External: i.e.external(), Own: true}
}

func (i *itself) answerer() (*global.Answerer, error) {
	if i.held != nil {
		return i.e.copyAnswerer(i.held)
	}
	return i.e.answerer(i.name())
}

// turn waits for one of the places of those who are answered.
func (i *itself) turn(ctx context.Context) (a *global.Answerer, done func(), err error) {
	if !i.e.q.options.Ready() {
		return nil, nil, fmt.Errorf("island %q is starting or stopping: %w", i.name(), flow.ErrUnavailable)
	}
	if a, err = i.answerer(); err != nil {
		return nil, nil, err
	}
	select {
	case i.e.answers <- struct{}{}:
		return a, func() { <-i.e.answers }, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// Answer implements global.Island.
func (i *itself) Answer(ctx context.Context, r *global.Request) (*global.Answer, error) {
	a, done, err := i.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return a.Answer(ctx, r)
}

// Labels implements global.Catalog.
func (i *itself) Labels(ctx context.Context, r *global.LabelsRequest) ([]string, []global.Note, error) {
	a, done, err := i.turn(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	return a.Labels(ctx, r)
}

// Series implements global.Catalog.
func (i *itself) Series(ctx context.Context, r *global.SeriesRequest) ([]labels.Labels, []global.Note, error) {
	a, done, err := i.turn(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	return a.Series(ctx, r)
}

// Exemplars implements global.Catalog.
func (i *itself) Exemplars(ctx context.Context, r *global.ExemplarsRequest) ([]exemplar.QueryResult, error) {
	a, done, err := i.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return a.Exemplars(ctx, r)
}
