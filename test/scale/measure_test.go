package scale

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cost is what the process has used and occupies.
type cost struct {
	at    time.Time
	cpu   time.Duration // user and system
	bytes int64         // sent over loopback: IP packets with their headers, each counted once
}

func spent(t testing.TB) cost {
	t.Helper()
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return cost{at: time.Now(), cpu: time.Duration(u.Utime.Nano() + u.Stime.Nano()), bytes: loopback(t)}
}

func (c cost) since(before cost) cost {
	return cost{cpu: c.cpu - before.cpu, bytes: c.bytes - before.bytes}
}

// loopback reads the bytes sent over lo in this namespace.
func loopback(t testing.TB) int64 {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/net/dev")
	must(t, err)
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "lo:"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[8], 10, 64) // 8 columns of what was received come first
			must(t, err)
			return n
		}
	}
	t.Fatal("no lo in /proc/self/net/dev")
	return 0
}

// established counts the TCP connections of this namespace: both ends are listed.
func established(t testing.TB) (n int) {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/net/tcp")
	must(t, err)
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); f[3] == "01" {
			n++
		}
	}
	return n / 2
}

// resident returns what the process occupies in bytes once garbage is given back:
// its own memory, and files in memory that it has mapped.
func resident(t testing.TB) (own, mapped int64) {
	t.Helper()
	for range 5 { // each collection halves stacks that were deep once; pools are empty after two
		runtime.GC()
	}
	debug.FreeOSMemory()
	raw, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(raw)) {
		field, rest, _ := strings.Cut(line, ":")
		if !slices.Contains([]string{"RssAnon", "RssFile", "RssShmem"}, field) {
			continue
		}
		kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		must(t, err)
		if field == "RssAnon" {
			own += kib << 10
		} else {
			mapped += kib << 10
		}
	}
	if own == 0 {
		t.Fatal("no RssAnon in /proc/self/status")
	}
	return own, mapped
}

// spread is p50 and the longest.
func spread(all []time.Duration) (p50, most time.Duration) {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond)
}
