package probe

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"github.com/atoll-mesh/atoll/budget"
	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/evidence"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// TestReserveIsLeft fills a file system of its own up to the reserve: no evidence is
// written then, nor by a bundle that was begun before, and it is once there is room.
func TestReserveIsLeft(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("a file system that can be filled needs root: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	const reserve = 8 << 20
	filler := filepath.Join(dir, "filler")
	fill := func(free uint64) { // until no more is free
		t.Helper()
		now, _, err := budget.Space(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filler, make([]byte, now-free), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	warnings := health.New(prometheus.NewRegistry())
	warned := func() string {
		for _, w := range warnings.Active() {
			if w.Code == "probe-evidence-lost" {
				return w.Text
			}
		}
		return ""
	}
	synctest.Test(t, func(t *testing.T) {
		v := newVillage(t, Set{Shared: []*definition.Definition{define(t, "shop", everywhereUp)}}, "eu-1")
		r := v.rooms["eu-1"]
		r.end()
		delete(v.rooms, "eu-1")
		// What is begun with room may find none at the end.
		trace, full := r.opts.table["trace"], new(atomic.Bool)
		r.opts.table["trace"] = func(ctx context.Context, q *protocol.Request) *protocol.Result {
			if full.Load() {
				fill(reserve)
			}
			return trace(ctx, q)
		}
		r = begin(t, "eu-1", Set{Shared: []*definition.Definition{define(t, "shop", everywhereUp)}}, func(o *Options) {
			o.Dir, o.table, o.Health, o.nameServers = dir, r.opts.table, warnings, r.opts.nameServers
			o.Reserve = func(total uint64) uint64 { return min(total, reserve) }
		})
		defer r.end()
		fails := func() {
			v.down["eu-1"].Store(false)
			time.Sleep(gatherGap)
			v.down["eu-1"].Store(true)
			time.Sleep(5 * time.Second)
		}
		kept := func() (n int) { n, _ = r.keeper.store.Room(); return n }
		fails()
		if kept() != 1 || warned() != "" {
			t.Fatalf("with room: %d bundles, warned %q", kept(), warned())
		}
		fill(reserve + evidence.MostArchive - 4096)
		fails()
		if kept() != 1 || skipped(r, "disk_reserve") != 1 || !strings.Contains(warned(), "budget.disk.reserve leaves 8 MiB alone") {
			t.Errorf("without room: %d bundles, %v skipped, warned %q", kept(), skipped(r, "disk_reserve"), warned())
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * lookInterval)
		if warned() != "" {
			t.Errorf("still warned with room: %q", warned())
		}
		full.Store(true)
		fails()
		full.Store(false)
		if refused := testutil.ToFloat64(r.keeper.m.bundles.WithLabelValues(evidence.Failing, "refused")); kept() != 1 || refused != 1 || warned() == "" {
			t.Errorf("filled meanwhile: %d bundles, %v refused, warned %q", kept(), refused, warned())
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		fails()
		if kept() != 2 || warned() != "" {
			t.Errorf("with room again: %d bundles, warned %q", kept(), warned())
		}
	})
}
