package collect

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/health"
)

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		os.Exit(runChild(child))
	}
	goleak.VerifyTestMain(m)
}

// recorder is a storage that keeps the newest value of each series.
type recorder struct {
	mu   sync.Mutex
	last map[string]float64
	meta map[string]string
}

func newRecorder() *recorder {
	return &recorder{last: map[string]float64{}, meta: map[string]string{}}
}

func (r *recorder) AppenderV2(context.Context) storage.AppenderV2 {
	return &recording{r: r, batch: map[string]float64{}, meta: map[string]string{}}
}

type recording struct {
	r     *recorder
	batch map[string]float64
	meta  map[string]string
}

func (a *recording) Append(_ storage.SeriesRef, ls labels.Labels, _, _ int64, v float64, _ *histogram.Histogram, _ *histogram.FloatHistogram, opts storage.AppendV2Options) (storage.SeriesRef, error) {
	a.batch[ls.String()] = v
	if !opts.Metadata.IsEmpty() {
		a.meta[strings.Clone(opts.MetricFamilyName)] = string(opts.Metadata.Type)
	}
	// Upstream keeps track of staleness only for series with a reference.
	return storage.SeriesRef(ls.Hash() | 1), nil
}

func (a *recording) Commit() error {
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	maps.Copy(a.r.last, a.batch)
	maps.Copy(a.r.meta, a.meta)
	return nil
}

func (a *recording) Rollback() error { return nil }

// find returns the live series whose text contains all the parts.
func (r *recorder) find(parts ...string) map[string]float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[string]float64{}
	for series, v := range r.last {
		if value.IsStaleNaN(v) {
			continue
		}
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(series, p) }) {
			found[series] = v
		}
	}
	return found
}

// up tells whether any target of the job was scraped with success last.
func (r *recorder) up(job string) bool {
	for _, v := range r.find(`__name__="up"`, fmt.Sprintf("job=%q", job)) {
		if v == 1 {
			return true
		}
	}
	return false
}

// patience is how long something that must happen may take on a busy machine.
const patience = 30 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("did not happen within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

// fixture is a running Collector and what is around it.
type fixture struct {
	*Collector
	rec    *recorder
	reg    *prometheus.Registry
	health *health.List
	stop   func()
}

func options(t *testing.T, doc string) (Options, *recorder, *prometheus.Registry) {
	t.Helper()
	rec, reg := newRecorder(), prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector())
	cfg := Default()
	cfg.Host.Enabled, cfg.Cgroup.Enabled, cfg.Self.Enabled = false, false, false
	return Options{
		Config: cfg, Prometheus: load(t, doc), Appendable: rec,
		Logger: slog.New(slog.DiscardHandler), Registerer: reg, Gatherer: reg,
		Health: health.New(reg), InstanceName: "reef-1",
		pace: pace{discovery: 50 * time.Millisecond, scrape: 50 * time.Millisecond, watch: 50 * time.Millisecond},
	}, rec, reg
}

func load(t *testing.T, doc string) *promconfig.Config {
	t.Helper()
	cfg, err := promconfig.Load(doc, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("loading the document: %v\n%s", err, doc)
	}
	return cfg
}

func start(t *testing.T, o Options, rec *recorder, reg *prometheus.Registry) *fixture {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, c, o, rec, reg)
}

func run(t *testing.T, c *Collector, o Options, rec *recorder, reg *prometheus.Registry) *fixture {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	f := &fixture{Collector: c, rec: rec, reg: reg, health: o.Health}
	f.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v, want nil", err)
			}
		case <-time.After(patience):
			t.Error("Run did not return after its context ended")
		}
	})
	t.Cleanup(f.stop)
	return f
}

func startDoc(t *testing.T, doc string) *fixture {
	t.Helper()
	o, rec, reg := options(t, doc)
	return start(t, o, rec, reg)
}

// warning returns the text of an active health warning, or "".
func (f *fixture) warning(code string) string {
	for _, a := range f.health.Active() {
		if a.Code == code {
			return a.Text
		}
	}
	return ""
}

// exposition serves a fixed text.
func exposition(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, text)
	})
}

// target starts a plain target and returns its address.
func target(t *testing.T, text string) string {
	t.Helper()
	srv := httptest.NewServer(exposition(text))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// doc is a document with fast scrapes.
func doc(jobs string) string {
	return "global:\n  scrape_interval: 100ms\n  scrape_timeout: 100ms\nscrape_configs:\n" + jobs
}

func staticJob(name, addr string) string {
	return fmt.Sprintf("- job_name: %s\n  static_configs:\n  - targets: [%q]\n", name, addr)
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
