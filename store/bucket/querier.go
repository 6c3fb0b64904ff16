package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"golang.org/x/sync/errgroup"
)

var (
	errNotSeen = errors.New("blocks in object storage are left out: the bucket was not looked at yet")
	errOpen    = errors.New("blocks in object storage are left out: the question has no start; give one")
)

// endless is a range in milliseconds that nobody means: 200 years.
const endless = 200 * 366 * 24 * 3600 * 1000

// Querier reads what the TSDB no longer has of a time range (ms, inclusive), or
// returns nil where it has everything. Errors of the storage come with the series.
func (b *Bucket) Querier(mint, maxt int64) (storage.Querier, error) {
	s, err := b.session(mint, maxt)
	if s == nil || err != nil {
		return nil, err
	}
	return &querier{s}, nil
}

// ChunkQuerier reads encoded chunks, under the same rules as Querier.
func (b *Bucket) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	s, err := b.session(mint, maxt)
	if s == nil || err != nil {
		return nil, err
	}
	return &chunkQuerier{s}, nil
}

// session is one querier's hold on blocks.
type session struct {
	b          *Bucket
	p          *place
	mint, maxt int64
	refuse     error // why nothing is read

	mu      sync.Mutex
	held    []*cached
	closers []func() error
}

func (b *Bucket) session(mint, maxt int64) (*session, error) {
	p := b.cur.Load()
	if p.none() {
		return nil, nil
	}
	s := &session{b: b, p: p, mint: mint, maxt: maxt}
	if b.view.Load().place != p {
		metas, err := b.o.Blocks()
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(metas, func(m tsdb.BlockMeta) bool { return m.MinTime <= mint }) {
			return nil, nil
		}
		s.refuse = errNotSeen
		return s, nil
	}
	wanted, err := b.wanted(mint, maxt)
	if err != nil || len(wanted) == 0 {
		return nil, err
	}
	if maxt/2-mint/2 > endless/2 {
		s.refuse = errOpen
	}
	return s, nil
}

func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range s.closers {
		errs = append(errs, f())
	}
	for _, e := range s.held {
		s.b.cache.release(e)
	}
	s.held, s.closers = nil, nil
	return errors.Join(errs...)
}

// blocks opens what a range needs, and with matchers also fetches the chunks they
// select. Where a block vanished since the last look, others took its place: then
// it looks again.
func (s *session) blocks(ctx context.Context, mint, maxt int64, ms []*labels.Matcher) ([]*cached, error) {
	if s.refuse != nil {
		return nil, s.refuse
	}
	out, err := s.try(ctx, mint, maxt, ms)
	if errors.Is(err, errAbsent) {
		if err := s.b.look(ctx, s.p); err != nil {
			return nil, err
		}
		out, err = s.try(ctx, mint, maxt, ms)
	}
	if err != nil {
		s.b.m.readErrors.Inc()
		return nil, fmt.Errorf("read from object storage: %w", err)
	}
	return out, nil
}

func (s *session) try(ctx context.Context, mint, maxt int64, ms []*labels.Matcher) ([]*cached, error) {
	wanted, err := s.b.wanted(mint, maxt)
	if err != nil {
		return nil, err
	}
	out := make([]*cached, len(wanted))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, m := range wanted {
		g.Go(func() error {
			e, err := s.b.cache.acquire(ctx, s.p, m)
			if err != nil {
				return err
			}
			s.mu.Lock()
			s.held = append(s.held, e)
			s.mu.Unlock()
			out[i] = e
			if ms == nil {
				return nil
			}
			return e.load(ctx, s.p, max(mint, s.mint), min(maxt, s.maxt), ms)
		})
	}
	return out, g.Wait()
}

// load fetches the chunks of the series that match in a range.
func (e *cached) load(ctx context.Context, p *place, mint, maxt int64, ms []*labels.Matcher) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() {
		if r := recover(); r != nil { // the index reader trusts offsets it has not checked
			err = fmt.Errorf("read the index of %s: %v", e.id, r)
		}
	}()
	ir, err := e.block.Index()
	if err != nil {
		return err
	}
	defer ir.Close()
	series, err := tsdb.PostingsForMatchers(ctx, ir, ms...)
	if err != nil {
		return err
	}
	var (
		lset    labels.ScratchBuilder
		metas   []chunks.Meta
		offsets = make([][]int64, len(e.parts))
	)
	for series.Next() {
		if err := ir.Series(series.At(), &lset, &metas); err != nil {
			return err
		}
		for _, m := range metas {
			if m.MinTime > maxt || m.MaxTime < mint {
				continue
			}
			part, at := chunks.BlockChunkRef(m.Ref).Unpack()
			if part >= len(e.parts) {
				return fmt.Errorf("read the index of %s: it names chunk file %d of %d", e.id, part+1, len(e.parts))
			}
			offsets[part] = append(offsets[part], int64(at))
		}
	}
	if err := series.Err(); err != nil {
		return err
	}
	for i, at := range offsets {
		if err := e.parts[i].load(ctx, p, at); err != nil {
			return err
		}
	}
	return nil
}

// bounds narrows a range to what a selector needs.
func (s *session) bounds(hints *storage.SelectHints) (mint, maxt int64) {
	if hints == nil {
		return s.mint, s.maxt
	}
	return max(s.mint, hints.Start), min(s.maxt, hints.End)
}

// selects are the matchers whose chunks are needed: none where only labels are.
func selects(hints *storage.SelectHints, ms []*labels.Matcher) []*labels.Matcher {
	if hints != nil && hints.Func == "series" {
		return nil
	}
	return ms
}

func (s *session) closeLater(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, f)
}

type querier struct{ *session }

// Select implements storage.Querier.
func (q *querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	mint, maxt := q.bounds(hints)
	inner, err := q.open(ctx, mint, maxt, selects(hints, ms))
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	return guardSet(func() storage.SeriesSet { return inner.Select(ctx, sorted, hints, ms...) })
}

func (q *querier) open(ctx context.Context, mint, maxt int64, ms []*labels.Matcher) (storage.Querier, error) {
	held, err := q.blocks(ctx, mint, maxt, ms)
	if err != nil {
		return nil, err
	}
	var all []storage.Querier
	for _, e := range held {
		one, err := tsdb.NewBlockQuerier(e.block, q.mint, q.maxt)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	merged := storage.NewMergeQuerier(all, nil, storage.ChainedSeriesMerge)
	q.closeLater(merged.Close)
	return merged, nil
}

// LabelValues implements storage.LabelQuerier.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	inner, err := q.open(ctx, q.mint, q.maxt, nil)
	if err != nil {
		return nil, nil, err
	}
	return guarded{inner}.LabelValues(ctx, name, hints, ms...)
}

// LabelNames implements storage.LabelQuerier.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	inner, err := q.open(ctx, q.mint, q.maxt, nil)
	if err != nil {
		return nil, nil, err
	}
	return guarded{inner}.LabelNames(ctx, hints, ms...)
}

type chunkQuerier struct{ *session }

// Select implements storage.ChunkQuerier.
func (q *chunkQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.ChunkSeriesSet {
	mint, maxt := q.bounds(hints)
	held, err := q.blocks(ctx, mint, maxt, selects(hints, ms))
	if err != nil {
		return storage.ErrChunkSeriesSet(err)
	}
	var all []storage.ChunkQuerier
	for _, e := range held {
		one, err := tsdb.NewBlockChunkQuerier(e.block, q.mint, q.maxt)
		if err != nil {
			return storage.ErrChunkSeriesSet(err)
		}
		all = append(all, one)
	}
	merged := storage.NewMergeChunkQuerier(all, nil, storage.NewCompactingChunkSeriesMerger(storage.ChainedSeriesMerge))
	q.closeLater(merged.Close)
	return guardChunks(func() storage.ChunkSeriesSet { return merged.Select(ctx, sorted, hints, ms...) })
}

// LabelValues implements storage.LabelQuerier.
func (q *chunkQuerier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return (&querier{q.session}).LabelValues(ctx, name, hints, ms...)
}

// LabelNames implements storage.LabelQuerier.
func (q *chunkQuerier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return (&querier{q.session}).LabelNames(ctx, hints, ms...)
}
