package query

import (
	"context"
	"fmt"
	"path/filepath"
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
	border  *border
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
	e.border = newBorder(filepath.Join(o.Dir, "border.json"), e.external, o.Since, o.Logger)
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

// answerer answers for this island under the name that it goes by now, with what it
// shows of itself.
func (e *everywhere) answerer(name string, shown *global.Promise) (*global.Answerer, error) {
	o := e.q.options
	return global.NewAnswerer(global.AnswererOptions{
		Engine: e.engine, Storage: visible{o.Store, shown.MinTime}, Label: IslandLabel, Name: name,
		Exemplars: o.Store, External: shown.External, DelayedNames: e.features().DelayedNames, Limits: e.q.Config().Islands.limits(), Span: o.Store.Span,
		History: func() (epoch uint64, settled int64) {
			if o.History == nil {
				return 0, 0
			}
			if epoch, settled = o.History(); epoch == 0 {
				return 0, 0
			}
			return max(epoch^uint64(shown.MinTime)<<1, 1), settled // samples before it come to be seen
		},
	})
}

// copyAnswerer answers out of a copy; nothing of it is promised to stay.
func (e *everywhere) copyAnswerer(h *Held) (*global.Answerer, error) {
	return global.NewAnswerer(global.AnswererOptions{
		Engine: e.engine, Storage: h.Storage, Label: IslandLabel, Name: h.Name, External: h.External,
		DelayedNames: e.features().DelayedNames, Limits: e.q.Config().Islands.limits(), Span: h.Span,
	})
}

// external are the labels that series are to carry at the border, but for the island's.
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
	}, promising: true}
}

// itself is this island, asked without a network between.
type itself struct {
	e         *everywhere
	name      func() string
	promising bool  // by who may note what is promised
	held      *Held // what is answered from; nil for the store
}

// Facts implements global.Island.
func (i *itself) Facts() global.Facts {
	if i.held != nil {
		return global.Facts{Name: i.held.Name, External: i.held.External}
	}
	shown, _ := i.e.border.look(false)
	return global.Facts{Name: i.name(), External: shown.External, MinTime: shown.MinTime, Own: true}
}

// answerer also returns what is promised, if anything is.
func (i *itself) answerer() (*global.Answerer, *global.Promise, error) {
	if i.held != nil {
		a, err := i.e.copyAnswerer(i.held)
		return a, nil, err
	}
	shown, promised := i.e.border.look(i.promising)
	a, err := i.e.answerer(i.name(), &shown)
	if !promised {
		return a, nil, err
	}
	return a, &shown, err
}

// turn waits for one of the places of those who are answered.
func (i *itself) turn(ctx context.Context) (a *global.Answerer, p *global.Promise, done func(), err error) {
	if !i.e.q.options.Ready() {
		return nil, nil, nil, fmt.Errorf("island %q is starting or stopping: %w", i.name(), flow.ErrUnavailable)
	}
	if a, p, err = i.answerer(); err != nil {
		return nil, nil, nil, err
	}
	select {
	case i.e.answers <- struct{}{}:
		return a, p, func() { <-i.e.answers }, nil
	case <-ctx.Done():
		return nil, nil, nil, ctx.Err()
	}
}

// Answer implements global.Island.
func (i *itself) Answer(ctx context.Context, r *global.Request) (*global.Answer, error) {
	a, promise, done, err := i.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	answer, err := a.Answer(ctx, r)
	if err == nil {
		answer.Promise = promise
	}
	return answer, err
}

// Labels implements global.Catalog.
func (i *itself) Labels(ctx context.Context, r *global.LabelsRequest) ([]string, []global.Note, error) {
	a, _, done, err := i.turn(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	return a.Labels(ctx, r)
}

// Series implements global.Catalog.
func (i *itself) Series(ctx context.Context, r *global.SeriesRequest) ([]labels.Labels, []global.Note, error) {
	a, _, done, err := i.turn(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	return a.Series(ctx, r)
}

// Exemplars implements global.Catalog.
func (i *itself) Exemplars(ctx context.Context, r *global.ExemplarsRequest) ([]exemplar.QueryResult, error) {
	a, _, done, err := i.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return a.Exemplars(ctx, r)
}
