package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// binary is bin/atoll, built once by TestMain with the flags of a release.
var binary string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "atoll-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "atoll")
	build := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=e2e", "-o", binary, "../../cmd/atoll")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build atoll:", err)
		return 1
	}
	return m.Run()
}

// island is one atoll process and how to reach it.
type island struct {
	t    *testing.T
	dir  string // holds atoll.yaml and data/
	addr string // host:port
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{}
}

// newIsland writes config to a fresh directory; start runs it.
func newIsland(t *testing.T, config string) *island {
	t.Helper()
	return newIslandIn(t, t.TempDir(), config)
}

func newIslandIn(t *testing.T, dir, config string) *island {
	t.Helper()
	i := &island{t: t, dir: dir, addr: freeAddr(t), log: &logBuffer{}}
	i.write("atoll.yaml", config)
	t.Cleanup(func() {
		i.kill()
		if t.Failed() {
			t.Logf("log of the island in %s:\n%s", i.dir, i.log.tail(60))
		}
	})
	return i
}

func (i *island) write(name, content string) {
	i.t.Helper()
	if err := os.WriteFile(filepath.Join(i.dir, name), []byte(content), 0o644); err != nil {
		i.t.Fatal(err)
	}
}

// start runs the process and returns at once.
func (i *island) start(args ...string) {
	i.t.Helper()
	if len(args) == 0 {
		args = []string{"--config", "atoll.yaml"}
	}
	i.cmd = exec.Command(binary, append([]string{"run", "--listen", i.addr}, args...)...)
	i.launch()
}

func (i *island) launch() {
	i.t.Helper()
	i.cmd.Dir = i.dir
	i.cmd.Stdout, i.cmd.Stderr = i.log, i.log
	if err := i.cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	i.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(done)
	}(i.cmd, i.done)
}

// up starts the process and waits until it is ready.
func (i *island) up(args ...string) *island {
	i.t.Helper()
	i.start(args...)
	i.waitReady()
	return i
}

func (i *island) waitReady() {
	i.t.Helper()
	eventually(i.t, time.Minute, "ready", func() error {
		select {
		case <-i.done:
			i.t.Fatalf("atoll ended while starting: %v", i.cmd.ProcessState)
		default:
		}
		_, err := i.get("/-/ready")
		return err
	})
}

// kill ends the process as a power cut would.
func (i *island) kill() {
	if i.cmd == nil || i.cmd.Process == nil {
		return
	}
	_ = i.cmd.Process.Kill() // it may be gone already
	<-i.done
}

// stop asks the process to end and waits; it must end with code 0.
func (i *island) stop() {
	i.t.Helper()
	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		i.t.Fatal(err)
	}
	select {
	case <-i.done:
	case <-time.After(time.Minute):
		i.t.Fatal("atoll did not stop within a minute of SIGTERM")
	}
	if code := i.cmd.ProcessState.ExitCode(); code != 0 {
		i.t.Fatalf("atoll ended with code %d after SIGTERM", code)
	}
}

func (i *island) url(path string) string { return "http://" + i.addr + path }

func (i *island) get(path string) (string, error) {
	return fetch(http.MethodGet, i.url(path))
}

func (i *island) post(path string) (string, error) {
	return fetch(http.MethodPost, i.url(path))
}

// fetch returns the body, and an error that carries it for any code but 2xx.
func fetch(method, url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode/100 != 2 {
		return string(body), fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}

// prom is a client for anything that speaks Prometheus' HTTP API.
func prom(t *testing.T, addr string) v1.API {
	t.Helper()
	c, err := api.NewClient(api.Config{Address: "http://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	return v1.NewAPI(c)
}

// value evaluates expr now and returns its one value.
func (i *island) value(expr string) (float64, error) {
	v, _, _, err := prom(i.t, i.addr).Query(context.Background(), expr, time.Now())
	if err != nil {
		return 0, err
	}
	vec, ok := v.(model.Vector)
	if !ok || len(vec) != 1 {
		return 0, fmt.Errorf("%s = %v, want one value", expr, v)
	}
	return float64(vec[0].Value), nil
}

// waitValue waits until expr has one value that satisfies ok.
func (i *island) waitValue(within time.Duration, expr string, ok func(float64) bool) {
	i.t.Helper()
	eventually(i.t, within, expr, func() error {
		v, err := i.value(expr)
		if err == nil && !ok(v) {
			err = fmt.Errorf("%s = %v", expr, v)
		}
		return err
	})
}

func atLeast(want float64) func(float64) bool { return func(v float64) bool { return v >= want } }
func exactly(want float64) func(float64) bool { return func(v float64) bool { return v == want } }

// warnings returns the codes of the active health warnings with their texts.
func (i *island) warnings() map[string]string {
	i.t.Helper()
	body, err := i.get("/api/atoll/v1/health")
	if err != nil {
		i.t.Fatal(err)
	}
	var answer struct {
		Active []struct{ Code, Text string }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		i.t.Fatalf("decode %s: %v", body, err)
	}
	out := map[string]string{}
	for _, w := range answer.Active {
		out[w.Code] = w.Text
	}
	return out
}

// eventually polls until check returns nil; the last error is the failure.
func eventually(t *testing.T, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("not %s within %s: %v", what, within, err)
		case <-tick.C:
		}
	}
}

// freeAddr finds a port that was free a moment ago. Processes that are killed
// and come back must keep their address, so port 0 will not do.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// tool returns the path of a program of others, or skips and says how to get it.
func tool(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: apt-get install %s", name, pkg)
	}
	return path
}

func needRoot(t *testing.T, why string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("needs root: %s", why)
	}
}

// logBuffer collects what processes print, while it may be read.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) tail(n int) string {
	lines := strings.Split(b.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
