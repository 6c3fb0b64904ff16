package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/prometheus/alertmanager/api/v2/client"
	amconfig "github.com/prometheus/alertmanager/config"
	amtemplate "github.com/prometheus/alertmanager/template"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/health"
)

// patience bounds every wait; it is never a thing that a test measures.
const patience = 90 * time.Second

// eventually polls until ok, or fails saying what was waited for.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("waited %s for: %s", patience, what)
		case <-tick.C:
		}
	}
}

// during fails if what should not happen does within d.
func during(t *testing.T, d time.Duration, what string, never func() bool) {
	t.Helper()
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if never() {
			t.Fatalf("happened although it must not: %s", what)
		}
		select {
		case <-end.C:
			return
		case <-tick.C:
		}
	}
}

// hook is a webhook receiver that remembers what it was told.
type hook struct {
	*httptest.Server
	mu   sync.Mutex
	got  []amtemplate.Data
	code int
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{code: http.StatusOK}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var d amtemplate.Data
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &d); err != nil {
			t.Errorf("webhook body: %v: %s", err, body)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.code == http.StatusOK {
			h.got = append(h.got, d)
		}
		w.WriteHeader(h.code)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) answer(code int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.code = code
}

func (h *hook) all() []amtemplate.Data {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]amtemplate.Data(nil), h.got...)
}

// count returns how many notifications had a status, with some alert of a name.
func (h *hook) count(status, alertname string) int {
	n := 0
	for _, d := range h.all() {
		for _, a := range d.Alerts {
			if d.Status == status && a.Labels["alertname"] == alertname {
				n++
				break
			}
		}
	}
	return n
}

// rig is one island's worth of what alerting needs.
type rig struct {
	t      *testing.T
	dir    string
	db     *tsdb.DB
	health *health.List
	reg    *prometheus.Registry
	config Config

	alert  *Alert
	server *httptest.Server
	cancel context.CancelFunc
	done   chan error
}

func newRig(t *testing.T) *rig {
	t.Helper()
	// Registered first, so that it looks last, when all else has been closed.
	// http.DefaultTransport is the API client's.
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t)
	})
	return addRig(t)
}

// addRig is for a second island in one test.
func addRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	opts := tsdb.DefaultOptions()
	opts.OutOfOrderTimeWindow = time.Hour.Milliseconds()
	db, err := tsdb.Open(filepath.Join(dir, "tsdb"), slog.New(slog.DiscardHandler), nil, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c := Default()
	c.ResendDelay = model.Duration(time.Second)
	c.ForGracePeriod = 0
	c.SnapshotInterval = model.Duration(100 * time.Millisecond)
	r := &rig{t: t, dir: dir, db: db, config: c}
	t.Cleanup(r.stop)
	return r
}

// set appends a sample of now.
func (r *rig) set(value float64, series ...string) {
	r.t.Helper()
	r.setAt(time.Now(), value, series...)
}

func (r *rig) setAt(at time.Time, value float64, series ...string) {
	r.t.Helper()
	app := r.db.Appender(context.Background())
	if _, err := app.Append(0, labels.FromStrings(series...), at.UnixMilli(), value); err != nil {
		r.t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// file writes a file of the rig and returns its path.
func (r *rig) file(name, content string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// prom parses a Prometheus configuration whose rule_files is rules.yml.
func (r *rig) prom(more string) *promconfig.Config {
	r.t.Helper()
	text := fmt.Sprintf("rule_files: [%q]\n%s", filepath.Join(r.dir, "rules*.yml"), more)
	conf, err := promconfig.Load(text, slog.New(slog.DiscardHandler))
	if err != nil {
		r.t.Fatal(err)
	}
	return conf
}

func parseAM(t *testing.T, text string) *amconfig.Config {
	t.Helper()
	conf, problems := LoadAlertmanager("alertmanager.yml", []byte(text), t.TempDir())
	if len(problems) > 0 {
		t.Fatalf("%v", Problems(problems))
	}
	return conf
}

// webhookTo is an Alertmanager configuration with short timers.
func webhookTo(t *testing.T, url, more string) *amconfig.Config {
	t.Helper()
	return parseAM(t, fmt.Sprintf(`
route: {receiver: hook, group_by: [alertname], group_wait: 20ms, group_interval: 100ms, repeat_interval: 1h}
receivers:
  - name: hook
    webhook_configs: [{url: %q}]
%s`, url, more))
}

func (r *rig) options(prom *promconfig.Config, am *amconfig.Config) Options {
	r.health = health.New(nil)
	r.reg = prometheus.NewRegistry()
	p := parser.NewParser(parser.Options{})
	external, _ := url.Parse("http://island.example:59080")
	return Options{
		Config: r.config, Prometheus: prom, Alertmanager: am,
		Engine: promql.NewEngine(promql.EngineOpts{
			Logger: slog.New(slog.DiscardHandler), MaxSamples: 1e6, Timeout: patience, Parser: p,
			NoStepSubqueryIntervalFn: func(int64) int64 { return 1000 },
		}),
		Queryable: r.db, Appendable: r.db, Parser: p,
		ExternalURL: external, Dir: filepath.Join(r.dir, "alert"),
		Logger:     slog.New(slog.NewTextHandler(testWriter{r.t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Registerer: r.reg, Health: r.health,
		discoveryDelay: 10 * time.Millisecond,
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (r *rig) start(prom *promconfig.Config, am *amconfig.Config) {
	r.t.Helper()
	a, err := New(r.options(prom, am))
	if err != nil {
		r.t.Fatal(err)
	}
	r.run(a)
}

func (r *rig) run(a *Alert) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.alert, r.cancel, r.done = a, cancel, make(chan error, 1)
	r.server = httptest.NewServer(a.Handler())
	done := r.done
	go func() { done <- a.Run(ctx) }()
	eventually(r.t, "the API to answer", func() bool {
		resp, err := http.Get(r.server.URL + "/api/v2/status")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run returned %v on cancel", err)
	}
	r.server.Close()
	r.cancel = nil
}

func (r *rig) reload(prom *promconfig.Config, am *amconfig.Config) error {
	commit, _, err := r.alert.Prepare(r.config, prom, am)
	if err != nil {
		return err
	}
	commit()
	return nil
}

func (r *rig) api() *client.AlertmanagerAPI {
	u, _ := url.Parse(r.server.URL)
	return client.NewHTTPClientWithConfig(strfmt.Default, client.DefaultTransportConfig().WithHost(u.Host))
}

// warned returns the text of an active health warning.
func (r *rig) warned(code string) string {
	for _, w := range r.health.Active() {
		if w.Code == code {
			return w.Text
		}
	}
	return ""
}

// highLoad is a rule that fires for every series of load above 5.
const highLoad = `
groups:
  - name: load
    interval: 50ms
    rules:
      - record: load:max
        expr: max(load)
      - alert: HighLoad
        expr: load > 5
        labels: {severity: page}
        annotations: {summary: "{{ $labels.host }} has {{ $value }}"}
`
