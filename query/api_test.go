package query

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/api"
	apiv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/atoll-mesh/atoll/query/render"
)

// t0 is when the fixture's samples begin: on a whole minute. The last ones are ahead
// of the clock, so that /federate finds fresh ones however slowly the tests run.
var t0 = time.Now().Add(-6 * time.Minute).Truncate(time.Minute)

// load writes eleven minutes of a counter with two series, and an exemplar.
func load(t *testing.T, d db) {
	t.Helper()
	for i, instance := range []string{"a", "b"} {
		var points []promql.FPoint
		for m := range 10 {
			points = append(points, promql.FPoint{T: t0.Add(time.Duration(m) * time.Minute).UnixMilli(), F: float64(m * 60 * (i + 1))})
		}
		d.put(t, labels.FromStrings("__name__", "shop_orders_total", "instance", instance), points...)
	}
	d.putExemplar(t, labels.FromStrings("__name__", "shop_latency_bucket", "le", "1"), t0.UnixMilli(), 1, exemplar.Exemplar{
		Labels: labels.FromStrings("trace_id", "4bf9"), Value: 0.7, Ts: t0.UnixMilli(), HasTs: true,
	})
}

// scrapes runs a real scrape manager over one target that exposes shop_up.
func scrapes(t *testing.T, d db) *scrape.Manager {
	t.Helper()
	reg := prometheus.NewRegistry()
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "shop_up", Help: "Open or not."})
	reg.MustRegister(g)
	target := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	t.Cleanup(target.Close)

	cfg, err := promconfig.Load("global: {scrape_interval: 50ms, scrape_timeout: 50ms}\nscrape_configs: [{job_name: shop}]\n", promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	m, err := scrape.NewManager(&scrape.Options{DiscoveryReloadInterval: model.Duration(10 * time.Millisecond)}, promslog.NewNopLogger(), nil, nil, d, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ApplyConfig(cfg); err != nil {
		t.Fatal(err)
	}
	sets := make(chan map[string][]*targetgroup.Group)
	done := make(chan error, 1)
	go func() { done <- m.Run(sets) }()
	t.Cleanup(func() {
		m.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	sets <- map[string][]*targetgroup.Group{"shop": {{
		Source:  "test",
		Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(strings.TrimPrefix(target.URL, "http://"))}},
	}}}
	eventually(t, "the target is scraped", func() bool {
		active := m.TargetsActive()["shop"]
		return len(active) == 1 && active[0].Health() == scrape.HealthGood
	})
	return m
}

// ruled runs a real rule manager with one alert that fires and one recording.
func ruled(t *testing.T, r *rig) *rules.Manager {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rules.yml")
	const text = `groups:
- name: shop
  interval: 50ms
  rules:
  - {alert: AlwaysOn, expr: vector(1), labels: {severity: page}}
  - {record: "shop:one", expr: vector(1)}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m := rules.NewManager(&rules.ManagerOptions{
		AppendableV2: r.db,
		Queryable:    r.db,
		QueryFunc:    rules.EngineQueryFunc(r.Engine(), r.db),
		NotifyFunc:   func(context.Context, string, ...*rules.Alert) {},
		Context:      context.Background(),
		ExternalURL:  r.options.ExternalURL,
		Logger:       promslog.NewNopLogger(),
		Parser:       r.Parser(),
	})
	if err := m.Update(50*time.Millisecond, []string{file}, labels.EmptyLabels(), "", nil); err != nil {
		t.Fatal(err)
	}
	go m.Run()
	t.Cleanup(m.Stop)
	eventually(t, "the alert fires", func() bool {
		a := m.AlertingRules()
		return len(a) == 1 && len(a[0].ActiveAlerts()) == 1
	})
	return m
}

type alertmanagers struct{ none }

func (alertmanagers) Alertmanagers() []*url.URL {
	return []*url.URL{{Scheme: "http", Host: "am:9093", Path: "/api/v2/alerts"}}
}

// client serves r on a socket and returns the official client for it.
func client(t *testing.T, r *rig) (apiv1.API, string) {
	t.Helper()
	srv := httptest.NewServer(r.Handler())
	t.Cleanup(srv.Close)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	c, err := api.NewClient(api.Config{Address: srv.URL, RoundTripper: tr})
	if err != nil {
		t.Fatal(err)
	}
	return apiv1.NewAPI(c), srv.URL
}

func full(t *testing.T) (*rig, apiv1.API) {
	t.Helper()
	var manager *rules.Manager
	r := newRig(t, func(o *Options) {
		o.EnableAdmin = true
		m := scrapes(t, o.Store.(db))
		o.Targets = func(context.Context) v1.TargetRetriever { return m }
		o.Pools = func(context.Context) v1.ScrapePoolsRetriever { return m }
		o.Rules = func(context.Context) v1.RulesRetriever { return manager }
		o.Alertmanagers = func(context.Context) v1.AlertmanagerRetriever { return alertmanagers{} }
		o.RuntimeInfo = func(i *v1.RuntimeInfo) { i.StorageRetention = "15d" }
	})
	load(t, r.db)
	manager = ruled(t, r)
	c, _ := client(t, r)
	return r, c
}

func TestClientQueries(t *testing.T) {
	_, c := full(t)
	ctx := t.Context()
	end := t0.Add(9 * time.Minute)

	v, warnings, infos, err := c.Query(ctx, `sum by (instance) (increase(shop_orders_total[5m]))`, end)
	if err != nil || len(warnings) > 0 || len(infos) > 0 {
		t.Fatal(err, warnings, infos)
	}
	want := "{instance=\"a\"} => 300 @[" + model.TimeFromUnix(end.Unix()).String() + "]\n" +
		"{instance=\"b\"} => 600 @[" + model.TimeFromUnix(end.Unix()).String() + "]"
	if got := v.String(); got != want {
		t.Errorf("query:\n%s\nwant\n%s", got, want)
	}
	v, _, _, err = c.QueryRange(ctx, `shop_orders_total{instance="a"}`, apiv1.Range{Start: t0, End: end, Step: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if m := v.(model.Matrix); len(m) != 1 || len(m[0].Values) != 10 || m[0].Values[9].Value != 540 {
		t.Errorf("query_range: %s", v)
	}
	if _, _, infos, err = c.Query(ctx, `rate(shop_up[5m])`, time.Now()); err != nil || len(infos) != 1 {
		t.Errorf("rate of a gauge by name: infos %v, err %v", infos, err)
	}
	if _, _, _, err = c.Query(ctx, `sum(`, end); err == nil || !strings.Contains(err.Error(), "bad_data") {
		t.Errorf("bad query: %v", err)
	}
	ex, err := c.QueryExemplars(ctx, `shop_latency_bucket`, t0.Add(-time.Minute), end)
	if err != nil || len(ex) != 1 || ex[0].Exemplars[0].Labels["trace_id"] != "4bf9" {
		t.Errorf("query_exemplars: %v, %v", ex, err)
	}
	if got, err := c.FormatQuery(ctx, `sum(rate(shop_up[1m]))by(job)`); err != nil || got != `"sum by (job) (rate(shop_up[1m]))"` {
		t.Errorf("format_query: %q, %v", got, err)
	}
}

func TestClientMetadata(t *testing.T) {
	_, c := full(t)
	ctx := t.Context()
	from, to := t0.Add(-time.Minute), time.Now().Add(time.Minute)

	names, _, _, err := c.LabelNames(ctx, []string{"shop_orders_total"}, from, to)
	if err != nil || !slices.Equal(names, model.LabelNames{"__name__", "instance"}) {
		t.Errorf("labels: %v, %v", names, err)
	}
	values, _, _, err := c.LabelValues(ctx, "instance", []string{"shop_orders_total"}, from, to)
	if err != nil || !slices.Equal(values, model.LabelValues{"a", "b"}) {
		t.Errorf("label values: %v, %v", values, err)
	}
	series, _, _, err := c.Series(ctx, []string{`shop_orders_total{instance="b"}`}, from, to)
	if err != nil || len(series) != 1 || series[0]["instance"] != "b" {
		t.Errorf("series: %v, %v", series, err)
	}
	targets, err := c.Targets(ctx)
	if err != nil || len(targets.Active) != 1 || targets.Active[0].Health != "up" || targets.Active[0].ScrapePool != "shop" {
		t.Errorf("targets: %+v, %v", targets, err)
	}
	tm, err := c.TargetsMetadata(ctx, `{job="shop"}`, "shop_up", "")
	if err != nil || len(tm) != 1 || tm[0].Help != "Open or not." {
		t.Errorf("targets/metadata: %v, %v", tm, err)
	}
	md, err := c.Metadata(ctx, "shop_up", "")
	if err != nil || len(md["shop_up"]) != 1 || md["shop_up"][0].Type != "gauge" {
		t.Errorf("metadata: %v, %v", md, err)
	}
	rs, err := c.Rules(ctx, nil)
	if err != nil || len(rs.Groups) != 1 || len(rs.Groups[0].Rules) != 2 {
		t.Errorf("rules: %+v, %v", rs, err)
	}
	alerts, err := c.Alerts(ctx)
	if err != nil || len(alerts.Alerts) != 1 || alerts.Alerts[0].State != "firing" {
		t.Errorf("alerts: %+v, %v", alerts, err)
	}
	ams, err := c.AlertManagers(ctx)
	if err != nil || len(ams.Active) != 1 || ams.Active[0].URL != "http://am:9093/api/v2/alerts" {
		t.Errorf("alertmanagers: %+v, %v", ams, err)
	}
}

func TestClientStatus(t *testing.T) {
	r, c := full(t)
	ctx := t.Context()

	b, err := c.Buildinfo(ctx)
	if err != nil || b.Version != PrometheusVersion || b.BuildUser != "atoll 0.1.0" || b.Revision != "abc" {
		t.Errorf("buildinfo: %+v, %v", b, err)
	}
	info, err := c.Runtimeinfo(ctx)
	if err != nil || info.GoroutineCount == 0 || info.StorageRetention != "15d" || !info.ReloadConfigSuccess {
		t.Errorf("runtimeinfo: %+v, %v", info, err)
	}
	flags, err := c.Flags(ctx)
	if err != nil || flags["query.timeout"] != "2m" || flags["web.enable-admin-api"] != "true" {
		t.Errorf("flags: %v, %v", flags, err)
	}
	cfg, err := c.Config(ctx)
	if err != nil || !strings.Contains(cfg.YAML, "scrape_interval: 1m") {
		t.Errorf("config: %v, %v", cfg, err)
	}
	db, err := c.TSDB(ctx)
	if err != nil || db.HeadStats.NumSeries < 3 || len(db.SeriesCountByMetricName) == 0 {
		t.Errorf("tsdb: %+v, %v", db, err)
	}
	if blocks, err := c.TSDBBlocks(ctx); err != nil || len(blocks.Blocks) != 0 {
		t.Errorf("blocks: %+v, %v", blocks, err)
	}
	if _, err := c.WalReplay(ctx); err != nil {
		t.Errorf("walreplay: %v", err)
	}
	snap, err := c.Snapshot(ctx, false)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	if _, err := os.Stat(filepath.Join(r.db.Dir(), "snapshots", snap.Name)); err != nil {
		t.Error(err)
	}
	if err := c.DeleteSeries(ctx, []string{"shop_orders_total"}, t0.Add(-time.Hour), time.Now()); err != nil {
		t.Errorf("delete_series: %v", err)
	}
	if err := c.CleanTombstones(ctx); err != nil {
		t.Errorf("clean_tombstones: %v", err)
	}
	v, _, _, err := c.Query(ctx, "shop_orders_total", t0.Add(time.Minute))
	if err != nil || len(v.(model.Vector)) != 0 {
		t.Errorf("deleted series still there: %v, %v", v, err)
	}
}

// What the official client does not call.
func TestOtherEndpoints(t *testing.T) {
	r, _ := full(t)
	for path, want := range map[string]string{
		"/api/v1/parse_query?query=up":                         `"type":"vectorSelector"`,
		"/api/v1/scrape_pools":                                 `{"scrapePools":["shop"]}`,
		"/api/v1/scrape_pools/config?scrapePool=shop":          `job_name`,
		"/api/v1/features":                                     `"admin":true`,
		"/api/v1/status/self_metrics":                          `atoll_query_queries_total`,
		"/api/v1/notifications":                                `"data":[]`,
		"/api/v1/openapi.yaml":                                 `openapi: 3.1.0`,
		"/api/v1/query_cost?query=shop_orders_total":           `"seriesTouched"`,
		"/api/v1/search/metric_names?search=orders":            `shop_orders_total`,
		"/api/v1/query?query=shop_up&stats=all":                `totalQueryableSamplesPerStep`,
		"/api/v1/query_range?query=1&start=0&end=60&step=30":   `[[0,"1"],[30,"1"],[60,"1"]]`,
		"/api/v1/label/instance/values?match[]=shop_up":        `"data":["127.0.0.1:`,
		"/api/v1/rules?type=alert":                             `AlwaysOn`,
		"/api/v1/targets?state=active&scrapePool=shop":         `"globalUrl":"http://island.example:`,
		"/api/v1/query?query=limitk(1,shop_up)":                `must be enabled`,
		"/api/v1/query?query=shop_orders_total&limit=1&time=1": `"result":[]`,
	} {
		_, _, body := r.get(t, path)
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s:\n%.600s", path, want, body)
		}
	}
}

func TestAdminIsOffByDefault(t *testing.T) {
	r := newRig(t)
	for _, op := range []string{"delete_series?match[]=up", "clean_tombstones", "snapshot"} {
		code, _, body := r.do(t, http.MethodPost, "/api/v1/admin/tsdb/"+op)
		if code != http.StatusInternalServerError && code != http.StatusServiceUnavailable || !strings.Contains(body, "admin APIs disabled") {
			t.Errorf("%s: got %d %s", op, code, body)
		}
	}
}

func TestNotReady(t *testing.T) {
	r := newRig(t)
	r.ready = false
	for _, path := range []string{"/api/v1/query?query=up", "/federate?match[]=up", "/api/v1/status/config"} {
		code, h, _ := r.get(t, path)
		if code != http.StatusServiceUnavailable || h.Get("X-Prometheus-Stopping") != "false" {
			t.Errorf("%s: got %d, stopping %q", path, code, h.Get("X-Prometheus-Stopping"))
		}
	}
	if code, _, _ := r.get(t, "/api/v1/status/walreplay"); code != http.StatusOK {
		t.Errorf("walreplay must answer while the log is replayed, got %d", code)
	}
	r.ready = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	code, h, _ := r.get(t, "/api/v1/query?query=up")
	if code != http.StatusServiceUnavailable || h.Get("X-Prometheus-Stopping") != "true" {
		t.Errorf("after the end: got %d, stopping %q", code, h.Get("X-Prometheus-Stopping"))
	}
}

func TestReceivers(t *testing.T) {
	got := ""
	handler := func(name string) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got = name })
	}
	r := newRig(t, func(o *Options) { o.RemoteWrite = handler("rw") })
	if code, _, _ := r.do(t, http.MethodPost, "/api/v1/write"); code != http.StatusOK || got != "rw" {
		t.Errorf("write: %d, %q", code, got)
	}
	if code, _, body := r.do(t, http.MethodPost, "/api/v1/otlp/v1/metrics"); code != http.StatusNotFound || !strings.Contains(body, "collect.receive.otlp.enabled") {
		t.Errorf("otlp off: %d %s", code, body)
	}
	r.ready = false
	if code, _, _ := r.do(t, http.MethodPost, "/api/v1/write"); code != http.StatusServiceUnavailable {
		t.Errorf("write while not ready: %d", code)
	}
	r = newRig(t, func(o *Options) { o.OTLP = handler("otlp") })
	if code, _, _ := r.do(t, http.MethodPost, "/api/v1/otlp/v1/metrics"); code != http.StatusOK || got != "otlp" {
		t.Errorf("otlp: %d, %q", code, got)
	}
}

func TestCORSAndCompression(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Config.CORSOrigin = `https://grafana\.example` })
	for origin, want := range map[string]string{"https://grafana.example": "https://grafana.example", "https://evil.example": ""} {
		_, h, _ := r.get(t, "/api/v1/query?query=1", "Origin", origin)
		if got := h.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("origin %s: got %q", origin, got)
		}
	}
	_, h, _ := newRig(t).get(t, "/api/v1/query?query=1", "Origin", "https://grafana.example")
	if got := h.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("by default: got %q", got)
	}
	for _, path := range []string{"/api/v1/query?query=1", "/federate?match[]=up"} {
		if _, h, _ := r.get(t, path, "Accept-Encoding", "gzip"); h.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: not compressed", path)
		}
	}
}

func TestNotificationsAreLive(t *testing.T) {
	r := newRig(t)
	_, url := client(t, r)
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(url + "/api/v1/notifications/live")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r.trouble.timeout("up", context.DeadlineExceeded)
	r.notices.sync()
	buf := make([]byte, 4096)
	n, err := resp.Body.Read(buf)
	if err != nil || !strings.Contains(string(buf[:n]), "Queries run out of time") {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Errorf("the stream must end with the room: %q, %v", rest, err)
	}
}

// The release announced to clients is the one that is linked.
func TestVersionIsTheModules(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	// Module v0.NMM.P is release N.MM.P.
	i := strings.Index(string(mod), "github.com/prometheus/prometheus v0.")
	if i < 0 {
		t.Fatal("go.mod does not require prometheus")
	}
	line, _, _ := strings.Cut(string(mod)[i+len("github.com/prometheus/prometheus v0."):], "\n")
	if got := line[:1] + "." + line[1:]; cmp.Diff(PrometheusVersion, got) != "" {
		t.Errorf("PrometheusVersion is %s, go.mod says %s", PrometheusVersion, got)
	}
}

// A value shown straight from the engine is the one a client would decode.
func TestRenderTakesTheEnginesValues(t *testing.T) {
	r := newRig(t)
	now := time.Now().Truncate(time.Second)
	federateSeries(t, r.db, now)
	c, _ := client(t, r)
	for _, expr := range []string{`d_mixed`, `a_labels`, `1.5`, `d_mixed[5m]`, `b_plain[5m]`} {
		want, _, _, err := c.Query(t.Context(), expr, now)
		if err != nil {
			t.Fatal(err)
		}
		q, err := r.Engine().NewInstantQuery(t.Context(), r.db, nil, expr, now)
		if err != nil {
			t.Fatal(err)
		}
		got, err := render.FromPromQL(q.Exec(t.Context()).Value)
		if err != nil {
			t.Fatal(err)
		}
		q.Close()
		var a, b strings.Builder
		for to, v := range map[*strings.Builder]model.Value{&a: want, &b: got} {
			if err := render.Write(to, render.CSV, v, render.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(a.String(), b.String()); d != "" {
			t.Errorf("%s (-client +engine):\n%s", expr, d)
		}
	}
}
