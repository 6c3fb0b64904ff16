package island

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/config"
)

// specimen is an island in this process and its configuration file.
type specimen struct {
	*Island
	t    *testing.T
	file string
	stop func() error
}

func newSpecimen(t *testing.T, yaml string) *specimen {
	t.Helper()
	s := &specimen{t: t, file: filepath.Join(t.TempDir(), "atoll.yaml")}
	s.write(yaml)
	load := func() (*config.Config, error) { return config.Load(s.file) }
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	s.Island, err = New(Options{Config: cfg, Load: load, Logger: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *specimen) write(yaml string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(yaml), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *specimen) run() *specimen {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	s.stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	s.t.Cleanup(func() { _ = s.stop() })
	select {
	case <-s.Ready():
	case err := <-done:
		ended = true
		s.t.Fatalf("the island ended while starting: %v", err)
	}
	return s
}

func (s *specimen) ask(path string) string {
	s.t.Helper()
	resp, err := http.Get("http://" + s.Addr() + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s %s (%v)", path, resp.Status, body, err)
	}
	return string(body)
}

func lone(name string, more ...string) string {
	return fmt.Sprintf(`
island: {name: %s, data_dir: data}
http: {listen: ["127.0.0.1:0"]}
collect:
  host: {enabled: false}
  cgroup: {enabled: false}
  self: {interval: 1s}
%s`, name, strings.Join(more, "\n"))
}

// TestTwoIslands runs two in one process: no global state makes them meet, and
// neither leaves a goroutine behind.
func TestTwoIslands(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer http.DefaultClient.CloseIdleConnections()
	a, b := newSpecimen(t, lone("a")).run(), newSpecimen(t, lone("b")).run()
	for _, s := range []*specimen{a, b} {
		name := s.Config().Island.Name
		for deadline := time.Now().Add(30 * time.Second); ; {
			body := s.ask("/api/v1/query?query=up")
			if strings.Contains(body, `"instance":"`+name+`"`) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("island %s never saw itself up: %s", name, body)
			}
			<-time.After(50 * time.Millisecond)
		}
		if status := s.ask("/api/atoll/v1/status"); !strings.Contains(status, `"name":"`+name+`"`) {
			t.Errorf("status of %s: %s", name, status)
		}
	}
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	b.ask("/-/healthy")
	if err := b.stop(); err != nil {
		t.Error(err)
	}
}

// TestReloadIsWholeOrNothing offers one change that could be taken over together
// with some that cannot.
func TestReloadIsWholeOrNothing(t *testing.T) {
	s := newSpecimen(t, lone("a")).run()
	before := s.Config()

	s.write(strings.Replace(lone("other", "query: {timeout: 7s}", "store: {wal_compression: zstd}"), "self: {interval: 1s}", "receive: {otlp: {enabled: false}}", 1))
	err := s.Reload(t.Context())
	if err == nil {
		t.Fatal("the reload went through")
	}
	for _, want := range []string{"island.name", `"a"`, `"other"`, "wal_compression", "collect.receive"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the refusal does not name %s:\n%v", want, err)
		}
	}
	if s.Config() != before || s.getRooms().query.Config().Timeout == 7_000_000_000 {
		t.Error("a part of the refused configuration is in force")
	}
	if last := s.status().Config.LastReload; last == nil || last.OK || last.Error != err.Error() {
		t.Errorf("status says %+v of the refused reload", last)
	}

	s.write(lone("a", "query: {timeout: 7s}"))
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.getRooms().query.Config().Timeout; time.Duration(got) != 7*time.Second {
		t.Errorf("timeout %s after the reload, want 7s", got)
	}
}

// TestFailedStart gives everything back: the address can be taken at once.
func TestFailedStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	s := newSpecimen(t, strings.Replace(lone("a"), "127.0.0.1:0", addr, 1))
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.file), "data"), []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "data") {
		t.Errorf("started with a file where the data directory should be: %v", err)
	}
	l, err = net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the address was not given back: %v", err)
	}
	l.Close()
}

// TestStopWhileStarting is a Ctrl-C at the earliest moment.
func TestStopWhileStarting(t *testing.T) {
	s := newSpecimen(t, lone("a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("a stop that was asked for is no error: %v", err)
	}
}

// TestWatch sees a file replaced by renaming, and one that appears later.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	if err := os.WriteFile(one, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 8)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	started := make(chan struct{}, 8)
	go func() {
		done <- watch(ctx, func() []string {
			select {
			case started <- struct{}{}:
			default:
			}
			return []string{one, two}
		}, func() { changed <- struct{}{} })
	}()
	<-started
	<-started // the first digest follows the second call, at some time
	replace := func(path, content string) {
		t.Helper()
		for try := range 30 {
			content += strings.Repeat("!", try)
			if err := os.WriteFile(path+".tmp", []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".tmp", path); err != nil {
				t.Fatal(err)
			}
			select {
			case <-changed:
				return
			case <-time.After(2 * time.Second): // it may have been in the first digest
			}
		}
		t.Fatalf("nobody noticed the change of %s", path)
	}
	replace(one, "a longer content")
	replace(two, "new")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
