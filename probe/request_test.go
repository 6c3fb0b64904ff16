package probe

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/blackbox_exporter/prober"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"

	dto "github.com/prometheus/client_model/go"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol/path"
)

func TestTableHasEveryProber(t *testing.T) {
	all := table(path.New())
	for _, name := range definition.Probers() {
		if all[name] == nil {
			t.Errorf("no prober %s", name)
		}
	}
	if len(all) != len(definition.Probers()) {
		t.Errorf("%d probers, a module can name %d", len(all), len(definition.Probers()))
	}
}

// answering makes a Prober that is not run: GET /probe needs nothing else.
func answering(t *testing.T, change func(*Config)) *Prober {
	t.Helper()
	cfg := Default()
	cfg.AllowAdHoc = []string{"127.0.0.1"}
	if change != nil {
		change(&cfg)
	}
	p, err := New(Options{
		Config: cfg, Store: &samples{}, Labels: func() map[string]string { return map[string]string{"island": "a"} },
		Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ask(p *Prober, query string, header ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, query, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	p.Handler().ServeHTTP(w, r)
	return w
}

func parse(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	out, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return out
}

// TestAsBlackboxExporter asks it and us for the same, and wants each of its metrics
// from us: the same name, type, labels and help, and the same value where it is no time.
func TestAsBlackboxExporter(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", "Mon, 23 Nov 2026 08:00:00 GMT")
		_, _ = w.Write([]byte("hello"))
	}))
	defer secure.Close()
	plain := httptest.NewServer(http.RedirectHandler("/", http.StatusServiceUnavailable))
	defer plain.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	insecure := "tls_config: {insecure_skip_verify: true}"
	text := "modules:\n  http_2xx: {prober: http, http: {preferred_ip_protocol: ip4, " + insecure + "}}\n" +
		"  body: {prober: http, http: {preferred_ip_protocol: ip4, " + insecure + ", fail_if_body_matches_regexp: [hello]}}\n" +
		"  tcp: {prober: tcp, tcp: {preferred_ip_protocol: ip4}}\n" +
		"  tls: {prober: tcp, tcp: {preferred_ip_protocol: ip4, tls: true, " + insecure + "}}\n"
	modules, err := definition.ReadModules("modules.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p := answering(t, nil)
	p.adopt(p.makePlan(Default(), Set{Modules: modules}))
	theirs := &blackbox.Config{Modules: map[string]blackbox.Module{}}
	for name, m := range modules {
		theirs.Modules[name] = m.Module
	}
	for _, query := range []string{
		"/probe?target=" + url.QueryEscape(secure.URL),
		"/probe?module=body&target=" + url.QueryEscape(secure.URL),
		"/probe?target=" + url.QueryEscape(plain.URL),
		"/probe?module=tcp&target=" + l.Addr().String(),
		"/probe?module=tls&target=" + secure.Listener.Addr().String(),
	} {
		t.Run(query, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, query, nil)
			prober.Handler(w, r, theirs, slog.New(slog.DiscardHandler), &prober.ResultHistory{}, 0.5, nil, nil,
				&promslog.Config{Level: promslog.NewLevel(), Writer: discard{}})
			want, got := parse(t, w.Body.String()), parse(t, ask(p, query).Body.String())
			if len(want) < 5 {
				t.Fatalf("it answers only\n%s", w.Body)
			}
			for name, f := range want {
				if ours := got[name]; ours == nil {
					t.Errorf("%s is missing", name)
				} else {
					sameFamily(t, f, ours)
				}
			}
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func sameFamily(t *testing.T, want, got *dto.MetricFamily) {
	t.Helper()
	name := want.GetName()
	if want.GetHelp() != got.GetHelp() || want.GetType() != got.GetType() {
		t.Errorf("%s: is %s %q, want %s %q", name, got.GetType(), got.GetHelp(), want.GetType(), want.GetHelp())
	}
	series := func(f *dto.MetricFamily) (all []string) {
		for _, m := range f.GetMetric() {
			line := ""
			for _, l := range m.GetLabel() {
				line += l.GetName() + "=" + l.GetValue() + ";"
			}
			if !strings.Contains(name, "duration") && !strings.Contains(name, "lookup_time") {
				line += m.GetGauge().String()
			}
			all = append(all, line)
		}
		slices.Sort(all)
		return all
	}
	if a, b := series(want), series(got); !slices.Equal(a, b) {
		t.Errorf("%s (want, got):\n%s\n%s", name, strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

func TestRequestsAreJudged(t *testing.T) {
	p := answering(t, func(c *Config) { c.AllowAdHoc, c.Allow = nil, []string{"127.0.0.1"} })
	for query, want := range map[string]int{
		"/probe":                            http.StatusBadRequest,
		"/probe?target=x&module=nope":       http.StatusBadRequest,
		"/probe?module=tcp_connect":         http.StatusBadRequest,
		"/api/v1/probes/targets?limit=x":    http.StatusBadRequest,
		"/api/v1/probes/targets?state=x":    http.StatusBadRequest,
		"/api/v1/probes/targets":            http.StatusOK,
		"/api/v1/probes/definitions":        http.StatusOK,
		"/probe?target=127.0.0.1:1&module=": http.StatusOK,
	} {
		if w := ask(p, query); w.Code != want {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	for _, target := range []string{"http://127.0.0.1:1/", "http://169.254.169.254/latest/", "http://[::ffff:10.0.0.1]/", "http://localhost/"} {
		got := ask(p, "/probe?target="+url.QueryEscape(target)).Body.String()
		if !strings.Contains(got, "probe_success 0") || !strings.Contains(got, `reason="denied"} 1`) {
			t.Errorf("%s:\n%s", target, got)
		}
	}
	debug := ask(p, "/probe?debug=true&module=tcp_connect&target=127.0.0.1:1").Body.String()
	for _, want := range []string{"down, after", "denied: ", "probe.allow_ad_hoc", "probe_success 0", "prober: tcp"} {
		if !strings.Contains(debug, want) {
			t.Errorf("debug lacks %q:\n%s", want, debug)
		}
	}
	p.limiter.Set(0)
	if w := ask(p, "/probe?target=x"); w.Code != http.StatusTooManyRequests {
		t.Errorf("over the rate: %d %s", w.Code, w.Body)
	}
}

func TestRequestTimeout(t *testing.T) {
	for _, tc := range []struct {
		header string
		module time.Duration
		want   time.Duration
	}{
		{"", 0, longestRequest - timeoutOffset},
		{"10", 0, 9500 * time.Millisecond},
		{"10", 2 * time.Second, 2 * time.Second},
		{"2", 5 * time.Second, 1500 * time.Millisecond},
		{"0.2", 0, 200 * time.Millisecond},
		{"1e300", 0, longestRequest - timeoutOffset},
		{"-1", 0, longestRequest - timeoutOffset},
	} {
		if got, err := requestTimeout(tc.header, tc.module); err != nil || got != tc.want {
			t.Errorf("%q, module %s: %s, %v", tc.header, tc.module, got, err)
		}
	}
	if _, err := requestTimeout("soon", 0); err == nil {
		t.Error("soon is no number")
	}
	if got := caller(&http.Request{RemoteAddr: netip.MustParseAddrPort("[::1]:99").String()}); got != "::1" {
		t.Errorf("caller %q", got)
	}
}
