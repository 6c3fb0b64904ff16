package mesh

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// binary is atoll as it is released, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if os.Getenv(intruderVariable) != "" || os.Getenv(colonyVariable) != "" {
		return m.Run() // this is a process that a test started
	}
	if binary = os.Getenv("ATOLL_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "atoll-mesh")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "atoll")
	build := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=lab", "-o", binary, "../../cmd/atoll")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build atoll:", err)
		return 1
	}
	return m.Run()
}

// long reports whether tests may take minutes.
func long() bool { return os.Getenv("ATOLL_LONG") != "" }

// site is one island process on a host of the lab.
type site struct {
	t      *testing.T
	name   string
	region string
	node   *lab.Node
	dir    string
	flags  []string // of atoll run
	cmd    *exec.Cmd
	log    *logBuffer
	done   chan struct{}
	off    *time.Duration // of its clock, nil for the machine's own
	clock  *lab.Clock
}

// spare keeps what these tests do not look at from costing CPU.
const spare = `
island: {name: %s, labels: {region: %s}}
log: {level: debug}
collect: {host: {enabled: false}, cgroup: {enabled: false}}
mesh:
%s`

// newSite writes the configuration of an island; more is added to its mesh section.
func newSite(t *testing.T, node *lab.Node, region string, more ...string) *site {
	t.Helper()
	s := &site{t: t, name: node.Name(), region: region, node: node, dir: t.TempDir(), log: &logBuffer{}}
	if !strings.Contains(strings.Join(more, "\n"), "mdns:") {
		more = append(more, "mdns: false")
	}
	s.configure(more...)
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", s.name, s.log.tail(40))
		}
	})
	return s
}

// configure writes the configuration.
func (s *site) configure(mesh ...string) {
	s.t.Helper()
	text := fmt.Sprintf(spare, s.name, s.region, "  "+strings.Join(mesh, "\n  ")+"\n")
	if err := os.WriteFile(filepath.Join(s.dir, "atoll.yaml"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// with adds sections to the configuration.
func (s *site) with(yaml string) *site {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.dir, "atoll.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(yaml + "\n"); err != nil {
		s.t.Fatal(err)
	}
	return s
}

func (s *site) data() string { return filepath.Join(s.dir, "data") }

// start runs the island and returns at once.
func (s *site) start() {
	s.t.Helper()
	args := append([]string{"run", "-c", "atoll.yaml"}, s.flags...)
	run := func() error { return s.cmd.Start() }
	if s.off == nil {
		s.cmd = s.node.Command(context.Background(), binary, args...)
	} else {
		s.cmd = exec.Command(binary, args...)
		run = func() (err error) {
			s.clock, err = s.node.StartWithClock(s.cmd, *s.off)
			return err
		}
	}
	s.cmd.Dir = s.dir
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := run(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(done)
	}(s.cmd, s.done)
}

// up runs the island and waits until it is ready.
func (s *site) up() *site {
	s.t.Helper()
	s.start()
	s.waitUp()
	return s
}

// allUp starts islands together.
func allUp(sites ...*site) {
	for _, s := range sites {
		s.t.Helper()
		s.start()
	}
	for _, s := range sites {
		s.waitUp()
	}
}

func (s *site) waitUp() {
	s.t.Helper()
	eventually(s.t, 2*time.Minute, s.name+" is up", func() error {
		select {
		case <-s.done:
			s.t.Fatalf("%s ended while starting: %v", s.name, s.cmd.ProcessState)
		default:
		}
		_, err := s.port("/-/ready")
		return err
	})
}

// kill ends the process as a power cut would.
func (s *site) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.done
	if s.clock != nil {
		_ = s.clock.Close()
		s.clock = nil
	}
}

// stop asks the process to end and waits; it must end with code 0.
func (s *site) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		s.t.Fatalf("%s did not stop within a minute", s.name)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Fatalf("%s ended with code %d after SIGTERM", s.name, code)
	}
}

// atoll runs a subcommand on the site's machine; what it prints is returned.
func (s *site) atoll(args ...string) (string, error) { return s.atollWith("", args...) }

// atollWith is atoll with something on standard input.
func (s *site) atollWith(stdin string, args ...string) (string, error) {
	return s.atollWithin(time.Minute, stdin, args...)
}

// atollWithin is atollWith for so long.
func (s *site) atollWithin(limit time.Duration, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := s.node.Command(ctx, binary, args...)
	cmd.Dir = s.dir
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		// Of the arguments one may be a token, which must not be in errors.
		return out.String(), fmt.Errorf("atoll %s on %s: %w: %s", args[0], s.name, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// must is atoll for what has to work.
func (s *site) must(args ...string) string {
	s.t.Helper()
	return s.mustWith("", args...)
}

// mustWith is atollWith for what has to work.
func (s *site) mustWith(stdin string, args ...string) string {
	s.t.Helper()
	out, err := s.atollWith(stdin, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// init makes the network on a running island.
func (s *site) init() string {
	s.t.Helper()
	return s.must("init", "acme")
}

// invite returns a token for an island of that region.
func (s *site) invite(region string, args ...string) string {
	s.t.Helper()
	return strings.TrimSpace(s.must(append([]string{"invite", "--label", "region=" + region}, args...)...))
}

// join makes a running island a member.
func (s *site) join(token string) {
	s.t.Helper()
	s.must("join", token)
}

// found brings up a network: the first site makes it, the others join, each by
// a token of its own. All must be running.
func found(t *testing.T, first *site, others ...*site) {
	t.Helper()
	first.init()
	for _, s := range others {
		s.join(first.invite(s.region))
	}
}

// eventually polls until check returns nil; the last error is the failure.
func eventually(t *testing.T, within time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return time.Since(begin)
		}
		select {
		case <-deadline.C:
			t.Fatalf("not within %s: %s: %v", within, what, err)
		case <-tick.C:
		}
	}
}

// steadily fails the test if check fails at any moment of a while.
func steadily(t *testing.T, while time.Duration, what string, check func() error) {
	t.Helper()
	end := time.NewTimer(while)
	defer end.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := check(); err != nil {
			t.Fatalf("%s, which must hold for %s: %v", what, while, err)
		}
		select {
		case <-end.C:
			return
		case <-tick.C:
		}
	}
}

// wait lets real time pass: processes keep it, not this test.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
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

func (b *logBuffer) tail(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := strings.Split(b.buf.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
