package store

import (
	"cmp"
	"context"
	"math"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// Querier reads samples; times are milliseconds since 1970, both inclusive. The
// store is not closed before the querier is.
func (s *Store) Querier(mint, maxt int64) (storage.Querier, error) {
	h := s.acquire()
	if h == nil {
		return nil, s.absent()
	}
	return holdQuerier(h, storage.QueryableFunc(h.db.Querier), mint, maxt)
}

// ChunkQuerier reads encoded chunks, under the same rules as Querier.
func (s *Store) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	h := s.acquire()
	if h == nil {
		return nil, s.absent()
	}
	return holdChunkQuerier(h, h.db, mint, maxt)
}

// CostSamplingQueryable gives the readers by which the API estimates the cost of
// a query without running it.
func (s *Store) CostSamplingQueryable() (storage.SampleAndChunkQueryable, bool) {
	return costQueryable{s}, true
}

type costQueryable struct{ s *Store }

func (c costQueryable) Querier(mint, maxt int64) (storage.Querier, error) {
	h := c.s.acquire()
	if h == nil {
		return nil, c.s.absent()
	}
	q, _ := h.db.CostSamplingQueryable()
	return holdQuerier(h, q, mint, maxt)
}

func (c costQueryable) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	h := c.s.acquire()
	if h == nil {
		return nil, c.s.absent()
	}
	q, _ := h.db.CostSamplingQueryable()
	return holdChunkQuerier(h, q, mint, maxt)
}

// holdQuerier hands the reference to h over to the querier, or gives it back.
func holdQuerier(h *handle, from storage.Queryable, mint, maxt int64) (storage.Querier, error) {
	q, err := from.Querier(mint, maxt)
	if err != nil {
		h.release()
		return nil, err
	}
	held := &querier{Querier: q, h: h, mint: mint, maxt: maxt, release: sync.OnceFunc(h.release)}
	if search, ok := q.(storage.Searcher); ok {
		return searchQuerier{held, search}, nil
	}
	return held, nil
}

func holdChunkQuerier(h *handle, from storage.ChunkQueryable, mint, maxt int64) (storage.ChunkQuerier, error) {
	q, err := from.ChunkQuerier(mint, maxt)
	if err != nil {
		h.release()
		return nil, err
	}
	return &chunkQuerier{ChunkQuerier: q, h: h, mint: mint, maxt: maxt, release: sync.OnceFunc(h.release)}, nil
}

type querier struct {
	storage.Querier
	h          *handle
	mint, maxt int64
	release    func()
}

func (q *querier) Close() error {
	defer q.release()
	return q.Querier.Close()
}

// searchQuerier keeps the optional search methods reachable where there are any.
type searchQuerier struct {
	*querier
	storage.Searcher
}

type chunkQuerier struct {
	storage.ChunkQuerier
	h          *handle
	mint, maxt int64
	release    func()
}

func (q *chunkQuerier) Close() error {
	defer q.release()
	return q.ChunkQuerier.Close()
}

// ExemplarQuerier reads the exemplar ring, which is memory only.
func (s *Store) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	h := s.cur.Load()
	if h == nil {
		return nil, s.absent()
	}
	return h.db.ExemplarQuerier(ctx)
}

// StartTime is the time in milliseconds from which on the store answers for
// everything it was given: that of its oldest block, or now, plus two hours'
// worth of head, as Prometheus counts it.
func (s *Store) StartTime() (int64, error) {
	h := s.cur.Load()
	if h == nil {
		return math.MaxInt64, s.absent()
	}
	start := time.Now().UnixMilli()
	if blocks := h.db.Blocks(); len(blocks) > 0 {
		start = blocks[0].Meta().MinTime
	}
	return start + 2*tsdb.DefaultBlockDuration, nil
}

// Span is from the oldest to the newest sample, in milliseconds; 0, 0 while there
// is none or the store is not open.
func (s *Store) Span() (oldest, newest int64) {
	h := s.cur.Load()
	if h == nil {
		return 0, 0
	}
	oldest, newest = h.db.Head().MinTime(), h.db.Head().MaxTime()
	for _, b := range h.db.Blocks() {
		oldest, newest = min(oldest, b.MinTime()), max(newest, b.MaxTime()-1)
	}
	if oldest > newest { // what an empty head says
		return 0, 0
	}
	return oldest, newest
}

// Since is a time in milliseconds before which the store has no sample and, as long
// as it holds samples, takes none; false while it holds none or is not open. Only a
// block that is put into its directory can bring older ones.
func (s *Store) Since() (ms int64, ok bool) {
	oldest, newest := s.Span()
	if newest == 0 {
		return 0, false
	}
	// What is appended in order may be as old as half a block.
	late := max(tsdb.DefaultBlockDuration/2, time.Duration(s.cfg.Load().OutOfOrderWindow).Milliseconds())
	return min(oldest, newest-late), true
}

// NumSeries is how many series the head holds; 0 while the store is not open.
func (s *Store) NumSeries() uint64 {
	if h := s.cur.Load(); h != nil {
		return h.db.Head().NumSeries()
	}
	return 0
}

// CleanTombstones rewrites the blocks that hold deleted samples.
func (s *Store) CleanTombstones() error {
	return s.with(func(h *handle) error { return h.db.CleanTombstones() })
}

// Delete marks the samples of matching series between two times (milliseconds,
// inclusive) as deleted.
func (s *Store) Delete(ctx context.Context, mint, maxt int64, ms ...*labels.Matcher) error {
	return s.with(func(h *handle) error {
		err := h.db.Delete(ctx, mint, maxt, ms...)
		s.history.added(math.MinInt64, time.Now())
		if h.reg.logFailed() {
			return s.breakLog(h, cmp.Or(err, errUncertain))
		}
		return err
	})
}

// Snapshot writes all blocks, and the head if asked, into dir.
func (s *Store) Snapshot(dir string, withHead bool) error {
	return s.with(func(h *handle) error { return h.db.Snapshot(dir, withHead) })
}

// Stats counts the head's series by label.
func (s *Store) Stats(statsByLabelName string, limit int) (stats *tsdb.Stats, err error) {
	err = s.with(func(h *handle) error {
		stats = h.db.Head().Stats(statsByLabelName, limit)
		return nil
	})
	return stats, err
}

// WALReplayStatus says how far the replay of the log has come, also while the
// store is not ready.
func (s *Store) WALReplayStatus() (tsdb.WALReplayStatus, error) {
	stats := s.stats.Load()
	if stats == nil {
		return tsdb.WALReplayStatus{}, s.absent()
	}
	return stats.Head.WALReplayStatus.GetWALReplayStatus(), nil
}

// BlockMetas describes the blocks on disk.
func (s *Store) BlockMetas() (metas []tsdb.BlockMeta, err error) {
	err = s.with(func(h *handle) error {
		metas = h.db.BlockMetas()
		return nil
	})
	return metas, err
}

func (s *Store) with(f func(*handle) error) error {
	h := s.acquire()
	if h == nil {
		return s.absent()
	}
	defer h.release()
	return f(h)
}
