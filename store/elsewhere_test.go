package store

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// elsewhere is another place that takes blocks when a test says so.
type elsewhere struct {
	mu       sync.Mutex
	uploaded map[ulid.ULID]bool
	pressed  bool
	lost     []ulid.ULID
}

func (e *elsewhere) Uploaded(m tsdb.BlockMeta) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range m.Compaction.Sources {
		if !e.uploaded[id] {
			return false
		}
	}
	return true
}

func (e *elsewhere) Deletable(m tsdb.BlockMeta) bool {
	if e.Uploaded(m) {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pressed {
		e.lost = append(e.lost, m.ULID)
	}
	return e.pressed
}

func (e *elsewhere) take(metas []tsdb.BlockMeta) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range metas {
		for _, id := range m.Compaction.Sources {
			e.uploaded[id] = true
		}
	}
}

func (r *running) metas() []tsdb.BlockMeta {
	r.t.Helper()
	metas, err := r.BlockMetas()
	if err != nil {
		r.t.Fatal(err)
	}
	return metas
}

// What is not uploaded is neither merged nor deleted; once it is, both happen.
func TestBlocksWaitForTheirUpload(t *testing.T) {
	c := config(t.TempDir())
	c.Retention.Time = model.Duration(100 * time.Hour)
	e := &elsewhere{uploaded: map[ulid.ULID]bool{}}
	r := start(t, c, func(s *Store) { s.elsewhere = e })
	fillBlocks(t, r, 30, 5)
	before := r.metas()
	for _, m := range before {
		if m.Compaction.Level != 1 {
			t.Fatalf("block %s was merged before it was uploaded", m.ULID)
		}
	}
	next := c
	next.Retention.Time = model.Duration(6 * time.Hour)
	commit, _, err := r.Prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	r.stop()
	r = start(t, next, func(s *Store) { s.elsewhere = e }) // opening applies the retention too
	r.stop()
	r = start(t, next, func(s *Store) { s.elsewhere = e })
	if now := r.metas(); len(now) != len(before) {
		t.Fatalf("%d of %d blocks are left although none was uploaded", len(now), len(before))
	}
	r.stop()
	e.take(before[:len(before)-3])
	r = start(t, next, func(s *Store) { s.elsewhere = e })
	now := r.metas()
	if len(now) >= len(before) || len(now) < 3 {
		t.Errorf("%d of %d blocks are left; want the newest and those that wait", len(now), len(before))
	}
}

// A disk that fills up takes one block after the other, the oldest first.
func TestPressureGivesUpTheOldest(t *testing.T) {
	c := config(t.TempDir())
	c.Retention.Time = model.Duration(100 * time.Hour)
	e := &elsewhere{uploaded: map[ulid.ULID]bool{}, pressed: true}
	r := start(t, c, func(s *Store) { s.elsewhere = e })
	fillBlocks(t, r, 30, 5)
	before := r.metas()
	r.stop()
	c.Retention.Time = model.Duration(6 * time.Hour)
	r = start(t, c, func(s *Store) { s.elsewhere = e })
	e.mu.Lock()
	lost := len(e.lost)
	first := e.lost[0]
	e.mu.Unlock()
	if now := r.metas(); len(now) != len(before)-lost || first != before[0].ULID || lost > 2 {
		t.Errorf("%d of %d blocks are left, %d lost, %s first; want the oldest, one in each pass", len(now), len(before), lost, first)
	}
}

// older is another place with one series.
type older struct {
	storage.Queryable
	storage.ChunkQueryable
	err        error
	generation uint64
}

func (o older) Querier(mint, maxt int64) (storage.Querier, error) {
	if o.err != nil {
		return brokenQuerier{storage.NoopQuerier(), o.err}, nil
	}
	return o.Queryable.Querier(mint, maxt)
}

func (o older) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	return o.ChunkQueryable.ChunkQuerier(mint, maxt)
}

func (older) Oldest() (int64, bool) { return -5, true }
func (older) Seen() bool            { return true }
func (o older) Generation() uint64  { return o.generation }

type brokenQuerier struct {
	storage.Querier
	err error
}

func (b brokenQuerier) Select(context.Context, bool, *storage.SelectHints, ...*labels.Matcher) storage.SeriesSet {
	return storage.ErrSeriesSet(b.err)
}

// What is in both places counts once, and a place that cannot be read is a warning.
func TestDeepReading(t *testing.T) {
	here, there := start(t, config(t.TempDir())), start(t, config(t.TempDir()))
	for ts := range int64(10) {
		mustAppend(t, there, 1000*ts, 2)
	}
	for ts := range int64(10) {
		mustAppend(t, here, 1000*(ts+5), 2)
	}
	deep := here.With(older{there, there, nil, 0})
	if n := read(t, deep).count(); n != 2*15 {
		t.Errorf("%d samples, want 30", n)
	}
	if oldest, newest := deep.Span(); oldest != -5 || newest != 14_000 {
		t.Errorf("from %d to %d", oldest, newest)
	}
	cq, err := deep.ChunkQuerier(0, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	defer cq.Close()
	samples := 0
	set := cq.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "m"))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() {
			samples += it.At().Chunk.NumSamples()
		}
	}
	if set.Err() != nil || samples != 2*15 {
		t.Errorf("%d samples in chunks, want 30: %v", samples, set.Err())
	}

	deep = here.With(older{err: errors.New("gone")})
	q, err := deep.Querier(0, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	got := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "m"))
	n := 0
	for got.Next() {
		n++
	}
	if got.Err() != nil || n != 2 || len(got.Warnings()) != 1 {
		t.Errorf("%d series, %v, warnings %v", n, got.Err(), got.Warnings())
	}
}
