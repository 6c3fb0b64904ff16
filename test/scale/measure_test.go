package scale

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
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
// It is asked again and again while memory is measured, and makes no garbage.
func established(t testing.TB) (n int) {
	t.Helper()
	f, err := os.Open("/proc/self/net/tcp")
	must(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); ; {
		if !lines.Scan() {
			must(t, lines.Err())
			return n / 2
		}
		rest := lines.Bytes() // number, local and remote address, state
		for range 3 {
			_, rest, _ = bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
		}
		if bytes.HasPrefix(rest, []byte("01 ")) {
			n++
		}
	}
}

// resident returns what the process occupies in bytes once garbage is given back:
// its own memory, and files in memory that it has mapped.
func resident(t testing.TB) (own, mapped int64) {
	t.Helper()
	for round := 0; ; round++ {
		before := own
		for range 5 { // each collection halves stacks that were deep once; pools are empty after two
			runtime.GC()
		}
		debug.FreeOSMemory()
		own, mapped = occupied(t)
		if round > 0 && own > before-before/1000 || round == 10 {
			return own, mapped
		}
	}
}

// occupied reads what the kernel counts.
func occupied(t testing.TB) (own, mapped int64) {
	t.Helper()
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

// settle waits until no connection has come or gone, and about as many goroutines
// were there, for longer than the links of a call stay open without use. A third of
// the islands have one open at any time: each compares documents every 30 s.
func settle(t testing.TB) {
	t.Helper()
	still := time.Duration(mesh.Default().RPC.Idle) + 5*time.Second
	conns, routines, since := 0, 0, time.Now()
	eventually(t, "no connection and few goroutines come or go", func() bool {
		c, g := established(t), runtime.NumGoroutine()
		if c != conns || max(g-routines, routines-g) > 20+g/5 {
			conns, routines, since = c, g, time.Now()
		}
		return time.Since(since) > still
	})
}

// heap returns what the runtime makes of its memory, in MB for each of n: objects,
// pages that they leave unused, and stacks.
func heap(n int) (live, holes, stacks float64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	mb := 1e6 * float64(n)
	return float64(m.HeapAlloc) / mb, float64(m.HeapInuse-m.HeapAlloc) / mb, float64(m.StackInuse) / mb
}

// spread is p50 and the longest.
func spread(all []time.Duration) (p50, most time.Duration) {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond)
}
