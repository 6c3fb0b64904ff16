package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// installTimeout is for npm with nothing in its cache.
const installTimeout = 3 * time.Minute

// needNode installs what the foreign peer is made of, or skips the test.
func needNode(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the foreign peer runs on Node.js 20 or later: %v", err)
		}
	}
	if installed() {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--prefix", "js", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("what the foreign peer is made of cannot be installed: %s: %v\n%s", cmd, err, out)
	}
}

// installed reports whether npm has run since its lock file changed.
func installed() bool {
	lock, err := os.Stat("js/package-lock.json")
	if err != nil {
		return false
	}
	done, err := os.Stat("js/node_modules/.package-lock.json")
	return err == nil && !done.ModTime().Before(lock.ModTime())
}

// foreign is a process of the foreign peer.
type foreign struct {
	t      *testing.T
	stdin  io.Closer
	lines  chan []byte // closed at its end
	stderr *bytes.Buffer
	wait   func() error
}

// start runs a script of the folder js.
func start(t *testing.T, script string, args ...string) *foreign {
	t.Helper()
	wire, err := filepath.Abs("../../wire")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	cmd := exec.CommandContext(ctx, "node", append([]string{"--import", "./polyfill.mjs", script, "--wire", wire}, args...)...)
	cmd.Dir = "js"
	f := &foreign{t: t, lines: make(chan []byte, 64), stderr: &bytes.Buffer{}}
	cmd.Stderr = f.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.stdin = stdin
	done := make(chan error, 1)
	go func() {
		for s := bufio.NewScanner(stdout); s.Scan(); {
			f.lines <- bytes.Clone(s.Bytes())
		}
		close(f.lines)
		done <- cmd.Wait()
	}()
	f.wait = func() error { return <-done }
	t.Cleanup(func() {
		cancel()
		for range f.lines {
		}
	})
	return f
}

// next fills out with what the peer says next, which must be of this step.
func (f *foreign) next(step string, out any) {
	f.t.Helper()
	var line []byte
	select {
	case line = <-f.lines:
	case <-time.After(patience):
		f.t.Fatalf("the foreign peer says nothing of %q in %s\n%s", step, patience, f.stderr)
	}
	var head struct{ Step string }
	err := json.Unmarshal(line, &head)
	if err == nil && head.Step == step {
		err = json.Unmarshal(line, out)
	} else if err == nil {
		err = errors.New("another step")
	}
	if err != nil {
		f.t.Fatalf("the foreign peer says of %q: %s: %v\n%s", step, line, err, f.stderr)
	}
	f.t.Logf("%s", line)
}

// end waits until the peer has nothing more to do.
func (f *foreign) end() {
	f.t.Helper()
	_ = f.stdin.Close() // it may have left already
	for line := range f.lines {
		f.t.Errorf("the foreign peer says at the end: %s", line)
	}
	if err := f.wait(); err != nil {
		f.t.Fatalf("the foreign peer ended with %v\n%s", err, f.stderr)
	}
}
