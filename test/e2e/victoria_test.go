package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// foreign returns the path of a program that `make others` builds, or skips.
func foreign(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not in PATH: `make others` builds it, in bin/others", name)
	}
	return path
}

// service runs a program of others until the test ends or it is stopped, and waits
// until it answers at url.
func service(t *testing.T, url, bin string, args ...string) (stop func()) {
	t.Helper()
	log := &logBuffer{}
	cmd := exec.Command(bin, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}
		stopped = true
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("log of %s %s:\n%s", filepath.Base(bin), args[0], log.tail(30))
		}
	})
	eventually(t, time.Minute, filepath.Base(bin)+" answers", func() error {
		_, err := fetch(http.MethodGet, url)
		return err
	})
	return stop
}

// victoria runs a VictoriaMetrics of one node and returns its address.
func victoria(t *testing.T) (addr string) {
	t.Helper()
	addr = freeAddr(t)
	service(t, "http://"+addr+"/health", foreign(t, "victoria-metrics"), "-httpListenAddr="+addr,
		"-storageDataPath="+t.TempDir(), "-retentionPeriod=1y", "-search.latencyOffset=0s")
	return addr
}

func push(t *testing.T, addr, text string) {
	t.Helper()
	resp, err := http.Post("http://"+addr+"/api/v1/import/prometheus", "text/plain", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode/100 != 2 {
		t.Fatal(resp.Status, string(body), err)
	}
}

// answers waits until an address answers expr with this one value.
func answers(t *testing.T, addr, expr, want string) {
	t.Helper()
	eventually(t, 90*time.Second, expr+" at "+addr, func() error {
		got, _, _, err := prom(t, addr).Query(context.Background(), expr, time.Now())
		if err == nil && !strings.Contains(got.String(), "=> "+want+" @") {
			err = fmt.Errorf("%s, want %s", got, want)
		}
		return err
	})
}

const (
	pastSeries  = 5
	pastSamples = 480 // one every 30 s, up to an hour ago
)

// past is what a VictoriaMetrics holds from before there was an island. The last
// label has what an exchange of texts may break.
func past() string {
	var b strings.Builder
	from := time.Now().Add(-time.Hour).UnixMilli() - pastSamples*30_000
	for s := range pastSeries {
		for i := range pastSamples {
			fmt.Fprintf(&b, "past{series=\"%d\",odd=\"a  \\\"b\\\" \\\\ \\n é\"} %v %d\n", s, float64(s)+float64(i)/8, from+int64(i)*30_000+7)
		}
	}
	return b.String()
}

// history brings it to where an island will keep its blocks, with the commands of
// docs/storage.md.
func history(t *testing.T, victoria, store string) {
	t.Helper()
	script := `set -e
(curl -fsG http://$VICTORIA/api/v1/export -d format=prometheus --data-urlencode 'match[]={__name__!=""}' |
  sed 's/...$/.&/'; echo '# EOF') > history.om
promtool tsdb create-blocks-from openmetrics history.om $STORE`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "VICTORIA="+victoria, "STORE="+store)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestVictoriaMetrics: each way between an island and a VictoriaMetrics that
// docs/storage.md names leads there, with all that was sent.
func TestVictoriaMetrics(t *testing.T) {
	for _, name := range []string{"victoria-metrics", "vmagent", "vmalert", "vmctl"} {
		foreign(t, name)
	}
	tool(t, "promtool", "prometheus")
	old := victoria(t)
	push(t, old, past())
	answers(t, old, `count(count_over_time(past[6h]))`, fmt.Sprint(pastSeries))

	i := newIsland(t, quiet+fmt.Sprintf(`
island: {name: eu-1, labels: {region: eu}}
http: {admin_api: true}
prometheus:
  remote_write:
    - url: http://%s/api/v1/write
      queue_config: {batch_send_deadline: 500ms}
  scrape_configs:
    - job_name: victoria
      scrape_interval: 1s
      scrape_timeout: 1s
      honor_labels: true
      metrics_path: /federate
      params: {"match[]": ['{__name__="kept_there"}']}
      static_configs: [{targets: ["%s"]}]
`, old, old))
	history(t, old, filepath.Join(i.dir, "data", "tsdb"))
	i.up()
	counted := fmt.Sprint(pastSeries * pastSamples)
	sum := fmt.Sprint(pastSamples*(0+1+2+3+4) + pastSeries*pastSamples*(pastSamples-1)/2/8)

	t.Run("history", func(t *testing.T) {
		answers(t, i.addr, `sum(count_over_time(past{odd="a  \"b\" \\ \n é"}[6h]))`, counted)
		answers(t, i.addr, `sum(sum_over_time(past[6h]))`, sum)
	})
	t.Run("federation", func(t *testing.T) {
		push(t, old, fmt.Sprintf("kept_there{instance=\"db\"} 7 %d\n", time.Now().UnixMilli()))
		answers(t, i.addr, `sum(last_over_time(kept_there{instance="db"}[5m]))`, "7")
	})
	t.Run("remote write", func(t *testing.T) {
		w := newWriter(t, i, 10)
		begin := time.Now().UnixMilli()
		for n := range int64(20) {
			if err := w.send(begin + n); err != nil {
				t.Fatal(err)
			}
		}
		answers(t, old, `sum(count_over_time(e2e_sample{island="eu-1",region="eu"}[1h]))`, fmt.Sprint(len(w.acked)*w.series))
	})
	t.Run("vmagent", func(t *testing.T) {
		agent := freeAddr(t)
		service(t, "http://"+agent+"/health", foreign(t, "vmagent"), "-httpListenAddr="+agent, "-remoteWrite.tmpDataPath="+t.TempDir(),
			"-remoteWrite.url="+i.url("/api/v1/write"))
		push(t, agent, `through{agent="yes"} 42`)
		answers(t, i.addr, `sum(last_over_time(through{agent="yes"}[5m]))`, "42")
	})
	t.Run("vmalert", func(t *testing.T) {
		i.write("rules.yml", "groups:\n- name: theirs\n  interval: 1s\n  rules:\n  - {record: 'vmalert:sum', expr: 'sum(count_over_time(past[6h]))'}\n  - {alert: Theirs, expr: 'vector(1)'}\n")
		addr := freeAddr(t)
		service(t, "http://"+addr+"/health", foreign(t, "vmalert"), "-httpListenAddr="+addr, "-rule="+filepath.Join(i.dir, "rules.yml"),
			"-datasource.url=http://"+i.addr, "-remoteWrite.url=http://"+i.addr, "-notifier.url=http://"+i.addr)
		answers(t, i.addr, `last_over_time(vmalert:sum[5m])`, counted)
		eventually(t, time.Minute, "the alert is here", func() error {
			body, err := i.get("/api/v2/alerts")
			if err == nil && !strings.Contains(body, `"alertname":"Theirs"`) {
				err = fmt.Errorf("alerts: %s", body)
			}
			return err
		})
	})
	t.Run("vmctl", func(t *testing.T) { moveOut(t, i, counted, sum) })
}

// moveOut has vmctl bring what the island has to an empty VictoriaMetrics, from a
// snapshot and by remote read.
func moveOut(t *testing.T, i *island, counted, sum string) {
	if _, err := i.post("/api/v1/admin/tsdb/snapshot"); err != nil {
		t.Fatal(err)
	}
	snapshots, err := filepath.Glob(filepath.Join(i.dir, "data", "tsdb", "snapshots", "*"))
	if err != nil || len(snapshots) != 1 {
		t.Fatal(snapshots, err)
	}
	to := victoria(t)
	output(t, i.dir, foreign(t, "vmctl"), "prometheus", "-s", "--disable-progress-bar", "--prom-snapshot="+snapshots[0],
		"--vm-addr=http://"+to, "--vm-extra-label=island=eu-1")
	answers(t, to, `sum(count_over_time(past{island="eu-1"}[6h]))`, counted)
	answers(t, to, `sum(sum_over_time(past{island="eu-1"}[6h]))`, sum)
	to = victoria(t)
	output(t, i.dir, foreign(t, "vmctl"), "remote-read", "-s", "--disable-progress-bar", "--remote-read-src-addr=http://"+i.addr,
		"--remote-read-step-interval=hour", "--remote-read-filter-time-start="+time.Now().UTC().Add(-6*time.Hour).Format(time.RFC3339), "--vm-addr=http://"+to)
	answers(t, to, `sum(count_over_time(past{island="eu-1"}[6h]))`, counted)
	answers(t, to, `sum(sum_over_time(past{island="eu-1"}[6h]))`, sum)
}
