package global

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Catalog is an Island that also lists what it has.
type Catalog interface {
	Island
	// Labels lists label names, or the values of one, sorted.
	Labels(context.Context, *LabelsRequest) ([]string, []Note, error)
	// Series lists series that match all matchers, in order of labels.
	Series(context.Context, *SeriesRequest) ([]labels.Labels, []Note, error)
	// Exemplars lists exemplars by series, in order of labels.
	Exemplars(context.Context, *ExemplarsRequest) ([]exemplar.QueryResult, error)
}

// LabelsRequest asks for label names, or with Name for the values of that label,
// among series that match; times as in Raw. Limit 0 is no limit.
type LabelsRequest struct {
	Name             string
	Matchers         []*labels.Matcher
	MinTime, MaxTime int64
	Limit            int
}

// SeriesRequest asks for series without samples; times as in Raw.
type SeriesRequest struct {
	Matchers         []*labels.Matcher
	MinTime, MaxTime int64
	Limit            int
}

// ExemplarsRequest asks for exemplars of series that match one of the selectors.
type ExemplarsRequest struct {
	Selectors        [][]*labels.Matcher
	MinTime, MaxTime int64
}

// listed is what one island listed.
type listed[T any] struct {
	index int
	value T
	notes []Note
	err   error
	took  time.Duration
}

// everyIsland has list ask every island that may have something, and returns what
// they say in the order of their names. Who is missing is in the annotations.
func everyIsland[T any](ctx context.Context, e *Engine, selectors [][]*labels.Matcher, maxt int64, list func(context.Context, Catalog) (T, []Note, error)) ([]T, annotations.Annotations, error) {
	ask := askFrom(ctx)
	if ask.Deadline <= 0 {
		ask.Deadline = e.options.Deadline
	}
	s := &session{engine: e, ask: ask}
	if err := s.list(ctx); err != nil {
		return nil, nil, err
	}
	s.rounds = 1
	within, cancel := context.WithTimeout(ctx, ask.Deadline)
	defer cancel()
	replies := make(chan listed[T], len(s.islands))
	for i, island := range s.islands {
		if why := s.cannot(&island.facts, selectors, maxt); why != "" && len(selectors) > 0 {
			island.receipt.State, island.receipt.Why = StateSkipped, why
			continue
		}
		go func() {
			one, began := listed[T]{index: i}, time.Now()
			if c, ok := island.Island.(Catalog); ok {
				one.value, one.notes, one.err = list(within, c)
			} else {
				one.err = errors.New("it lists nothing")
			}
			one.took = time.Since(began)
			replies <- one
		}()
	}
	got := make([]*listed[T], len(s.islands))
	pending := func() bool {
		for i, island := range s.islands {
			if got[i] == nil && island.receipt.State != StateSkipped {
				return true
			}
		}
		return false
	}
	for over := false; pending() && !over; {
		select {
		case one := <-replies:
			got[one.index] = &one
		case <-within.Done():
			over = true
		}
	}
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	return collect(s, got)
}

func collect[T any](s *session, got []*listed[T]) (values []T, as annotations.Annotations, err error) {
	p := &part{}
	for i, island := range s.islands {
		switch one := got[i]; {
		case island.receipt.State == StateSkipped:
		case one == nil:
			s.fail(island, fmt.Sprintf("no answer within %v", s.ask.Deadline))
		case one.err != nil:
			s.fail(island, one.err.Error())
		default:
			island.receipt.State, island.receipt.Took = StateAnswered, one.took
			p.note(one.notes)
			values = append(values, one.value)
		}
	}
	receipt := s.receipt()
	receipt.Scope = ScopeAll.String()
	if into := s.ask.Receipt; into != nil {
		*into = *receipt
	}
	if receipt.Partial && s.ask.Deny {
		return nil, nil, ErrPartial{Receipt: receipt}
	}
	return values, s.annotate(receipt, p.notes), nil
}

// everywhere reports whether a question is about all islands.
func (e *Engine) everywhere(ctx context.Context) bool {
	scope := askFrom(ctx).Scope
	return scope == ScopeAll || scope == ScopeDefault && e.options.Default == ScopeAll
}

// Queryable lists labels and series of all islands where a question is about all,
// and else reads local. Samples of all islands come through queries only.
func (e *Engine) Queryable(local storage.SampleAndChunkQueryable) storage.SampleAndChunkQueryable {
	return &catalogQueryable{SampleAndChunkQueryable: local, engine: e}
}

type catalogQueryable struct {
	storage.SampleAndChunkQueryable
	engine *Engine
}

func (c *catalogQueryable) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := c.SampleAndChunkQueryable.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	all := &catalogQuerier{Querier: q, engine: c.engine, mint: mint, maxt: maxt}
	if searcher, ok := q.(storage.Searcher); ok {
		return &searchingQuerier{catalogQuerier: all, local: searcher}, nil
	}
	return all, nil
}

// CostSamplingQueryable is local's, if it has one.
func (c *catalogQueryable) CostSamplingQueryable() (storage.SampleAndChunkQueryable, bool) {
	if sampler, ok := c.SampleAndChunkQueryable.(storage.CostSamplingQueryable); ok {
		return sampler.CostSamplingQueryable()
	}
	return nil, false
}

type catalogQuerier struct {
	storage.Querier
	engine     *Engine
	mint, maxt int64
}

func (c *catalogQuerier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	if !c.engine.everywhere(ctx) {
		return c.Querier.LabelValues(ctx, name, hints, ms...)
	}
	return c.labels(ctx, name, hints, ms)
}

func (c *catalogQuerier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	if !c.engine.everywhere(ctx) {
		return c.Querier.LabelNames(ctx, hints, ms...)
	}
	return c.labels(ctx, "", hints, ms)
}

func (c *catalogQuerier) labels(ctx context.Context, name string, hints *storage.LabelHints, ms []*labels.Matcher) ([]string, annotations.Annotations, error) {
	r := &LabelsRequest{Name: name, Matchers: ms, MinTime: c.mint, MaxTime: c.maxt}
	if hints != nil {
		r.Limit = hints.Limit
	}
	lists, as, err := everyIsland(ctx, c.engine, one(ms), c.maxt, func(ctx context.Context, i Catalog) ([]string, []Note, error) {
		return i.Labels(ctx, r)
	})
	all := slices.Concat(lists...)
	slices.Sort(all)
	return limited(slices.Compact(all), r.Limit), as, err
}

// searchingQuerier also searches, where local can.
type searchingQuerier struct {
	*catalogQuerier
	local storage.Searcher
}

// SearchLabelNames implements storage.Searcher.
func (s *searchingQuerier) SearchLabelNames(ctx context.Context, hints *storage.SearchHints, ms ...*labels.Matcher) storage.SearchResultSet {
	if !s.engine.everywhere(ctx) {
		return s.local.SearchLabelNames(ctx, hints, ms...)
	}
	return s.search(ctx, "", hints, ms)
}

// SearchLabelValues implements storage.Searcher.
func (s *searchingQuerier) SearchLabelValues(ctx context.Context, name string, hints *storage.SearchHints, ms ...*labels.Matcher) storage.SearchResultSet {
	if !s.engine.everywhere(ctx) {
		return s.local.SearchLabelValues(ctx, name, hints, ms...)
	}
	return s.search(ctx, name, hints, ms)
}

func (s *searchingQuerier) search(ctx context.Context, name string, hints *storage.SearchHints, ms []*labels.Matcher) storage.SearchResultSet {
	values, as, err := s.labels(ctx, name, nil, ms)
	return storage.NewSearchResultSetFromSliceAndError(storage.ApplySearchHints(values, hints), as, err)
}

// one is a list of selectors with one, or none where it selects everything.
func one(ms []*labels.Matcher) [][]*labels.Matcher {
	if len(ms) == 0 {
		return nil
	}
	return [][]*labels.Matcher{ms}
}

func limited[T any](list []T, limit int) []T {
	if limit > 0 && len(list) > limit {
		return list[:limit]
	}
	return list
}

// Select implements storage.Querier; of all islands it gives no samples.
func (c *catalogQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if !c.engine.everywhere(ctx) {
		return c.Querier.Select(ctx, sorted, hints, ms...)
	}
	r := &SeriesRequest{Matchers: ms, MinTime: c.mint, MaxTime: c.maxt}
	if hints != nil {
		r.Limit = hints.Limit
	}
	lists, as, err := everyIsland(ctx, c.engine, one(ms), c.maxt, func(ctx context.Context, i Catalog) ([]labels.Labels, []Note, error) {
		return i.Series(ctx, r)
	})
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	all := slices.Concat(lists...)
	slices.SortFunc(all, labels.Compare)
	set := &seriesSet{at: -1, warnings: as}
	for _, ls := range limited(slices.CompactFunc(all, labels.Equal), r.Limit) {
		set.series = append(set.series, storage.NewListSeries(ls, nil))
	}
	return set
}

// Exemplars lists those of all islands where a question is about all, and else
// reads local.
func (e *Engine) Exemplars(local storage.ExemplarQueryable) storage.ExemplarQueryable {
	return &catalogExemplars{local: local, engine: e}
}

type catalogExemplars struct {
	local  storage.ExemplarQueryable
	engine *Engine
	ctx    context.Context //nolint:containedctx // upstream's Select has none
}

func (c *catalogExemplars) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	if !c.engine.everywhere(ctx) {
		return c.local.ExemplarQuerier(ctx)
	}
	return &catalogExemplars{engine: c.engine, ctx: ctx}, nil
}

func (c *catalogExemplars) Select(start, end int64, selectors ...[]*labels.Matcher) ([]exemplar.QueryResult, error) {
	r := &ExemplarsRequest{Selectors: selectors, MinTime: start, MaxTime: end}
	lists, _, err := everyIsland(c.ctx, c.engine, selectors, end, func(ctx context.Context, i Catalog) ([]exemplar.QueryResult, []Note, error) {
		found, err := i.Exemplars(ctx, r)
		return found, nil, err
	})
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(a, b exemplar.QueryResult) int { return labels.Compare(a.SeriesLabels, b.SeriesLabels) })
	return all, err
}
