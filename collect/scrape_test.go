package collect

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestScrapeOverTLSWithBasicAuthAndRelabelling(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "keeper" || pass != "tide" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		exposition("# TYPE waves_total counter\nwaves_total{beach=\"north\"} 7\ndropped_metric 1\n").ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	ca := write(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	password := write(t, filepath.Join(dir, "password"), "tide")

	f := startDoc(t, doc(fmt.Sprintf(`
- job_name: secure
  scheme: https
  scrape_interval: 1s
  scrape_timeout: 1s
  tls_config: {ca_file: %q, server_name: example.com}
  basic_auth: {username: keeper, password_file: %q}
  static_configs: [{targets: [%q]}]
  relabel_configs:
  - {target_label: site, replacement: reef}
  metric_relabel_configs:
  - {source_labels: [__name__], regex: dropped_metric, action: drop}
`, ca, password, srv.Listener.Addr())))
	eventually(t, "the TLS target is up", func() bool { return f.rec.up("secure") })
	want := fmt.Sprintf(`{__name__="waves_total", beach="north", instance="%s", job="secure", site="reef"}`, srv.Listener.Addr())
	if got, ok := f.rec.find("waves_total")[want]; !ok || got != 7 {
		t.Errorf("got series %v, want %s 7", f.rec.find("waves_total"), want)
	}
	if got := f.rec.find("dropped_metric"); len(got) != 0 {
		t.Errorf("metric relabelling let %v through", got)
	}
	f.rec.mu.Lock()
	defer f.rec.mu.Unlock()
	if got := f.rec.meta["waves_total"]; got != "counter" {
		t.Errorf("metadata of waves_total is %q, want counter", got)
	}
}

// A dial function given to the scrape manager would break these targets.
func TestUserTargetsOnUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(exposition("on_a_socket 1\n"))
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)

	f := startDoc(t, doc(fmt.Sprintf(`
- job_name: socket
  static_configs: [{targets: [app], labels: {__unix_socket__: %q}}]
`, path)))
	eventually(t, "the unix socket target is up", func() bool { return f.rec.up("socket") && len(f.rec.find("on_a_socket")) == 1 })
}

func TestSampleLimit(t *testing.T) {
	var many strings.Builder
	for i := range 50 {
		fmt.Fprintf(&many, "m{i=\"%d\"} 1\n", i)
	}
	big := target(t, many.String())
	own := doc(staticJob("big", big) + staticJob("small", target(t, "m 1\n")) +
		strings.Replace(staticJob("allowed", target(t, many.String())), "  static", "  sample_limit: 60\n  static", 1))
	o, rec, reg := options(t, own)
	o.SamplesPerTarget = 10
	f := start(t, o, rec, reg)

	eventually(t, "the warning names the target", func() bool {
		text := f.warning("collect-sample-limit")
		return strings.Contains(text, big) && strings.Contains(text, "over 10 samples")
	})
	eventually(t, "the other jobs are up", func() bool { return f.rec.up("small") && f.rec.up("allowed") })
	if f.rec.up("big") {
		t.Error("the target over the limit is up")
	}
	if text := f.warning("collect-sample-limit"); strings.Contains(text, "allowed") {
		t.Errorf("the warning names a job with a limit of its own: %s", text)
	}
	if got := testutil.ToFloat64(f.metrics.overSampleLimit); got != 1 {
		t.Errorf("atoll_collect_targets_over_sample_limit is %v, want 1", got)
	}
	if n := counter(t, f, "prometheus_target_scrapes_exceeded_sample_limit_total"); n < 1 {
		t.Errorf("prometheus_target_scrapes_exceeded_sample_limit_total is %v, want at least 1", n)
	}
	if got := o.Prometheus.ScrapeConfigs[0].SampleLimit; got != 0 {
		t.Errorf("the user's own document now has sample_limit %d", got)
	}

	commit, _, err := f.Prepare(o.Config, load(t, doc(staticJob("small", target(t, "m 1\n")))))
	if err != nil {
		t.Fatal(err)
	}
	commit()
	eventually(t, "the warning is cleared with the job", func() bool { return f.warning("collect-sample-limit") == "" })
}

func counter(t *testing.T, f *fixture, name string) float64 {
	t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, mf := range families {
		if mf.GetName() == name {
			return mf.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestFileDiscoveryFollowsItsFile(t *testing.T) {
	first, second := target(t, "m 1\n"), target(t, "m 2\n")
	path := write(t, filepath.Join(t.TempDir(), "targets.json"), fmt.Sprintf(`[{"targets":[%q],"labels":{"tier":"a"}}]`, first))
	f := startDoc(t, doc(fmt.Sprintf("- job_name: files\n  file_sd_configs: [{files: [%q], refresh_interval: 1s}]\n", path)))
	eventually(t, "the first target is up", func() bool { return len(f.rec.find(`m"`, `tier="a"`, first)) == 1 })

	next := write(t, path+".new", fmt.Sprintf(`[{"targets":[%q],"labels":{"tier":"b"}}]`, second))
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second target is up", func() bool { return len(f.rec.find(`m"`, `tier="b"`, second)) == 1 })
	eventually(t, "the first target is gone", func() bool { return len(f.rec.find(`m"`, first)) == 0 })
}

func TestHTTPDiscovery(t *testing.T) {
	addr := target(t, "m 1\n")
	sd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `[{"targets":[%q],"labels":{"__meta_zone":"z1"}}]`, addr)
	}))
	t.Cleanup(sd.Close)
	f := startDoc(t, doc(fmt.Sprintf(`
- job_name: web
  http_sd_configs: [{url: %q}]
  relabel_configs: [{source_labels: [__meta_zone], target_label: zone}]
`, sd.URL)))
	eventually(t, "the discovered target is up", func() bool { return f.rec.up("web") && len(f.rec.find(`zone="z1"`)) > 0 })
}

// The server imitates what Consul 1.20 answers; a real Consul is not run here.
func TestConsulDiscovery(t *testing.T) {
	host, port, err := net.SplitHostPort(target(t, "m 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	block := func(w http.ResponseWriter, r *http.Request, body string) {
		w.Header().Set("X-Consul-Index", "1")
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("index") == "1" { // a blocking query: nothing changes
			select {
			case <-r.Context().Done():
			case <-stop:
			}
		}
		_, _ = io.WriteString(w, body)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/agent/self", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Config":{"Datacenter":"dc1"}}`)
	})
	mux.HandleFunc("/v1/catalog/services", func(w http.ResponseWriter, r *http.Request) { block(w, r, `{"shop":["v1"]}`) })
	mux.HandleFunc("/v1/health/service/shop", func(w http.ResponseWriter, r *http.Request) {
		block(w, r, fmt.Sprintf(`[{"Node":{"Node":"n1","Address":%q,"Datacenter":"dc1"},"Service":{"ID":"shop-1","Service":"shop","Tags":["v1"],"Address":%q,"Port":%s},"Checks":[]}]`, host, host, port))
	})
	consul := httptest.NewServer(mux)
	t.Cleanup(consul.Close)
	t.Cleanup(func() { close(stop) })

	f := startDoc(t, doc(fmt.Sprintf(`
- job_name: consul
  consul_sd_configs: [{server: %q, refresh_interval: 100ms}]
  relabel_configs: [{source_labels: [__meta_consul_service], target_label: service}]
`, consul.Listener.Addr())))
	eventually(t, "the registered service is up", func() bool { return f.rec.up("consul") && len(f.rec.find(`service="shop"`)) > 0 })
}

func TestScrapeConfigFiles(t *testing.T) {
	addr := target(t, "m 1\n")
	path := write(t, filepath.Join(t.TempDir(), "more.yml"), "scrape_configs:\n"+staticJob("more", addr))
	f := startDoc(t, fmt.Sprintf("global: {scrape_interval: 100ms, scrape_timeout: 100ms}\nscrape_config_files: [%q]\n", path))
	eventually(t, "the job of the other file is up", func() bool { return f.rec.up("more") })
}
