package aggregate

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
)

const together = `
rules:
- {interval: 10s, match: c, without: [instance], outputs: [total, increase, count_series], keep_input: false, distribute: true}
`

// between carries messages of aggregators that run in one process.
type between struct {
	mu      sync.Mutex
	members map[string]*islander
}

func (b *between) list() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.members))
}

// islander is one of several aggregators, over its starts.
type islander struct {
	t    *testing.T
	b    *between
	name string
	dir  string
	out  *memory
	door storage.AppendableV2
	up   *Aggregator // guarded by b.mu; nil while it is dead
	end  []func()
	// notes are those that the journal had at the last start.
	notes int
}

// Send implements share.Transport.
func (i *islander) Send(ctx context.Context, member string, message []byte) ([]byte, error) {
	i.b.mu.Lock()
	to := i.b.members[member]
	var up *Aggregator
	if to != nil {
		up = to.up
	}
	dead := i.up == nil
	i.b.mu.Unlock()
	if up == nil || dead {
		return nil, flow.ErrUnavailable
	}
	return up.Handle(ctx, i.name, message)
}

func (b *between) add(t *testing.T, dir, name string) *islander {
	i := &islander{t: t, b: b, name: name, dir: dir, out: newMemory()}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members[name] = i
	return i
}

func (i *islander) start() {
	i.t.Helper()
	a, err := New(Options{
		Config: Default(), Rules: loadRules(i.t, together), Dir: i.dir, Store: i.out, InNetwork: true,
		Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		i.t.Fatal(err)
	}
	i.notes = len(a.shared.notes)
	share, err := a.Enter(Network{Self: i.name, Members: i.b.list, Transport: i, Key: 5, Registerer: prometheus.NewRegistry()})
	if err != nil {
		i.t.Fatal(err)
	}
	i.b.mu.Lock()
	i.up, i.door = a, a.Appendable(newMemory())
	i.b.mu.Unlock()
	i.end = nil
	for _, run := range []func(context.Context) error{share, a.Run} {
		ctx, cancel := context.WithCancel(i.t.Context())
		done := make(chan error, 1)
		go func() { done <- run(ctx) }()
		i.end = append(i.end, func() {
			cancel()
			if err := <-done; err != nil {
				i.t.Errorf("run of %s: %v", i.name, err)
			}
		})
	}
}

func (i *islander) stop() {
	for _, end := range slices.Backward(i.end) {
		end()
	}
	i.b.mu.Lock()
	i.up = nil
	i.b.mu.Unlock()
}

// kill stops it as if it had written nothing since, and names a copy of its directory
// for the next start.
func (i *islander) kill(dir string) {
	i.t.Helper()
	if err := os.CopyFS(dir, os.DirFS(i.dir)); err != nil {
		i.t.Fatal(err)
	}
	i.stop()
	i.dir = dir
}

// feed sends one sample of each of this island's two counters.
func (i *islander) feed(step int) {
	i.t.Helper()
	app := i.door.AppenderV2(i.t.Context())
	for k := range 2 {
		ls := labels.FromStrings("__name__", "c", "instance", fmt.Sprint(i.name, k), "job", "j", "shard", fmt.Sprint(step/1000, k))
		if _, err := app.Append(0, ls, 0, time.Now().UnixMilli(), float64(step), nil, nil, storage.AOptions{}); err != nil {
			i.t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		i.t.Fatal(err)
	}
}

// TestTogether: three islands make one value per series and window, also when one
// of them restarts, another one joins them, and one is killed: what it published since
// its last checkpoint is in its journal.
func TestTogether(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()}
	b := &between{members: map[string]*islander{}}
	synctest.Test(t, func(t *testing.T) {
		for n, dir := range dirs[:3] {
			b.add(t, dir, string(rune('a'+n))).start()
		}
		all := slices.Collect(maps.Values(b.members))
		for step := range 120 { // 2 s each
			switch step {
			case 40:
				b.members["b"].stop()
				b.members["b"].start()
			case 70:
				b.add(t, dirs[3], "d").start()
			case 97:
				owner := all[slices.IndexFunc(all, func(i *islander) bool { return len(i.out.all()) > 0 })]
				owner.kill(dirs[4])
				if owner.start(); owner.notes == 0 {
					t.Error("the journal has no notes of what was published")
				}
			}
			for _, i := range all {
				i.feed(step)
			}
			time.Sleep(2 * time.Second)
		}
		time.Sleep(5 * time.Minute)
		for _, i := range b.members {
			i.stop()
		}
	})
	got := map[string]map[int64][]float64{}
	for _, i := range b.members {
		for _, text := range i.out.changed {
			t.Errorf("published again with another value: %s", text)
		}
		for ls, points := range i.out.series {
			if got[ls] == nil {
				got[ls] = map[int64][]float64{}
			}
			for ts, v := range points {
				got[ls][ts] = append(got[ls][ts], v)
			}
		}
	}
	if len(got) != 6 {
		t.Fatalf("there are %d series, want 3 outputs of 2 groups: %v", len(got), slices.Sorted(maps.Keys(got)))
	}
	for ls, points := range got {
		before := 0.0
		ends := slices.Sorted(maps.Keys(points))
		for n, ts := range ends {
			if len(points[ts]) != 1 {
				t.Errorf("%s at %d is published by %d islands", ls, ts, len(points[ts]))
			}
			want := 15.0 // a sample every 2 s, of three islands
			v := points[ts][0]
			switch {
			case strings.Contains(ls, "count_series"):
				want = 3
			case strings.Contains(ls, "total"):
				v, before = v-before, v
			}
			if n > 0 && n < len(ends)-1 && v != want {
				t.Errorf("%s, window %d: %g, want %g", ls, n, v, want)
			}
			if n > 0 && ts-ends[n-1] != 10_000 {
				t.Errorf("%s: no window between %d and %d", ls, ends[n-1], ts)
			}
		}
		if len(ends) != 24 && len(ends) != 25 {
			t.Errorf("%s has %d windows of 10 s in 240 s", ls, len(ends))
		}
	}
}
