package query

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/teststorage"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// db is a real store with the admin methods that the store room provides.
type db struct{ *tsdb.DB }

func (d db) Stats(label string, limit int) (*tsdb.Stats, error) {
	return d.Head().Stats(label, limit), nil
}
func (d db) WALReplayStatus() (tsdb.WALReplayStatus, error) { return tsdb.WALReplayStatus{}, nil }
func (d db) BlockMetas() ([]tsdb.BlockMeta, error)          { return d.DB.BlockMetas(), nil }

func (d db) Span() (oldest, newest int64) { return d.Head().MinTime(), d.Head().MaxTime() }

func newDB(t *testing.T) db {
	t.Helper()
	return db{teststorage.New(t, func(o *tsdb.Options) {
		o.EnableExemplarStorage = true
		o.MaxExemplars = 100
	}).DB}
}

// put appends float samples: name{labels} -> (unix ms, value) pairs.
func (d db) put(t *testing.T, ls labels.Labels, samples ...promql.FPoint) {
	t.Helper()
	app := d.AppenderV2(t.Context())
	for _, s := range samples {
		if _, err := app.Append(0, ls, 0, s.T, s.F, nil, nil, storage.AOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
}

func (d db) putHistogram(t *testing.T, ls labels.Labels, ms int64, h *histogram.Histogram) {
	t.Helper()
	app := d.AppenderV2(t.Context())
	if _, err := app.Append(0, ls, 0, ms, 0, h, nil, storage.AOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
}

func (d db) putExemplar(t *testing.T, ls labels.Labels, ms int64, v float64, e exemplar.Exemplar) {
	t.Helper()
	app := d.AppenderV2(t.Context())
	if _, err := app.Append(0, ls, 0, ms, v, nil, nil, storage.AOptions{Exemplars: []exemplar.Exemplar{e}}); err != nil {
		t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
}

// rig is a Query over a real store, with what a test wants to look at.
type rig struct {
	*Query
	db     db
	reg    *prometheus.Registry
	health *health.List
	log    *logBuffer
	prom   promconfig.Config
	ready  bool
}

func newRig(t *testing.T, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{db: newDB(t), reg: prometheus.NewRegistry(), log: &logBuffer{}, ready: true, prom: promconfig.DefaultConfig}
	r.health = health.New(r.reg)
	o := Options{
		Config:           Default(),
		Store:            r.db,
		Admin:            r.db,
		Dir:              t.TempDir(),
		StoreDir:         r.db.Dir(),
		PrometheusConfig: func() promconfig.Config { return r.prom },
		Ready:            func() bool { return r.ready },
		Logger:           slog.New(slog.NewTextHandler(r.log, nil)),
		Registerer:       r.reg,
		Gatherer:         r.reg,
		Health:           r.health,
		ExternalURL:      &url.URL{Scheme: "http", Host: "island.example:59080"},
		ListenAddress:    "127.0.0.1:59080",
		Version:          Version{Version: "0.1.0", Revision: "abc"},
	}
	for _, c := range change {
		c(&o)
	}
	q, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Query = q
	return r
}

// run runs the room for the rest of the test.
func (r *rig) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// get asks the handler without a connection and returns code, header and body.
func (r *rig) get(t *testing.T, path string, header ...string) (int, http.Header, string) {
	t.Helper()
	return r.do(t, http.MethodGet, path, header...)
}

func (r *rig) do(t *testing.T, method, path string, header ...string) (int, http.Header, string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, req)
	body, err := io.ReadAll(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Code, rec.Header(), string(body)
}

func (r *rig) metric(t *testing.T, want, name string) {
	t.Helper()
	if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want), name); err != nil {
		t.Error(err)
	}
}

func (r *rig) warnings() []string {
	var codes []string
	for _, a := range r.health.Active() {
		codes = append(codes, a.Code)
	}
	return codes
}

// blocker is a store whose first read signals and then waits.
type blocker struct {
	Store
	entered chan struct{}
	release chan struct{}
}

func newBlocker(s Store) *blocker {
	return &blocker{Store: s, entered: make(chan struct{}, 100), release: make(chan struct{})}
}

func (b *blocker) Querier(mint, maxt int64) (storage.Querier, error) {
	b.entered <- struct{}{}
	<-b.release
	return b.Store.Querier(mint, maxt)
}

// broken is a store that cannot be read.
type broken struct {
	Store
	err error
}

func (b broken) Querier(int64, int64) (storage.Querier, error) { return nil, b.err }

var errDisk = errors.New("disk on fire")

// logBuffer is a bytes.Buffer for concurrent writers.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// eventually polls until ok or fails after 10 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		}
	}
}
