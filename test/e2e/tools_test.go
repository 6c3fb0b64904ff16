package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
)

// output runs a program and returns what it printed; any exit code but 0 fails.
func output(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out, err := run(dir, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func run(dir, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}

// TestNoConfiguration is the first minute of a new user.
func TestNoConfiguration(t *testing.T) {
	i := newIsland(t, "")
	i.up("--data-dir", "data")
	i.waitValue(time.Minute, `count(up == 1)`, atLeast(2))
	i.waitValue(time.Minute, `count(node_cpu_seconds_total)`, atLeast(8))
	i.waitValue(time.Minute, `count(go_goroutines)`, atLeast(1))
	i.waitValue(time.Minute, `count(container_cpu_usage_seconds_total)`, atLeast(1))

	contains(t, output(t, i.dir, binary, "query", "-u", i.url(""), "up"), "node", "atoll")
	contains(t, output(t, i.dir, binary, "query", "-u", i.url(""), "up", "-f", "csv"), "job", ",")
	contains(t, output(t, i.dir, binary, "query", "-u", i.url(""), "up", "-r", "5m", "--step", "15s"), "up")
	if !json.Valid([]byte(output(t, i.dir, binary, "query", "-u", i.url(""), "up", "-f", "json"))) {
		t.Error("query -f json prints no JSON")
	}
	if out, err := run(i.dir, binary, "query", "-u", i.url(""), "up{"); err == nil || !strings.Contains(out, "parse error") {
		t.Errorf("a bad expression: %v, %s", err, out)
	}
	status, err := run(i.dir, binary, "status", "-u", i.url(""))
	contains(t, status, "ready", "store", "running")
	if err != nil && !strings.Contains(status, "to do:") {
		t.Errorf("status says trouble (%v) but not what to do:\n%s", err, status)
	}
	i.stop()
	if out, err := run(i.dir, binary, "status", "-u", i.url("")); err == nil || !strings.Contains(out, "is the island running there?") {
		t.Errorf("status of a stopped island: %v, %s", err, out)
	}
}

// TestPrometheusConfig runs a prometheus.yml as it is: password, relabelling,
// rules, external labels.
func TestPrometheusConfig(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "scraper" || pass != "secret" {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		fmt.Fprintln(w, "# TYPE requests_total counter\nrequests_total{path=\"/a\"} 7\ndropped_metric 1")
	}))
	defer target.Close()
	i := newIsland(t, "")
	i.write("rules.yml", `
groups:
  - name: shop
    interval: 1s
    rules:
      - record: requests:double
        expr: requests_total * 2
      - alert: TooMany
        expr: requests_total > 5
        labels: {severity: page}
        annotations: {summary: "{{ $labels.path }} has {{ $value }}"}
`)
	i.write("password", "secret")
	i.write("prometheus.yml", fmt.Sprintf(`
global: {scrape_interval: 1s, external_labels: {region: eu}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: app
    basic_auth: {username: scraper, password_file: password}
    static_configs: [{targets: ["%s"], labels: {team: shop}}]
    relabel_configs:
      - {source_labels: [__address__], target_label: instance, replacement: app-1}
    metric_relabel_configs:
      - {source_labels: [__name__], regex: dropped_.*, action: drop}
`, strings.TrimPrefix(target.URL, "http://")))
	i.up("--prometheus-config", "prometheus.yml")
	i.waitValue(30*time.Second, `requests_total{job="app",instance="app-1",team="shop"}`, exactly(7))
	i.waitValue(30*time.Second, `requests:double`, exactly(14))
	i.waitValue(30*time.Second, `ALERTS{alertname="TooMany",alertstate="firing"}`, exactly(1))
	if v, err := i.value(`count(dropped_metric)`); err == nil {
		t.Errorf("dropped_metric is there: %v", v)
	}
	eventually(t, 30*time.Second, "alert in the Alertmanager API", func() error {
		body, err := i.get("/api/v2/alerts")
		if err == nil && !strings.Contains(body, `"summary":"/a has 7"`) {
			err = fmt.Errorf("alerts: %s", body)
		}
		return err
	})
	api := prom(t, i.addr)
	if rules, err := api.Rules(context.Background(), nil); err != nil || len(rules.Groups) != 1 || len(rules.Groups[0].Rules) != 2 {
		t.Errorf("rules %+v, %v", rules, err)
	}
	if targets, err := api.Targets(context.Background()); err != nil || len(targets.Active) == 0 {
		t.Errorf("targets %+v, %v", targets, err)
	}
	if body, err := i.get("/federate?match[]=requests_total"); err != nil || !strings.Contains(body, `region="eu"`) {
		t.Errorf("federate: %v\n%s", err, body)
	}
}

// TestPromtool lets promtool ask the island what it asks a Prometheus.
func TestPromtool(t *testing.T) {
	promtool := tool(t, "promtool", "prometheus")
	i := newIsland(t, quiet)
	i.up()
	fill(t, i, 30)
	contains(t, output(t, i.dir, promtool, "query", "instant", i.url(""), `count(e2e_sample)`), "20")
	end := time.Now().Format(time.RFC3339)
	start := time.Now().Add(-time.Minute).Format(time.RFC3339)
	contains(t, output(t, i.dir, promtool, "query", "range", "--start="+start, "--end="+end, "--step=1s", i.url(""), `e2e_sample{series="3"}`), `series="3"`)
	contains(t, output(t, i.dir, promtool, "query", "series", "--match=e2e_sample", i.url("")), `series="0"`)
	contains(t, output(t, i.dir, promtool, "query", "labels", i.url(""), "series"), "19")
}

// TestCheckRules finds what promtool check rules finds, with positions.
func TestCheckRules(t *testing.T) {
	i := newIsland(t, "")
	i.write("good.yml", "groups:\n  - name: a\n    rules:\n      - record: x:y\n        expr: sum(up)\n")
	i.write("bad.yml", "groups:\n  - name: a\n    rules:\n      - record: x:y\n        expr: sum(up\n      - alert: A\n        expr: up\n        fro: 5m\n")
	contains(t, output(t, i.dir, binary, "check", "good.yml"), "good.yml: ok")
	out, err := run(i.dir, binary, "check", "bad.yml")
	if err == nil {
		t.Error("check of a bad rule file succeeds")
	}
	contains(t, out, "bad.yml:5:", "bad.yml:8:", "fro")
}

// TestAmtool lets amtool work with the embedded Alertmanager.
func TestAmtool(t *testing.T) {
	amtool := tool(t, "amtool", "prometheus-alertmanager")
	received := make(chan string, 16)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n struct {
			Status string
			Alerts []struct{ Labels map[string]string }
		}
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, a := range n.Alerts {
			received <- n.Status + " " + a.Labels["alertname"]
		}
	}))
	defer hook.Close()
	i := newIsland(t, quiet+fmt.Sprintf(`
alert:
  alertmanager:
    route: {receiver: hook, group_by: [alertname], group_wait: 1s, group_interval: 1s}
    receivers: [{name: hook, webhook_configs: [{url: "%s"}]}]
`, hook.URL))
	i.up()
	am := "--alertmanager.url=" + i.url("")
	output(t, i.dir, amtool, am, "silence", "add", "alertname=Muted", "--comment=test", "--duration=1h", "--author=me")
	contains(t, output(t, i.dir, amtool, am, "silence", "query"), "Muted")
	output(t, i.dir, amtool, am, "alert", "add", "Muted", "severity=page")
	output(t, i.dir, amtool, am, "alert", "add", "Loud", "severity=page")
	select {
	case got := <-received:
		if got != "firing Loud" {
			t.Errorf("notified %q, want firing Loud", got)
		}
	case <-time.After(30 * time.Second):
		t.Error("no notification")
	}
	contains(t, output(t, i.dir, amtool, am, "alert", "query"), "Loud")
	contains(t, output(t, i.dir, amtool, am, "config", "show"), "hook")

	i.kill() // silences survive
	i.up()
	contains(t, output(t, i.dir, amtool, am, "silence", "query"), "Muted")
}

// TestRemoteWriteOut sends to a real Prometheus that is away for a while, and
// restarts in between: nothing is lost.
func TestRemoteWriteOut(t *testing.T) {
	prometheus := tool(t, "prometheus", "prometheus")
	dir := t.TempDir()
	addr := freeAddr(t)
	if _, err := run(dir, "touch", "prometheus.yml"); err != nil {
		t.Fatal(err)
	}
	receiver := func() *exec.Cmd {
		cmd := exec.Command(prometheus, "--config.file=prometheus.yml", "--web.enable-remote-write-receiver",
			"--web.listen-address="+addr, "--storage.tsdb.path="+filepath.Join(dir, "data"))
		cmd.Dir = dir
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		eventually(t, time.Minute, "Prometheus ready", func() error {
			_, err := fetch(http.MethodGet, "http://"+addr+"/-/ready")
			return err
		})
		return cmd
	}
	i := newIsland(t, quiet+fmt.Sprintf(`
island: {name: eu-1}
prometheus:
  remote_write:
    - url: http://%s/api/v1/write
      queue_config: {min_backoff: 50ms, max_backoff: 500ms, batch_send_deadline: 500ms}
`, addr))
	cmd := receiver()
	i.up()
	w := newWriter(t, i, 10)
	send := func(n int) {
		for range n {
			if err := w.send(time.Now().UnixMilli()); err != nil {
				t.Fatal(err)
			}
		}
	}
	arrived := func() {
		t.Helper()
		want := len(w.acked) * w.series
		eventually(t, 90*time.Second, "all samples at the receiver", func() error {
			got, _, _, err := prom(t, addr).Query(context.Background(), `sum(count_over_time(e2e_sample[1h]))`, time.Now(), v1.WithTimeout(10*time.Second))
			if err == nil && !strings.Contains(got.String(), fmt.Sprintf("=> %d @", want)) {
				err = fmt.Errorf("%s, want %d", got, want)
			}
			return err
		})
	}
	send(20)
	arrived()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	send(20)
	i.stop()
	i.up()
	send(20)
	i.kill()
	i.up()
	receiver()
	send(20)
	arrived()
}
