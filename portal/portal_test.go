package portal

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/portal/secure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a portal that answers on a loopback port.
type running struct {
	*Portal
	base   string
	reg    *prometheus.Registry
	client *http.Client
	// stop ends Run and returns what it returned; it may be called twice.
	stop func() error
}

func run(t *testing.T, opts Options) *running {
	t.Helper()
	if opts.Config.MaxConnections == 0 {
		opts.Config = testConfig()
	}
	r := &running{reg: prometheus.NewRegistry(), client: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{}}}
	opts.Registerer, opts.Gatherer = r.reg, r.reg
	p, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Listen(); err != nil {
		t.Fatal(err)
	}
	r.Portal, r.base = p, "http://"+p.Addr()
	if servesTLS(opts.Config.WebConfig) {
		r.base = "https://" + p.Addr()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	var result error
	stopped := false
	r.stop = func() error {
		if !stopped {
			stopped = true
			cancel()
			result = <-done
			r.client.CloseIdleConnections()
		}
		return result
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

func testConfig() Config {
	c := Default()
	c.Listen = []string{"127.0.0.1:0"}
	return c
}

// ask sends a request without following redirects; set changes it first.
func (r *running) ask(t *testing.T, method, path string, set func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, r.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if set != nil {
		set(req)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) })
}

func TestEndpoints(t *testing.T) {
	ready, sick := false, error(nil)
	r := run(t, Options{
		Routes:  map[string]http.Handler{"/api/v1/": text("prometheus"), "GET /federate": text("federate")},
		Ready:   func() bool { return ready },
		Healthy: func() error { return sick },
		Quit:    func() { t.Error("quit is served without admin_api") },
	})
	check := func(method, path string, code int, want string) {
		t.Helper()
		got, body, _ := r.ask(t, method, path, nil)
		if got != code || !strings.Contains(body, want) {
			t.Errorf("%s %s: %d %q, want %d with %q", method, path, got, body, code, want)
		}
	}
	check("GET", "/-/healthy", 200, "healthy")
	check("HEAD", "/-/healthy", 200, "")
	check("GET", "/-/ready", 503, "not ready")
	ready = true
	check("GET", "/-/ready", 200, "ready")
	sick = errors.New("the store is corrupt")
	check("GET", "/-/healthy", 503, "the store is corrupt")
	check("GET", "/api/v1/query?query=up", 200, "prometheus")
	check("POST", "/api/v1/query", 200, "prometheus")
	check("GET", "/federate", 200, "federate")
	check("GET", "/metrics", 200, "atoll_http_requests_in_flight 1")
	check("GET", "/nothing/here", 404, "")
	check("GET", "/debug/pprof/", 404, "http.pprof")
	check("POST", "/-/quit", 404, "")
	check("POST", "/-/reload", 404, "") // no Reload was handed over
	check("GET", "/api/atoll/v1/status", 404, "")
	check("POST", "/-/healthy", 405, "")
}

func TestReload(t *testing.T) {
	var refusal error
	calls := 0
	r := run(t, Options{Reload: func(ctx context.Context) error {
		calls++
		return refusal
	}})
	for _, method := range []string{"POST", "PUT"} {
		if code, body, _ := r.ask(t, method, "/-/reload", nil); code != 200 {
			t.Errorf("%s: %d %q", method, code, body)
		}
	}
	refusal = errors.New("atoll.yaml:3:5: store.path: first\natoll.yaml:9:1: query.timeout: second")
	code, body, _ := r.ask(t, "POST", "/-/reload", nil)
	if code != 500 || !strings.Contains(body, refusal.Error()) || !strings.Contains(body, "from before runs on") {
		t.Errorf("refused: %d %q", code, body)
	}
	if code, _, h := r.ask(t, "GET", "/-/reload", nil); code != 405 || h.Get("Allow") != "POST, PUT" {
		t.Errorf("GET: %d, Allow %q", code, h.Get("Allow"))
	}
	if calls != 3 {
		t.Errorf("reloaded %d times, want 3", calls)
	}
}

func TestReloadOutlivesItsClient(t *testing.T) {
	entered, release, seen := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	r := run(t, Options{Reload: func(ctx context.Context) error {
		close(entered)
		<-release
		seen <- ctx.Err()
		return nil
	}})
	ctx, hangUp := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+"/-/reload", nil)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		resp, err := r.client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	<-entered
	hangUp()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Fatalf("the client got %v", err)
	}
	close(release)
	if err := <-seen; err != nil {
		t.Errorf("the reload's context: %v", err)
	}
}

func TestQuit(t *testing.T) {
	cfg := testConfig()
	cfg.AdminAPI = true
	asked := 0
	r := run(t, Options{Config: cfg, Quit: func() { asked++ }})
	if code, _, _ := r.ask(t, "POST", "/-/quit", nil); code != 200 || asked != 1 {
		t.Errorf("code %d, asked %d times", code, asked)
	}
}

func TestStatusAndHealth(t *testing.T) {
	started := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	want := Status{
		Name: "paris", Labels: map[string]string{"region": "eu"}, Version: Version{Version: "v1.2.3"},
		StartedAt: started, UptimeSeconds: 12.5, HeadSeries: 1 << 60, SamplesPerSecond: 3.25,
		Config:  ConfigStatus{File: "atoll.yaml", LoadedAt: started, LastReload: &ReloadResult{At: started, Error: "no"}},
		Rooms:   []RoomStatus{{Name: "store", State: RoomFailed, Since: started, Error: "disk"}},
		Budgets: []BudgetStatus{{Name: "memory", Unit: "bytes", Used: 1, Limit: 2}},
		DataDir: "data",
	}
	list := health.New(nil)
	warn := list.Declare(health.Warning{Code: "a-warning", Severity: health.SeverityWarning, Title: "t", Remedy: "r"})
	crit := list.Declare(health.Warning{Code: "b-critical", Severity: health.SeverityCritical, Title: "t", Remedy: "r"})
	r := run(t, Options{Health: list, Status: func() Status { return want }})

	var got Status
	_, body, _ := r.ask(t, "GET", "/api/atoll/v1/status", nil)
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want.Ready, want.Addresses = true, []string{r.Addr()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}

	ask := func() (a HealthAnswer) {
		_, body, _ := r.ask(t, "GET", "/api/atoll/v1/health", nil)
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := ask(); a.Worst != "" || a.Active == nil || len(a.Active) != 0 {
		t.Errorf("well: %+v", a)
	}
	warn.Set("w %d", 1)
	crit.Set("c")
	a := ask()
	if a.Worst != health.SeverityCritical || len(a.Active) != 2 || a.Active[0].Code != "b-critical" || a.Active[1].Text != "w 1" {
		t.Errorf("ill: %+v", a)
	}
}

func TestMeasuresByRouteNotByPath(t *testing.T) {
	r := run(t, Options{Routes: map[string]http.Handler{
		"GET /items/{id}": text("item"),
		"/odd": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(799)
		}),
	}})
	for _, path := range []string{"/items/1", "/items/2", "/a", "/b", "/c", "/", "/odd"} {
		r.ask(t, "GET", path, nil)
	}
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, f := range families {
		if f.GetName() != "atoll_http_request_duration_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			var code, handler string
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "code":
					code = l.GetValue()
				case "handler":
					handler = l.GetValue()
				}
			}
			got[handler+" "+code] = m.GetHistogram().GetSampleCount()
		}
	}
	want := map[string]uint64{"/items/{id} 200": 2, "other 404": 3, "/ 200": 1, "/odd other": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests by handler and code (-want +got):\n%s", diff)
	}
	if problems, err := testutil.GatherAndLint(r.reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

func TestPanicCostsItsRequestOnly(t *testing.T) {
	r := run(t, Options{Routes: map[string]http.Handler{
		"/early": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret of the house") }),
		"/late": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic("too late")
		}),
	}})
	code, body, _ := r.ask(t, "GET", "/early", nil)
	if code != 500 || strings.Contains(body, "secret") {
		t.Errorf("early: %d %q", code, body)
	}
	resp, err := r.client.Get(r.base + "/late")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("late: half an answer %q looks whole", body)
	}
	if code, _, _ := r.ask(t, "GET", "/-/healthy", nil); code != 200 {
		t.Errorf("afterwards: %d", code)
	}
	if n := testutil.ToFloat64(r.metrics.panics); n != 2 {
		t.Errorf("counted %v panics, want 2", n)
	}
	if n := r.handlers.count(); n != 0 {
		t.Errorf("%d handlers counted as running", n)
	}
}

func TestPprofFollowsReload(t *testing.T) {
	r := run(t, Options{})
	next := testConfig()
	next.Pprof = true
	commit, _, err := r.Prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, _ := r.ask(t, "GET", "/debug/pprof/cmdline", nil); code != 404 {
		t.Errorf("prepared only: %d", code)
	}
	commit()
	if code, _, _ := r.ask(t, "GET", "/debug/pprof/cmdline", nil); code != 200 {
		t.Errorf("committed: %d", code)
	}
}

func TestPrepareRefusesByName(t *testing.T) {
	p, err := New(Options{Config: testConfig()})
	if err != nil {
		t.Fatal(err)
	}
	next := testConfig()
	next.Listen = []string{"127.0.0.1:1"}
	next.WebConfig = "web.yml"
	next.ExternalURL = "https://atoll.example.com"
	next.TLS.Mode = secure.SelfSigned
	next.AdminAPI = true
	next.ReadTimeout = model.Duration(time.Second)
	next.ShutdownTimeout = model.Duration(time.Minute)
	next.MaxConnections = 7
	_, _, err = p.Prepare(next)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"http.listen: cannot change while running: is [127.0.0.1:0], would be [127.0.0.1:1]",
		`http.web_config: cannot change while running: is "", would be "web.yml"`,
		"http.tls: cannot change while running", "http.external_url", "http.admin_api: cannot change while running: is false, would be true",
		"http.read_timeout: cannot change while running: is 5m, would be 1s",
		"http.shutdown_timeout", "http.max_connections: cannot change while running: is 512, would be 7",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("misses %q in:\n%v", want, err)
		}
	}
	next.MaxConnections = 0
	if _, _, err := p.Prepare(next); err == nil || !strings.Contains(err.Error(), "must be at least 1") {
		t.Errorf("invalid: %v", err)
	}
}

func TestNewRefusesRoutes(t *testing.T) {
	for name, tc := range map[string]struct {
		routes map[string]http.Handler
		want   string
	}{
		"taken":   {map[string]http.Handler{"GET /-/healthy": text("")}, `route "GET /-/healthy"`},
		"nil":     {map[string]http.Handler{"/x": nil}, `route "/x": the handler is nil`},
		"invalid": {map[string]http.Handler{"GET": text("")}, `route "GET"`},
	} {
		if _, err := New(Options{Config: testConfig(), Routes: tc.routes}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestListenTakesAllOrNone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first := free.Addr().String()
	free.Close()

	cfg := testConfig()
	cfg.Listen = []string{first, taken.Addr().String()}
	p, err := New(Options{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Listen()
	if err == nil || !strings.Contains(err.Error(), "http.listen[1]") || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("error %v does not name the second address", err)
	}
	if p.Addr() != "" {
		t.Errorf("keeps %s", p.Addr())
	}
	again, err := net.Listen("tcp", first)
	if err != nil {
		t.Fatalf("the first address is still taken: %v", err)
	}
	again.Close()
}

func TestSeveralAddresses(t *testing.T) {
	cfg := testConfig()
	cfg.Listen = []string{"127.0.0.1:0", "127.0.0.1:0"}
	r := run(t, Options{Config: cfg})
	addrs := r.Addrs()
	if len(addrs) != 2 || addrs[0] == addrs[1] {
		t.Fatalf("addresses %v", addrs)
	}
	for _, addr := range addrs {
		r.base = "http://" + addr
		if code, _, _ := r.ask(t, "GET", "/-/healthy", nil); code != 200 {
			t.Errorf("%s: %d", addr, code)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	if !slices.Equal(Default().Listen, []string{"127.0.0.1:59080"}) {
		t.Errorf("the default listens on %v", Default().Listen)
	}
	for want, change := range map[string]func(*Config){
		"http.listen: empty":                             func(c *Config) { c.Listen = nil },
		`http.listen[0]: "127.0.0.1": missing port`:      func(c *Config) { c.Listen = []string{"127.0.0.1"} },
		`port "http" is not a number`:                    func(c *Config) { c.Listen = []string{":http"} },
		`port "65536" is not a number`:                   func(c *Config) { c.Listen = []string{":65536"} },
		`port "080" has leading zeros`:                   func(c *Config) { c.Listen = []string{":080"} },
		`http.listen[1]: ":9": is named twice`:           func(c *Config) { c.Listen = []string{":9", ":9"} },
		`http.external_url: "ftp://x": must be http://`:  func(c *Config) { c.ExternalURL = "ftp://x" },
		`http.external_url: "https:/x": must be http://`: func(c *Config) { c.ExternalURL = "https:/x" },
		"must not hold a user":                           func(c *Config) { c.ExternalURL = "https://u:p@x/" },
		"http.read_timeout: 0s":                          func(c *Config) { c.ReadTimeout = 0 },
		"http.shutdown_timeout: 0s":                      func(c *Config) { c.ShutdownTimeout = 0 },
		"http.max_connections: 0":                        func(c *Config) { c.MaxConnections = 0 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		} else if strings.Contains(err.Error(), "u:p") {
			t.Errorf("shows a password: %v", err)
		}
	}
}

func TestURL(t *testing.T) {
	for _, tc := range []struct{ listen, external, want string }{
		{"127.0.0.1:0", "", "http://127.0.0.1:"},
		{"127.0.0.1:0", "https://atoll.example.com/x", "https://atoll.example.com/x"},
		{"0.0.0.0:0", "", "http://localhost:"},
	} {
		cfg := testConfig()
		cfg.Listen, cfg.ExternalURL = []string{tc.listen}, tc.external
		p, err := New(Options{Config: cfg})
		if err != nil {
			t.Fatal(err)
		}
		if tc.external == "" && p.URL() != nil {
			t.Errorf("%s: %v before Listen", tc.listen, p.URL())
		}
		if err := p.Listen(); err != nil {
			t.Fatal(err)
		}
		if got := p.URL().String(); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %s, want %s…", tc.listen, got, tc.want)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHandlerWithoutServer(t *testing.T) {
	p, err := New(Options{Config: testConfig()})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/-/ready", nil))
	if w.Code != 200 || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
