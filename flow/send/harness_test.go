package send

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// protocols runs a test for both versions of remote write.
func protocols(t *testing.T, f func(t *testing.T, msg remoteapi.WriteMessageType)) {
	t.Run("v1", func(t *testing.T) { f(t, remoteapi.WriteV1MessageType) })
	t.Run("v2", func(t *testing.T) { f(t, remoteapi.WriteV2MessageType) })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long: %s", what)
		}
		wait := time.NewTimer(20 * time.Millisecond)
		<-wait.C
	}
}

func openDB(t *testing.T, dir string, change func(*tsdb.Options)) *tsdb.DB {
	t.Helper()
	o := tsdb.DefaultOptions()
	o.WALSegmentSize = 32 << 10
	o.EnableExemplarStorage, o.MaxExemplars = true, 1000
	o.RetentionDuration = (365 * 24 * time.Hour).Milliseconds()
	if change != nil {
		change(o)
	}
	db, err := tsdb.Open(dir, slog.New(slog.DiscardHandler), nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.DisableCompactions()
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// receiver is an upstream remote-write receiver in front of a TSDB that refuses
// out-of-order samples, and whose answers a test can spoil.
type receiver struct {
	db    *tsdb.DB
	srv   *httptest.Server
	write http.Handler
	// spoil may answer a request itself; it returns false to let it through.
	spoil    atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	requests atomic.Int64
	refused  atomic.Int64
}

func newReceiver(t *testing.T, change func(*tsdb.Options)) *receiver {
	t.Helper()
	r := &receiver{db: openDB(t, t.TempDir(), change)}
	r.write = remote.NewWriteHandler(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), r.db,
		remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType}, false, false)
	r.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		if f := r.spoil.Load(); f != nil && (*f)(w, req) {
			return
		}
		note := &statusWriter{ResponseWriter: w}
		r.write.ServeHTTP(note, req)
		if note.status/100 == 4 {
			r.refused.Add(1)
		}
	}))
	t.Cleanup(r.srv.Close)
	return r
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(code int) { w.status = code; w.ResponseWriter.WriteHeader(code) }

func (r *receiver) answer(status int) {
	f := func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "spoiled by the test", status)
		return true
	}
	r.spoil.Store(&f)
}

// swallow takes the samples and keeps the answer to itself.
func (r *receiver) swallow() {
	f := func(w http.ResponseWriter, req *http.Request) bool {
		r.write.ServeHTTP(httptest.NewRecorder(), req)
		http.Error(w, "spoiled by the test", http.StatusBadGateway)
		return true
	}
	r.spoil.Store(&f)
}

func (r *receiver) heal() { r.spoil.Store(nil) }

// island is the sending side: a TSDB with a Sender on it.
type island struct {
	t    *testing.T
	root string
	db   *tsdb.DB
	s    *Sender
	list *health.List
	reg  *prometheus.Registry
	stop func()
	opts func(*Options)
	tsdb func(*tsdb.Options)
	// watched, if set, stands between the Sender and the TSDB.
	watched func(storage.Queryable) storage.Queryable
}

func (i *island) dir() string { return filepath.Join(i.root, "tsdb") }

func (i *island) start(cfg *promconfig.Config) {
	i.t.Helper()
	i.reg = prometheus.NewRegistry()
	i.list = health.New(nil)
	// The Sender is made before the store is open, as the island does it.
	var store storage.Queryable = lateStore{i}
	if i.watched != nil {
		store = i.watched(store)
	}
	o := Options{
		Dir: i.dir(), CursorDir: filepath.Join(i.root, "send"), Store: store,
		Logger: slog.New(slog.NewTextHandler(testWriter{i.t}, &slog.HandlerOptions{Level: slog.LevelInfo})).With("test", i.t.Name()), Registerer: i.reg, Health: i.list,
	}
	if i.opts != nil {
		i.opts(&o)
	}
	s, err := New(o)
	if err != nil {
		i.t.Fatal(err)
	}
	i.s = s
	i.reload(cfg)
	i.db = openDB(i.t, i.dir(), i.tsdb)
	i.db.SetWriteNotified(s)
	ctx, cancel := context.WithCancel(i.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			i.t.Error(err)
		}
	})
	i.t.Cleanup(func() { i.stop() })
	eventually(i.t, "the remotes to run", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.running) == len(cfg.RemoteWriteConfigs)
	})
}

// testWriter logs to the test.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	if testing.Verbose() {
		_, _ = os.Stderr.Write(b)
	}
	return len(b), nil
}

type lateStore struct{ i *island }

func (l lateStore) Querier(mint, maxt int64) (storage.Querier, error) {
	return l.i.db.Querier(mint, maxt)
}

func (i *island) reload(cfg *promconfig.Config) {
	i.t.Helper()
	commit, _, err := i.s.Prepare(cfg)
	if err != nil {
		i.t.Fatal(err)
	}
	commit()
}

// restart stops the Sender and the TSDB in order and starts both again.
func (i *island) restart(cfg *promconfig.Config) {
	i.t.Helper()
	i.close()
	i.start(cfg)
}

func (i *island) close() {
	i.t.Helper()
	i.stop()
	if err := i.db.Close(); err != nil {
		i.t.Fatal(err)
	}
}

// killed returns an island on a copy of the files as they are now: what is left
// after a kill -9. From here on the old one cannot reach its receiver; requests in
// flight may be delivered, and it does not learn that.
func (i *island) killed(r *receiver) *island {
	i.t.Helper()
	was := r.spoil.Load()
	r.answer(http.StatusInternalServerError)
	defer r.spoil.Store(was)
	defer i.stop()
	root := i.t.TempDir()
	if err := os.CopyFS(root, os.DirFS(i.root)); err != nil {
		i.t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(root, "tsdb", "lock"))
	return &island{t: i.t, root: root, opts: i.opts, tsdb: i.tsdb, watched: i.watched}
}

// newIsland also lets the test run beside others: most of its time is waiting.
func newIsland(t *testing.T) *island {
	t.Parallel()
	return &island{t: t, root: t.TempDir()}
}

func remoteConfig(t *testing.T, to string, msg remoteapi.WriteMessageType, change func(*promconfig.RemoteWriteConfig)) *promconfig.Config {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	rw := promconfig.DefaultRemoteWriteConfig
	rw.URL = &commonconfig.URL{URL: u}
	rw.Name = "test"
	rw.ProtobufMessage = msg
	rw.SendExemplars, rw.SendNativeHistograms = true, true
	rw.QueueConfig.MinShards = 3
	rw.QueueConfig.MaxSamplesPerSend = 100
	rw.QueueConfig.Capacity = 300
	rw.QueueConfig.BatchSendDeadline = model.Duration(50 * time.Millisecond)
	rw.QueueConfig.MaxBackoff = model.Duration(200 * time.Millisecond)
	if change != nil {
		change(&rw)
	}
	cfg := promconfig.DefaultConfig
	cfg.RemoteWriteConfigs = []*promconfig.RemoteWriteConfig{&rw}
	return &cfg
}

// scrape appends one sample for each of n series at ts, in scrapes of ten series
// whose timestamps differ a little, as those of different targets do.
func (i *island) scrape(n int, ts int64) {
	i.t.Helper()
	app := i.db.AppenderV2(i.t.Context())
	for k := range n {
		at := ts + int64(k/10)*137
		ls := labels.FromStrings(labels.MetricName, "m", "k", fmt.Sprint(k))
		if _, err := app.Append(0, ls, 0, at, float64(ts)+float64(k)/1000, nil, nil, storage.AOptions{}); err != nil {
			i.t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		i.t.Fatal(err)
	}
}

// scrapes appends count scrapes, 15 s apart, and returns the timestamp after them.
func (i *island) scrapes(n, count int, ts int64) int64 {
	i.t.Helper()
	for range count {
		i.scrape(n, ts)
		ts += 15_000
	}
	return ts
}

// late appends samples of five series at ts, which is before their newest.
func (i *island) late(ts int64) {
	i.t.Helper()
	app := i.db.AppenderV2(i.t.Context())
	for k := range 5 {
		ls := labels.FromStrings(labels.MetricName, "m", "k", fmt.Sprint(k))
		if _, err := app.Append(0, ls, 0, ts, -1, nil, nil, storage.AOptions{}); err != nil {
			i.t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		i.t.Fatal(err)
	}
}

// compact writes old head data to blocks and truncates the WAL, as time would.
func (i *island) compact() {
	i.t.Helper()
	i.db.EnableCompactions()
	defer i.db.DisableCompactions()
	if err := i.db.Compact(i.t.Context()); err != nil {
		i.t.Fatal(err)
	}
}

func (i *island) dropped(reason string) float64 {
	return testutil.ToFloat64(i.s.m.dropped.WithLabelValues("test", reason))
}

type point struct {
	T int64
	// V is the bits of a float or the text of a histogram.
	V uint64
	H string
}

// contents reads everything a TSDB has.
func contents(t *testing.T, db *tsdb.DB) map[string][]point {
	t.Helper()
	q, err := db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	out := map[string][]point{}
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "", ""))
	for set.Next() {
		var ps []point
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			switch kind {
			case chunkenc.ValFloat:
				ts, v := it.At()
				ps = append(ps, point{T: ts, V: math.Float64bits(v)})
			default:
				ts, fh := it.AtFloatHistogram(nil)
				ps = append(ps, point{T: ts, H: fh.String()})
			}
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
		out[set.At().Labels().String()] = ps
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return out
}

func count(all map[string][]point) int {
	n := 0
	for _, ps := range all {
		n += len(ps)
	}
	return n
}

// same waits until the receiver has exactly what the island has.
func (i *island) same(r *receiver) {
	i.t.Helper()
	want := contents(i.t, i.db)
	deadline := time.Now().Add(60 * time.Second)
	for {
		got := contents(i.t, r.db)
		if count(got) >= count(want) || time.Now().After(deadline) {
			if d := cmp.Diff(want, got); d != "" {
				if len(d) > 3000 {
					d = d[:3000]
				}
				i.t.Fatalf("stored (-) and received (+) differ: %d and %d samples, %d requests refused\n%s", count(want), count(got), r.refused.Load(), d)
			}
			return
		}
		wait := time.NewTimer(50 * time.Millisecond)
		<-wait.C
	}
}

// hoursAgo is a timestamp, in ms, at the start of a two-hour block.
func hoursAgo(h int64) int64 {
	block := (2 * time.Hour).Milliseconds()
	return (time.Now().UnixMilli()-h*time.Hour.Milliseconds())/block*block + 1000
}
