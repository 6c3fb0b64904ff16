package global

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/teststorage"
)

// setup is one way to spread the data of Prometheus' test scripts.
type setup struct {
	islands  int
	together bool // whole histograms, not buckets, are scattered
	kept     bool // the stores hold the partition label; otherwise it is attached
	delayed  bool
	every    uint32 // only one of so many evaluations is compared
}

func (s setup) String() string {
	return fmt.Sprintf("islands=%d,together=%v,kept=%v,delayed=%v", s.islands, s.together, s.kept, s.delayed)
}

// spread is the storage of a script: it writes everything to three places. The
// scripts read from plain, which gives the answers that they expect.
type spread struct {
	storage.Storage
	setup   setup
	merged  storage.Storage
	islands []storage.Storage
	answer  []Island
}

func (s *spread) Close() error {
	errs := []error{s.Storage.Close(), s.merged.Close()}
	for _, i := range s.islands {
		errs = append(errs, i.Close())
	}
	return errors.Join(errs...)
}

func (s *spread) AppenderV2(ctx context.Context) storage.AppenderV2 {
	a := &spreadAppender{spread: s, plain: s.Storage.AppenderV2(ctx), merged: s.merged.AppenderV2(ctx)}
	for _, i := range s.islands {
		a.islands = append(a.islands, i.AppenderV2(ctx))
	}
	return a
}

type spreadAppender struct {
	spread        *spread
	plain, merged storage.AppenderV2
	islands       []storage.AppenderV2
}

func (a *spreadAppender) Append(_ storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AOptions) (storage.SeriesRef, error) {
	i := scatter(ls, len(a.islands), a.spread.setup.together)
	full := with(ls, islandName(i))
	own := ls
	if a.spread.setup.kept {
		own = full
	}
	_, err1 := a.plain.Append(0, ls, st, t, v, h, fh, o)
	_, err2 := a.merged.Append(0, full, st, t, v, h, fh, o)
	_, err3 := a.islands[i].Append(0, own, st, t, v, h, fh, o)
	return 0, errors.Join(err1, err2, err3)
}

func (a *spreadAppender) each(do func(storage.AppenderV2) error) error {
	errs := []error{do(a.plain), do(a.merged)}
	for _, i := range a.islands {
		errs = append(errs, do(i))
	}
	return errors.Join(errs...)
}
func (a *spreadAppender) Commit() error   { return a.each(storage.AppenderV2.Commit) }
func (a *spreadAppender) Rollback() error { return a.each(storage.AppenderV2.Rollback) }

// twin answers scripts from plain and compares, on the side, one engine over the
// merged data with Engine over islands.
type twin struct {
	t       testing.TB
	setup   setup
	plain   *promql.Engine
	ref     *promql.Engine
	answers *promql.Engine // of the islands
	global  *Engine
	store   *spread // of the script under way

	mu                           sync.Mutex
	compared, pushed, raw, again int
	diffs                        map[string]string // by expression
}

func newTwin(t testing.TB, s setup) *twin {
	tw := &twin{t: t, setup: s, plain: upstream(t, true), ref: upstream(t, s.delayed), answers: upstream(t, s.delayed), diffs: map[string]string{}}
	tw.global = newEngine(t, nil, func() []Island { return tw.store.answer }, s.delayed)
	return tw
}

// memory is the storage that upstream's tests run on, without its log on disk.
func memory(t testing.TB) *teststorage.TestStorage {
	return teststorage.New(t, func(o *tsdb.Options) {
		o.EnableSTStorage, o.EnableHistogramSTEncoding, o.FloatChunkEncoding = true, true, chunkenc.EncXOR2
		o.WALSegmentSize, o.EnableExemplarStorage = -1, false
	})
}

func (tw *twin) newStorage(t testing.TB) storage.Storage {
	s := &spread{setup: tw.setup, Storage: memory(t), merged: memory(t)}
	for i := range tw.setup.islands {
		store := memory(t)
		s.islands = append(s.islands, store)
		s.answer = append(s.answer, newAnswerer(t, tw.answers, store, islandName(i), tw.setup.delayed))
	}
	slices.Reverse(s.answer) // their order must not matter
	tw.store = s
	return s
}

func (tw *twin) NewInstantQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, ts time.Time) (promql.Query, error) {
	tw.compare(ctx, question{expr: qs, start: ts, end: ts})
	return tw.plain.NewInstantQuery(ctx, q, opts, qs, ts)
}

func (tw *twin) NewRangeQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, start, end time.Time, step time.Duration) (promql.Query, error) {
	tw.compare(ctx, question{expr: qs, start: start, end: end, step: step})
	return tw.plain.NewRangeQuery(ctx, q, opts, qs, start, end, step)
}

func (tw *twin) compare(ctx context.Context, q question) {
	h := fnv.New32a()
	fmt.Fprint(h, q)
	if h.Sum32()%max(tw.setup.every, 1) != 0 {
		return
	}
	want, _ := q.ask(ctx, tw.ref, tw.store.merged)
	got, r := q.ask(ctx, tw.global, nil)
	tw.mu.Lock()
	defer tw.mu.Unlock()
	tw.compared++
	if len(r.Pushed) > 0 {
		tw.pushed++
	}
	if len(r.Fetched) > 0 {
		tw.raw++
	}
	if r.Rounds > 1 {
		tw.again++
	}
	d := differ(want, got)
	if d == "" {
		d = notesDiffer(want.Warnings, got.Warnings)
	}
	if d != "" && !tw.legal(q, want, got) {
		if _, known := tw.diffs[q.expr]; !known {
			tw.diffs[q.expr] = fmt.Sprintf("%s\n%s\nrest %s leaves %q", q, d, r.Rest, r.Pushed)
		}
	}
}

// legal explains the differences there may be.
func (tw *twin) legal(q question, want, got *promql.Result) bool {
	switch {
	case strings.Contains(q.expr, "limitk"):
		// Any k series are right: there must be as many.
		return fmt.Sprint(want.Err) == fmt.Sprint(got.Err) && len(asMatrix(want.Value)) == len(asMatrix(got.Value))
	}
	return false
}

// TestScripts runs Prometheus' own test scripts over islands: a sample, or with
// ATOLL_LONG=1 all of them in every setup.
func TestScripts(t *testing.T) {
	setups := []setup{
		{islands: 3, every: 3},
		{islands: 2, together: true, delayed: true, kept: true, every: 11},
	}
	switch {
	case testing.Short(): // with the race detector
		setups = setups[1:]
	case long():
		setups = nil
		for _, n := range []int{1, 2, 3, 7} {
			for i := range 8 {
				if n == 1 && i&1 != 0 {
					continue // all is together
				}
				setups = append(setups, setup{islands: n, together: i&1 != 0, kept: i&2 != 0, delayed: i&4 != 0})
			}
		}
	}
	for _, s := range setups {
		t.Run(s.String(), func(t *testing.T) {
			tw := newTwin(t, s)
			promqltest.RunBuiltinTestsWithStorage(t, tw, tw.newStorage)
			t.Logf("compared %d, pushed down %d, read raw series %d, asked twice %d, different %d",
				tw.compared, tw.pushed, tw.raw, tw.again, len(tw.diffs))
			if tw.compared < 1000 || tw.pushed < tw.compared/2 {
				t.Errorf("compared %d evaluations, %d of them pushed down: the test tests nothing", tw.compared, tw.pushed)
			}
			for _, d := range tw.diffs {
				t.Error(d)
			}
		})
	}
}
