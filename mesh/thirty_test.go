package mesh

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestThirty runs a full mesh of thirty in one process: 29 connections each.
func TestThirty(t *testing.T) {
	if testing.Short() {
		t.Skip("thirty islands take ten seconds and 100 MB: run without -short")
	}
	const n = 30
	w := newWorld(t)
	before, beforeHeap, routines := residentKiB(t), heap(), runtime.NumGoroutine()
	all := w.islands(n)
	for _, i := range all {
		for _, other := range all { // all have been introduced only now
			i.discover.Reachable(other.host.ID())
		}
	}
	eventually(t, "all are in each other's reach", func() bool {
		for _, i := range all {
			if len(i.Connected()) < n-1 {
				return false
			}
		}
		return true
	})
	conns := 0
	for _, i := range all {
		conns += len(i.swarm.Conns())
	}
	perIsland := (heap() - beforeHeap) / n
	t.Logf("per island: %d connections, %d KiB resident, %d KiB of heap, %d goroutines",
		conns/n, (residentKiB(t)-before)/n, perIsland>>10, (runtime.NumGoroutine()-routines)/n)
	// 1.2 MB for 8 connections is the budget; most of an island's share are its connections.
	if most := int64(1200<<10) * int64(conns) / n / 8; perIsland > most {
		t.Errorf("%d KiB of heap per island with %d connections, at most %d KiB", perIsland>>10, conns/n, most>>10)
	}
}

// residentKiB is what the process occupies.
func residentKiB(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS in /proc/self/status")
	return 0
}
