package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/flow"
)

const hour = int64(time.Hour / time.Millisecond)

func TestSamplesSurviveAStop(t *testing.T) {
	dir := t.TempDir()
	r := start(t, config(dir))
	for ts := range int64(100) {
		mustAppend(t, r, 1000*ts, 10)
	}
	want := read(t, r)
	if want.count() != 1000 {
		t.Fatalf("read %d samples, want 1000", want.count())
	}
	if n := r.NumSeries(); n != 10 {
		t.Errorf("NumSeries() = %d, want 10", n)
	}
	r.stop()

	r = start(t, config(dir))
	if diff := cmp.Diff(want, read(t, r)); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
	if active := r.health.Active(); len(active) != 0 {
		t.Errorf("an orderly restart raised %v", active)
	}
	if status, err := r.WALReplayStatus(); err != nil || status.Max != status.Current {
		t.Errorf("WALReplayStatus() = %d of %d, %v; want the end", status.Current, status.Max, err)
	}
}

func TestBeforeOpeningAndAfterClosing(t *testing.T) {
	s, err := New(Options{Config: config(t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	all := func(want error) {
		t.Helper()
		calls := map[string]error{}
		_, calls["Querier"] = s.Querier(0, 1)
		_, calls["ChunkQuerier"] = s.ChunkQuerier(0, 1)
		_, calls["ExemplarQuerier"] = s.ExemplarQuerier(t.Context())
		_, calls["StartTime"] = s.StartTime()
		_, calls["Stats"] = s.Stats("", 1)
		_, calls["BlockMetas"] = s.BlockMetas()
		calls["CleanTombstones"] = s.CleanTombstones()
		calls["Delete"] = s.Delete(t.Context(), 0, 1)
		calls["Snapshot"] = s.Snapshot(t.TempDir(), true)
		app := s.AppenderV2(t.Context())
		_, calls["Append"] = app.Append(0, series(1), 0, 1, 1, nil, nil, storage.AOptions{})
		calls["Commit"] = app.Commit()
		for name, err := range calls {
			if !errors.Is(err, want) || !errors.Is(err, tsdb.ErrNotReady) || !errors.Is(err, flow.ErrUnavailable) {
				t.Errorf("%s: %v; want %v", name, err, want)
			}
		}
		if err := app.Rollback(); err != nil {
			t.Errorf("Rollback: %v", err)
		}
		if n := s.NumSeries(); n != 0 {
			t.Errorf("NumSeries() = %d", n)
		}
	}
	all(ErrNotReady)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	mustAppend(t, s, 1, 1)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	all(ErrClosed)
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run took a second start")
	}
}

func TestClosingWaitsForQueriers(t *testing.T) {
	r := start(t, config(t.TempDir()))
	mustAppend(t, r, 1000, 3)
	q, err := r.Querier(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	app := r.AppenderV2(t.Context())
	if _, err := app.Append(0, series(1), 0, 2000, 7, nil, nil, storage.AOptions{}); err != nil {
		t.Fatal(err)
	}
	r.cancel()
	eventually(t, "new queriers are refused", func() bool {
		q2, err := r.Querier(0, 1)
		if err == nil {
			return q2.Close() != nil
		}
		return errors.Is(err, ErrClosed)
	})
	select {
	case err := <-r.done:
		t.Fatalf("Run returned with a querier open: %v", err)
	default:
	}
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "m"))
	n := 0
	for set.Next() {
		n++
	}
	if n != 3 || set.Err() != nil {
		t.Errorf("the querier gave %d series, %v; want 3", n, set.Err())
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	_ = q.Close() // a second time must not give back a second reference
	if err := app.Commit(); err != nil {
		t.Errorf("the transaction in progress: %v", err)
	}
	if err := app.Rollback(); !errors.Is(err, tsdb.ErrAppenderClosed) {
		t.Errorf("Rollback after Commit: %v", err)
	}
	r.stop()
}

func TestClosingGivesUpInTheEnd(t *testing.T) {
	r := start(t, config(t.TempDir()), func(s *Store) { s.every.close = 20 * time.Millisecond })
	mustAppend(t, r, 1000, 3)
	q, err := r.Querier(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	h := r.cur.Load()
	r.cancel()
	err = <-r.done
	r.done = nil
	if err == nil || !strings.Contains(err.Error(), "1 queriers or appenders are still open after 20ms") {
		t.Errorf("Run returned %v", err)
	}
	if err := errors.Join(q.Close(), h.close()); err != nil {
		t.Fatal(err)
	}
}

func TestHistogramsExemplarsMetadata(t *testing.T) {
	dir := t.TempDir()
	c := config(dir)
	c.WALMetadata = true
	r := start(t, c)
	h := tsdbutil.GenerateTestHistogram(3)
	fh := tsdbutil.GenerateTestFloatHistogram(4)
	ex := exemplar.Exemplar{Labels: labels.FromStrings("trace_id", "abc"), Value: 5, Ts: 1000, HasTs: true}
	app := r.AppenderV2(t.Context())
	meta := storage.AOptions{
		Exemplars: []exemplar.Exemplar{ex},
		Metadata:  metadata.Metadata{Type: model.MetricTypeHistogram, Help: "help"},
	}
	_, err1 := app.Append(0, labels.FromStrings("__name__", "h"), 0, 1000, 0, h, nil, meta)
	_, err2 := app.Append(0, labels.FromStrings("__name__", "fh"), 0, 1000, 0, nil, fh, storage.AOptions{})
	late := ex
	late.Ts, late.Value = 2000, 6
	_, err3 := app.(storage.ExemplarAppenderV2).AppendExemplars(0, labels.FromStrings("__name__", "h"), []exemplar.Exemplar{late})
	if err := errors.Join(err1, err2, err3, app.Commit()); err != nil {
		t.Fatal(err)
	}
	ls := labels.FromStrings("__name__", "h")
	if ref, _ := r.AppenderV2(t.Context()).(storage.GetRef).GetRef(ls, ls.Hash()); ref == 0 {
		t.Error("GetRef does not reach the head")
	}
	check := func() {
		t.Helper()
		q, err := r.Querier(0, 2000)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		if _, ok := q.(storage.Searcher); !ok {
			t.Error("the querier lost its search methods")
		}
		for name, want := range map[string]string{"h": h.ToFloat(nil).String(), "fh": fh.String()} {
			set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", name))
			if !set.Next() {
				t.Fatalf("no series %s: %v", name, set.Err())
			}
			it := set.At().Iterator(nil)
			var got *histogram.FloatHistogram
			switch it.Next() {
			case chunkenc.ValHistogram, chunkenc.ValFloatHistogram:
				_, got = it.AtFloatHistogram(nil)
			default:
				t.Fatalf("series %s holds no histogram", name)
			}
			if got.String() != want {
				t.Errorf("%s = %s, want %s", name, got, want)
			}
		}
		eq, err := r.ExemplarQuerier(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		res, err := eq.Select(0, 5000, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", "h")})
		if err != nil || len(res) != 1 || len(res[0].Exemplars) != 2 {
			t.Errorf("exemplars: %v, %v; want two of one series", res, err)
		}
	}
	check()
	r.cur.Load().refs.Add(-1) // the appender made only for GetRef above is never ended
	r.stop()
	r = start(t, c)
	check()
}

func TestOutOfOrder(t *testing.T) {
	dir := t.TempDir()
	c := config(dir)
	r := start(t, c)
	mustAppend(t, r, 10*hour, 1)
	if err := appendFloats(r, 10*hour-1000, 1); !errors.Is(err, storage.ErrOutOfOrderSample) {
		t.Fatalf("without a window: %v", err)
	}
	c.OutOfOrderWindow = model.Duration(time.Hour)
	commit, _, err := r.Prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	for i := range int64(100) { // more than one out-of-order chunk
		mustAppend(t, r, 10*hour-hour/2+i, 1)
	}
	if err := appendFloats(r, 8*hour, 1); !errors.Is(err, storage.ErrTooOldSample) {
		t.Errorf("older than the window: %v", err)
	}
	want := read(t, r)
	if want.count() != 101 {
		t.Fatalf("read %d samples, want 101", want.count())
	}
	r.stop()
	r = start(t, c)
	if diff := cmp.Diff(want, read(t, r)); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
}

// fillBlocks appends so much time that compaction has blocks to make.
func fillBlocks(t *testing.T, r *running, hours, n int) {
	t.Helper()
	for ts := int64(0); ts < int64(hours)*hour; ts += 5 * 60 * 1000 {
		mustAppend(t, r, ts, n)
	}
	r.compactNow()
}

func (r *running) compactNow() {
	r.t.Helper()
	h := r.acquire()
	defer h.release()
	if err := r.compact(context.Background(), h); err != nil {
		r.t.Fatal(err)
	}
}

func TestCompactionAndRetention(t *testing.T) {
	c := config(t.TempDir())
	c.Retention.Time = 0
	r := start(t, c)
	fillBlocks(t, r, 30, 20)
	metas, err := r.BlockMetas()
	if err != nil || len(metas) < 3 {
		t.Fatalf("%d blocks, %v; want some", len(metas), err)
	}
	if n := read(t, r).count(); n != 30*12*20 {
		t.Fatalf("read %d samples, want %d", n, 30*12*20)
	}
	if got, err := r.StartTime(); err != nil || got != 2*tsdb.DefaultBlockDuration {
		t.Errorf("StartTime() = %d, %v", got, err)
	}

	next := c
	next.Retention.Time = model.Duration(6 * time.Hour)
	commit, _, err := r.Prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	eventually(t, "retention.time deletes blocks", func() bool {
		now, err := r.BlockMetas()
		return err == nil && len(now) < len(metas)
	})
	metas, _ = r.BlockMetas()
	next.Retention.Size = 1
	if commit, _, err = r.Prepare(next); err != nil {
		t.Fatal(err)
	}
	commit()
	eventually(t, "retention.size deletes blocks", func() bool {
		now, err := r.BlockMetas()
		return err == nil && len(now) == 0
	})
	if read(t, r).count() == 0 {
		t.Error("retention took the head too")
	}
}

func TestExemplarRingCanGrow(t *testing.T) {
	c := config(t.TempDir())
	c.MaxExemplars = 0
	r := start(t, c)
	add := func(ts int64) int {
		t.Helper()
		app := r.AppenderV2(t.Context())
		ex := exemplar.Exemplar{Labels: labels.FromStrings("trace_id", fmt.Sprint(ts)), Value: 1, Ts: ts, HasTs: true}
		_, err := app.Append(0, series(1), 0, ts, 1, nil, nil, storage.AOptions{Exemplars: []exemplar.Exemplar{ex}})
		if err := errors.Join(err, app.Commit()); err != nil {
			t.Fatal(err)
		}
		q, err := r.ExemplarQuerier(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		res, err := q.Select(0, 5000, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", "m")})
		if err != nil {
			t.Fatal(err)
		}
		if len(res) == 0 {
			return 0
		}
		return len(res[0].Exemplars)
	}
	if n := add(1000); n != 0 {
		t.Errorf("%d exemplars kept with the ring off", n)
	}
	c.MaxExemplars = 10
	commit, _, err := r.Prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	if n := add(2000); n != 1 {
		t.Errorf("%d exemplars kept with the ring on, want 1", n)
	}
}

func TestPrepareRefuses(t *testing.T) {
	c := config(t.TempDir())
	s, err := New(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"path: changing " + c.Path + " to elsewhere needs a restart": func(c *Config) { c.Path = "elsewhere" },
		"wal_compression: changing snappy to zstd needs a restart":   func(c *Config) { c.WALCompression = "zstd" },
		"wal_metadata: changing false to true needs a restart":       func(c *Config) { c.WALMetadata = true },
		"retention.time: -1h must not be negative":                   func(c *Config) { c.Retention.Time = -model.Duration(time.Hour) },
		"retention.size: -1 must not be negative":                    func(c *Config) { c.Retention.Size = -1 },
		"out_of_order_window: -1s must not be negative":              func(c *Config) { c.OutOfOrderWindow = -model.Duration(time.Second) },
		"max_exemplars: -1 must not be negative":                     func(c *Config) { c.MaxExemplars = -1 },
		"scrub_rate: -1 must not be negative":                        func(c *Config) { c.ScrubRate = -1 },
		`wal_compression: "lz4" must be snappy, zstd or none`:        func(c *Config) { c.WALCompression = "lz4" },
		"path: must name a directory":                                func(c *Config) { c.Path = "" },
	} {
		next := c
		change(&next)
		if _, _, err := s.Prepare(next); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Prepare: %v; want %q", err, want)
		}
	}
	if err := Default().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
}

func TestTwoStoresInOneProcess(t *testing.T) {
	one, two := start(t, config(t.TempDir())), start(t, config(t.TempDir()))
	mustAppend(t, one, 1000, 1)
	mustAppend(t, two, 1000, 2)
	if a, b := read(t, one).count(), read(t, two).count(); a != 1 || b != 2 {
		t.Errorf("read %d and %d samples, want 1 and 2", a, b)
	}
	third, err := New(Options{Config: config(one.Dir())})
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "is another process using it?") {
		t.Errorf("a second store in %s: %v", filepath.Base(one.Dir()), err)
	}
	if one.metric("prometheus_tsdb_head_series") != 1 || two.metric("prometheus_tsdb_head_series") != 2 {
		t.Error("the TSDB's metrics are mixed up")
	}
}

func TestDeleteAndSnapshot(t *testing.T) {
	r := start(t, config(t.TempDir()))
	mustAppend(t, r, 1000, 2)
	mustAppend(t, r, 2000, 2)
	if err := r.Delete(t.Context(), 0, 1500, labels.MustNewMatcher(labels.MatchEqual, "i", "0")); err != nil {
		t.Fatal(err)
	}
	if err := r.CleanTombstones(); err != nil {
		t.Fatal(err)
	}
	if n := read(t, r).count(); n != 3 {
		t.Errorf("read %d samples after Delete, want 3", n)
	}
	dir := filepath.Join(t.TempDir(), "snap")
	if err := r.Snapshot(dir, true); err != nil {
		t.Fatal(err)
	}
	copied := start(t, config(dir))
	if n := read(t, copied).count(); n != 3 {
		t.Errorf("read %d samples from the snapshot, want 3", n)
	}
	stats, err := r.Stats("i", 10)
	if err != nil || stats.NumSeries != 2 {
		t.Errorf("Stats() = %v, %v", stats, err)
	}
}

func TestWritesAreNotified(t *testing.T) {
	told := make(notified, 10)
	r := start(t, config(t.TempDir()), func(s *Store) { s.SetWriteNotified(told) })
	mustAppend(t, r, 1000, 1)
	if len(told) != 1 {
		t.Errorf("told %d times, want once", len(told))
	}
}

type notified chan struct{}

func (n notified) Notify() { n <- struct{}{} }

func TestConfigFromYAML(t *testing.T) {
	got := Default()
	err := yaml.Unmarshal([]byte(`
path: /var/lib/atoll
retention: {time: 30d, size: 512MB}
out_of_order_window: 30m
max_exemplars: 5
wal_compression: zstd
wal_metadata: true
scrub_rate: 1MiB
`), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Path:             "/var/lib/atoll",
		Retention:        Retention{Time: model.Duration(30 * 24 * time.Hour), Size: 512 << 20},
		OutOfOrderWindow: model.Duration(30 * time.Minute),
		MaxExemplars:     5, WALCompression: "zstd", WALMetadata: true, Bucket: Default().Bucket, Thanos: Default().Thanos,
		ScrubRate: 1 << 20,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	r := func() *running {
		got.Path = t.TempDir()
		return start(t, got)
	}()
	mustAppend(t, r, 1000, 1)
}
