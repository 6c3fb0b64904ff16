package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Budgets that keep Atoll fit for the cheapest machine. Raising one needs a
// reason in the commit that does.
const (
	maxBinaryBytes   = 140 << 20
	maxRSSAtStart    = 75 << 20
	maxRSSIdle       = 130 << 20
	idleObservedFor  = 45 * time.Second
	idleScrapeConfig = "prometheus: {global: {scrape_interval: 15s}}\n"
)

// rss reads the resident set of a process in bytes.
func rss(pid int) (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		var kb int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("no VmRSS in the status of process %d", pid)
}

// TestFootprint holds the size of the binary and the memory of an idle island
// with host metrics and self-scrape.
func TestFootprint(t *testing.T) {
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("binary: %.1f MiB", mib(info.Size()))
	if info.Size() > maxBinaryBytes {
		t.Errorf("the binary has %.1f MiB, at most %.1f", mib(info.Size()), mib(maxBinaryBytes))
	}
	i := newIsland(t, idleScrapeConfig)
	i.up()
	atStart, err := rss(i.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("at start: %.1f MiB", mib(atStart))
	if atStart > maxRSSAtStart {
		t.Errorf("the island takes %.1f MiB at start, at most %.1f", mib(atStart), mib(maxRSSAtStart))
	}
	var idle int64
	for end := time.Now().Add(idleObservedFor); time.Now().Before(end); {
		now, err := rss(i.cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		idle = max(idle, now)
		<-time.After(time.Second)
	}
	i.waitValue(time.Minute, `count(node_cpu_seconds_total)`, atLeast(8))
	t.Logf("idle, highest in %s: %.1f MiB", idleObservedFor, mib(idle))
	if idle > maxRSSIdle {
		t.Errorf("the idle island takes %.1f MiB, at most %.1f", mib(idle), mib(maxRSSIdle))
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
