package store

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/tombstones"
)

// The TSDB cuts chunks at the ends of a question by adding intervals to those that
// were deleted, and its sum of intervals (tombstones.Intervals.Add, v0.316) indexes
// beyond its end when the last one is open and another lies before it. So where
// something is deleted the cutting is done here. It costs a call a sample, hence
// only there.

var errFound = errors.New("found")

// hasDeletions reports whether deleted samples are still in some chunk.
func (h *handle) hasDeletions() bool {
	for _, b := range h.db.Blocks() {
		if b.Meta().Stats.NumTombstones > 0 {
			return true
		}
	}
	deleted, err := h.db.Head().Tombstones()
	if err != nil {
		return true
	}
	return deleted.Iter(func(storage.SeriesRef, tombstones.Intervals) error { return errFound }) != nil
}

// untrimmed asks for whole chunks. It returns nil where that makes no difference.
func (h *handle) untrimmed(hints *storage.SelectHints, mint, maxt int64) *storage.SelectHints {
	if hints != nil && hints.DisableTrimming || !h.hasDeletions() {
		return nil
	}
	whole := storage.SelectHints{Start: mint, End: maxt}
	if hints != nil {
		whole = *hints
	}
	whole.DisableTrimming = true
	return &whole
}

// Select implements storage.Querier.
func (q *querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	whole := q.h.untrimmed(hints, q.mint, q.maxt)
	if whole == nil {
		return &guarded{SeriesSet: q.Querier.Select(ctx, sorted, hints, ms...)}
	}
	return &guarded{SeriesSet: within{q.Querier.Select(ctx, sorted, whole, ms...), whole.Start, whole.End}}
}

// Select implements storage.ChunkQuerier.
func (q *chunkQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.ChunkSeriesSet {
	whole := q.h.untrimmed(hints, q.mint, q.maxt)
	if whole == nil {
		return q.ChunkQuerier.Select(ctx, sorted, hints, ms...)
	}
	samples := storage.NewSeriesSetFromChunkSeriesSet(q.ChunkQuerier.Select(ctx, sorted, whole, ms...))
	return storage.NewSeriesSetToChunkSet(&guarded{SeriesSet: within{samples, whole.Start, whole.End}})
}

// within leaves out samples before from and after to, in milliseconds.
type within struct {
	storage.SeriesSet
	from, to int64
}

// At implements storage.SeriesSet.
func (w within) At() storage.Series { return bounded{w.SeriesSet.At(), w.from, w.to} }

type bounded struct {
	storage.Series
	from, to int64
}

// Iterator implements storage.Series.
func (b bounded) Iterator(old chunkenc.Iterator) chunkenc.Iterator {
	it, ok := old.(*boundedIterator)
	if !ok {
		it = &boundedIterator{}
	}
	it.Iter = b.Series.Iterator(it.Iter)
	it.Intervals = it.outside[:0]
	if b.from > math.MinInt64 {
		it.Intervals = append(it.Intervals, tombstones.Interval{Mint: math.MinInt64, Maxt: b.from - 1})
	}
	if b.to < math.MaxInt64 {
		it.Intervals = append(it.Intervals, tombstones.Interval{Mint: b.to + 1, Maxt: math.MaxInt64})
	}
	return it
}

type boundedIterator struct {
	tsdb.DeletedIterator
	outside [2]tombstones.Interval
}

// guarded makes an error of a panic: samples may be deleted while they are read.
type guarded struct {
	storage.SeriesSet
	err error
}

// Next implements storage.SeriesSet.
func (g *guarded) Next() (more bool) {
	defer func() {
		if p := recover(); p != nil {
			more, g.err = false, fmt.Errorf("read series: %v; ask again", p)
		}
	}()
	return g.err == nil && g.SeriesSet.Next()
}

// Err implements storage.SeriesSet.
func (g *guarded) Err() error {
	if g.err != nil {
		return g.err
	}
	return g.SeriesSet.Err()
}
