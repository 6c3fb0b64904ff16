package e2e

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDemo runs what `make run` runs, with short bursts: an alert fires, its
// notification is shown, it resolves, and Ctrl-C leaves nothing behind.
func TestDemo(t *testing.T) {
	i := newIsland(t, "")
	tmp := t.TempDir()
	i.cmd = exec.Command(binary, "demo", "--listen", i.addr, "--burst-every", "100s", "--burst-for", "25s")
	i.cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	i.launch()
	i.waitReady()
	eventually(t, 10*time.Second, "saying where to look", func() error {
		if !strings.Contains(i.log.String(), i.url("/")) {
			return errors.New("the address is not printed")
		}
		return nil
	})
	i.waitValue(time.Minute, `count(up == 1)`, atLeast(5))
	i.waitValue(time.Minute, `count(node_cpu_seconds_total)`, atLeast(1))
	i.waitValue(time.Minute, `sum(rate(shop_http_requests_total[30s]))`, func(v float64) bool { return v > 0 })
	i.waitValue(3*time.Minute, `count(ALERTS{alertstate="firing"})`, atLeast(1))
	eventually(t, 3*time.Minute, "notified, firing and resolved", func() error {
		log := strings.ToLower(i.log.String())
		if !strings.Contains(log, "firing") || !strings.Contains(log, "resolved") {
			return os.ErrNotExist
		}
		return nil
	})
	page, err := i.get("/")
	if err != nil || !strings.Contains(page, "<title>") {
		t.Errorf("no page at /: %v", err)
	}
	if err := i.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-i.done:
	case <-time.After(time.Minute):
		t.Fatal("the demo did not stop within a minute of Ctrl-C")
	}
	if code := i.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the demo ended with code %d", code)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("Ctrl-C left %v behind (%v)", left, err)
	}
}
