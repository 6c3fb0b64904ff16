package vmagent

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
)

const (
	vmagentEnv = "ATOLL_TEST_VMAGENT"
	module     = "github.com/VictoriaMetrics/VictoriaMetrics@v1.150.0"
)

var update = flag.Bool("update", false, "write "+recorded+" anew, of what vmagent makes in TestLive")

// TestLive sends one stream to a vmagent and to an island that read the same file.
func TestLive(t *testing.T) {
	agent := buildVmagent(t)
	atoll := buildAtoll(t)
	rules, err := filepath.Abs("testdata/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	const longest = 20 * time.Second // the windows of one rule
	begin := time.Now().Add(25 * time.Second).Truncate(longest).Add(longest)
	fromAgent, fromAtoll := receive(t, begin), receive(t, begin)

	dir := t.TempDir()
	config := fmt.Sprintf("aggregate:\n  rules: %s\n  remote_write:\n    - url: %s\n", rules, fromAtoll.srv.URL)
	if err := os.WriteFile(filepath.Join(dir, "atoll.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	island := start(t, atoll, "run", "--config", filepath.Join(dir, "atoll.yaml"), "--listen")
	until(t, begin.Add(-5*time.Second)) // what it sees in its first staleness_interval was there before
	vm := start(t, agent, "-remoteWrite.url="+fromAgent.srv.URL, "-remoteWrite.forcePromProto", "-remoteWrite.tmpDataPath="+filepath.Join(dir, "vmagent"),
		"-remoteWrite.streamAggr.config="+rules, "-remoteWrite.flushInterval=100ms", "-httpListenAddr")

	for _, tick := range stream() {
		until(t, begin.Add(tick[0].at))
		body := encode(t, begin, tick)
		for _, to := range []string{vm, island} {
			post(t, "http://"+to+"/api/v1/write", body)
		}
	}
	until(t, begin.Add((windows+1)*window))
	if *update {
		fromAgent.record.write(t, recorded)
	}
	compare(t, fromAgent.taken(), fromAtoll.taken())
	for _, d := range differences(read(t, recorded), fromAgent.taken()) {
		t.Errorf("vmagent is not what was recorded (as vmagent): %s", d)
	}
}

func until(t *testing.T, at time.Time) {
	t.Helper()
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func encode(t *testing.T, begin time.Time, tick []point) []byte {
	t.Helper()
	var req prompb.WriteRequest
	for _, p := range tick {
		series := prompb.TimeSeries{Samples: []prompb.Sample{{Timestamp: begin.Add(p.at).UnixMilli(), Value: p.value}}}
		p.series.Range(func(l labels.Label) {
			series.Labels = append(series.Labels, prompb.Label{Name: l.Name, Value: l.Value})
		})
		req.Timeseries = append(req.Timeseries, series)
	}
	raw, err := req.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, raw)
}

func post(t *testing.T, url string, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode/100 != 2 {
		t.Fatalf("%s: %s: %s", url, resp.Status, text)
	}
}

// receiver takes remote write 1.0.
type receiver struct {
	t     *testing.T
	srv   *httptest.Server
	begin time.Time

	mu     sync.Mutex
	record record
}

func receive(t *testing.T, begin time.Time) *receiver {
	r := &receiver{t: t, begin: begin, record: record{}}
	r.srv = httptest.NewServer(r)
	t.Cleanup(r.srv.Close)
	return r
}

func (r *receiver) taken() record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err == nil {
		body, err = snappy.Decode(nil, body)
	}
	var got prompb.WriteRequest
	if err == nil {
		err = got.Unmarshal(body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, series := range got.Timeseries {
		b := labels.NewScratchBuilder(len(series.Labels))
		for _, l := range series.Labels {
			b.Add(l.Name, l.Value)
		}
		b.Sort()
		for _, s := range series.Samples {
			if end := time.UnixMilli(s.Timestamp).Sub(r.begin); err == nil && end > 0 {
				err = r.record.add(b.Labels(), int(end.Seconds()), s.Value)
			}
		}
	}
	if err != nil {
		r.t.Error(err)
	}
	w.WriteHeader(http.StatusNoContent)
}

// start runs a program that listens at the address behind its last argument, and
// waits until it does.
func start(t *testing.T, program string, args ...string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	l.Close()
	last := args[len(args)-1]
	cmd := exec.Command(program, append(args[:len(args)-1], last+"="+addr)...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%.4000s", filepath.Base(program), log.String())
		}
	})
	for deadline := time.Now().Add(time.Minute); ; {
		resp, err := http.Get("http://" + addr + "/-/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return addr
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready: %v", program, err)
		}
		until(t, time.Now().Add(20*time.Millisecond))
	}
}

func buildAtoll(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "atoll")
	command(t, "", "go", "build", "-ldflags", "-s -w", "-o", bin, "../../cmd/atoll")
	return bin
}

// buildVmagent builds it in a copy of its module, for a module of its own decides
// about the versions of what it needs.
func buildVmagent(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(vmagentEnv)
	if dir == "" {
		t.Skipf("vmagent itself is not tried: set %s to a directory that it may be built in", vmagentEnv)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	bin, source := filepath.Join(dir, "vmagent"), filepath.Join(dir, "vmagent-source")
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(command(t, "", "go", "mod", "download", "-json", module), &downloaded); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"app/vmagent", "app/vminsert", "lib"} {
		if err := os.CopyFS(filepath.Join(source, part), os.DirFS(filepath.Join(downloaded.Dir, part))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(downloaded.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, file), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	command(t, source, "go", "build", "-mod=mod", "-ldflags", "-s -w", "-o", bin, "./app/vmagent")
	return bin
}

func command(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, wrong.String())
	}
	return out
}
