package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/island"
)

// TestMain is an island's process as well: the demo starts them from its own program,
// which is this one in tests.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "demo" && os.Args[2] == "--island" {
		if err := runIsland(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func runIsland(path string) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	i, err := island.New(island.Options{
		Config: cfg, Load: func() (*config.Config, error) { return config.Load(path) },
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Version: "test",
	})
	if err != nil {
		return err
	}
	return i.Run(ctx)
}

// terminal is what the demo printed so far.
type terminal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *terminal) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(b)
}

func (t *terminal) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// waitFor polls until ok; the deadline only bounds a failure.
func waitFor(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(limit)
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// fakeIsland serves /-/ready on the address that the configuration names.
func fakeIsland(t *testing.T) func(ctx context.Context, dir, configPath string) error {
	return func(ctx context.Context, dir, configPath string) error {
		text, err := os.ReadFile(configPath)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(configPath, dir) {
			t.Errorf("configuration %s is not under %s", configPath, dir)
		}
		m := regexp.MustCompile(`listen: \["([^"]+)"\]`).FindSubmatch(text)
		if m == nil {
			t.Errorf("no address in:\n%s", text)
			return errors.New("no address")
		}
		srv := &http.Server{Addr: string(m[1]), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/-/ready" {
				http.NotFound(w, r)
			}
		})}
		done := make(chan error, 1)
		go func() { done <- srv.ListenAndServe() }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			_ = srv.Close()
			<-done
			return nil
		}
	}
}

func TestRunLeavesNothingBehind(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	out := &terminal{}
	d, err := New(Options{Listen: "127.0.0.1:0", Out: out, start: fakeIsland(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	waitFor(t, "the welcome", 20*time.Second, func() bool { return strings.Contains(out.String(), "Ctrl-C") })

	shop := regexp.MustCompile(`frontend +(http://[^/]+/metrics)`).FindStringSubmatch(out.String())
	if shop == nil {
		t.Fatalf("the welcome names no frontend:\n%s", out)
	}
	waitFor(t, "traffic", 20*time.Second, func() bool { return strings.Contains(get(t, shop[1]), "shop_http_requests_total{") })
	if entries, err := os.ReadDir(os.TempDir()); err != nil || len(entries) != 1 {
		t.Fatalf("temporary directories %v, %v", entries, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if entries, err := os.ReadDir(os.TempDir()); err != nil || len(entries) != 0 {
		t.Errorf("left behind %v, %v", entries, err)
	}
	if !strings.Contains(out.String(), "Stopped. Removed "+os.TempDir()) {
		t.Errorf("does not say what was removed:\n%s", out)
	}
	if resp, err := http.Get(shop[1]); err == nil {
		resp.Body.Close()
		t.Error("the shop still answers")
	}
	http.DefaultClient.CloseIdleConnections()
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestRunReportsAnIslandThatFails(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	broken := errors.New("the disk is on fire")
	for name, start := range map[string]func(context.Context, string, string) error{
		"at once": func(context.Context, string, string) error { return broken },
		"later": func(ctx context.Context, dir, path string) error {
			ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
			return errors.Join(fakeIsland(t)(ctx, dir, path), broken)
		},
	} {
		out := &terminal{}
		d, err := New(Options{Listen: "127.0.0.1:0", Out: out, start: start})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("%s: Run: %v", name, err)
		}
		if entries, _ := os.ReadDir(os.TempDir()); len(entries) != 0 {
			t.Errorf("%s: left behind %v", name, entries)
		}
	}
}

func TestRunKeepsAGivenDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	out := &terminal{}
	d, err := New(Options{Listen: "127.0.0.1:0", Dir: dir, Out: out, start: fakeIsland(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // Ctrl-C before it is ready must stop it as well
	if err := d.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	for _, name := range []string{"atoll.yaml", "modules.yaml", "authority.pem", logFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(out.String(), "Kept "+dir) {
		t.Errorf("does not say what was kept:\n%s", out)
	}
}

func TestFreeAddrTakesTheNext(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	want := taken.Addr().(*net.TCPAddr)
	addrs, err := freeAddrs(want.String(), 2)
	if err != nil {
		t.Fatal(err)
	}
	got := addrs[0]
	if addrs[1] == got {
		t.Errorf("twice the same: %v", addrs)
	}
	host, port, err := net.SplitHostPort(got)
	if err != nil || host != "127.0.0.1" || got == want.String() {
		t.Errorf("%s, %v; want another port than %s", got, err, want)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		t.Fatalf("%s is not free: %v", got, err)
	}
	l.Close()
	if _, err := freeAddrs("192.0.2.1:59080", 1); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("an address of another machine: %v", err)
	}
}

func TestOptions(t *testing.T) {
	d, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if o := d.opts; o.Listen != "127.0.0.1:59080" || o.BurstEvery != 4*time.Minute || o.BurstFor != time.Minute || o.Out != os.Stdout {
		t.Errorf("defaults %+v", o)
	}
	for want, o := range map[string]Options{
		`listen address "here"`:         {Listen: "here"},
		"must not be negative":          {BurstEvery: -1},
		"must end before the next":      {BurstEvery: time.Minute, BurstFor: time.Minute},
		"bursts every 30s for 1m0s: a ": {BurstEvery: 30 * time.Second},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
