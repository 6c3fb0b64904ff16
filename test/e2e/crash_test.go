package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// quiet switches off what a test about other things does not need.
const quiet = `
collect:
  host: {enabled: false}
  cgroup: {enabled: false}
`

const killRounds = 20

// TestKillNine kills the island at random moments while one client writes into
// it and a real Prometheus remote-writes into it. Every sample that the client
// saw acknowledged, and everything that Prometheus holds, must be there.
func TestKillNine(t *testing.T) {
	prometheus := tool(t, "prometheus", "prometheus")
	i := newIsland(t, quiet)
	i.up()
	source := startPrometheus(t, prometheus, i)
	w := newWriter(t, i, 50)

	seed := uint64(time.Now().UnixNano())
	t.Logf("random seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ts := time.Now().UnixMilli()
	for range killRounds {
		life := time.Now().Add(time.Duration(200+random.IntN(1000)) * time.Millisecond)
		killed := make(chan struct{})
		time.AfterFunc(time.Until(life), func() { i.kill(); close(killed) })
		for done := false; !done; {
			ts += 5
			// An error is a write that was not acknowledged: nothing is promised.
			if err := w.send(ts); errors.Is(err, errRefused) && strings.Contains(err.Error(), " 400 ") {
				t.Fatal(err) // a bad request is our mistake, not the crash's
			}
			select {
			case <-killed:
				done = true
			default:
			}
		}
		i.up()
	}
	t.Logf("%d acknowledged batches of %d samples over %d kills", len(w.acked), w.series, killRounds)
	if len(w.acked) < killRounds {
		t.Fatalf("only %d batches were acknowledged: the test tests nothing", len(w.acked))
	}
	w.verify(i)
	verifyReplica(t, source, i)

	i.stop()
	i.up()
	w.verify(i)
}

// startPrometheus runs a real Prometheus that scrapes a counter every second
// and remote-writes into the island. It returns its address.
func startPrometheus(t *testing.T, bin string, into *island) string {
	t.Helper()
	var n atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		v := n.Add(1)
		for s := range 100 {
			fmt.Fprintf(w, "source_sample{series=\"%d\"} %d\n", s, v*1000+int64(s))
		}
	}))
	t.Cleanup(target.Close)
	dir := t.TempDir()
	config := fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: source
    static_configs: [{targets: ["%s"]}]
remote_write:
  - url: %s
    queue_config: {min_backoff: 50ms, max_backoff: 500ms, batch_send_deadline: 500ms}
`, strings.TrimPrefix(target.URL, "http://"), into.url("/api/v1/write"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	var log logBuffer
	cmd := exec.Command(bin, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+addr)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("log of Prometheus:\n%s", log.tail(30))
		}
	})
	eventually(t, time.Minute, "Prometheus ready", func() error {
		_, err := fetch(http.MethodGet, "http://"+addr+"/-/ready")
		return err
	})
	return addr
}

// verifyReplica waits until everything that Prometheus holds is on the island,
// value by value.
func verifyReplica(t *testing.T, source string, i *island) {
	t.Helper()
	cut := time.Now()
	read := func(addr string) (map[string]int, error) {
		v, _, _, err := prom(t, addr).Query(context.Background(), `source_sample[1h]`, cut)
		if err != nil {
			return nil, err
		}
		out := map[string]int{}
		for _, s := range v.(model.Matrix) {
			for _, p := range s.Values {
				out[fmt.Sprint(s.Metric["series"], "@", int64(p.Timestamp), "=", p.Value)]++
			}
		}
		return out, nil
	}
	want, err := read(source)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 100 {
		t.Fatalf("Prometheus holds %d samples: the test tests nothing", len(want))
	}
	eventually(t, time.Minute, "in step with Prometheus", func() error {
		got, err := read(i.addr)
		if err != nil {
			return err
		}
		missing := 0
		for k := range want {
			if got[k] == 0 {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d samples are missing", missing, len(want))
		}
		return nil
	})
	t.Logf("all %d samples of Prometheus arrived", len(want))
}
