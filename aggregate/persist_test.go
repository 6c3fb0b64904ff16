package aggregate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/health"
)

const counting = `
rules:
- {interval: 10s, match: c, without: [instance], outputs: [total, count_samples], keep_input: false}
`

// node is an aggregator that runs, in virtual time.
type node struct {
	*Aggregator
	t      *testing.T
	door   storage.AppendableV2
	cancel context.CancelFunc
	done   chan error
	log    *bytes.Buffer // to be read after stop
}

func start(t *testing.T, dir string, out storage.AppendableV2, change ...func(*Config)) *node {
	t.Helper()
	return startWith(t, loadRules(t, counting), dir, out, change...)
}

func startWith(t *testing.T, rules *rule.Set, dir string, out storage.AppendableV2, change ...func(*Config)) *node {
	t.Helper()
	c := Default()
	for _, f := range change {
		f(&c)
	}
	n := &node{t: t, done: make(chan error, 1), log: &bytes.Buffer{}}
	a, err := New(Options{
		Config: c, Rules: rules, Dir: dir, Store: out, Registerer: prometheus.NewRegistry(),
		Logger: slog.New(slog.NewTextHandler(n.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Aggregator, n.door = a, a.Appendable(newMemory())
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(t.Context())
	go func() { n.done <- a.Run(ctx) }()
	return n
}

func (n *node) stop() {
	n.t.Helper()
	n.cancel()
	if err := <-n.done; err != nil {
		n.t.Errorf("run: %v", err)
	}
}

// feed sends a sample of two counters and then lets two seconds pass, times times.
func (n *node) feed(times int) {
	n.t.Helper()
	for range times {
		now := time.Now()
		app := n.door.AppenderV2(n.t.Context())
		for i, instance := range []string{"a", "b"} {
			ls := labels.FromStrings("__name__", "c", "instance", instance, "job", "j")
			if _, err := app.Append(0, ls, 0, now.UnixMilli(), float64(now.Unix()%1e6)*float64(i+1)*1.1, nil, nil, storage.AOptions{}); err != nil {
				n.t.Fatal(err)
			}
		}
		if err := app.Commit(); err != nil {
			n.t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
	}
}

// calm lets the last windows be sealed.
func (n *node) calm() {
	time.Sleep(3 * time.Minute)
	n.stop()
}

func play(t *testing.T, f func(t *testing.T, out *memory, dir string)) map[string]string {
	t.Helper()
	out := newMemory()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { f(t, out, dir) })
	if len(out.changed) > 0 {
		t.Errorf("published again with another value: %s", strings.Join(out.changed, "\n"))
	}
	return out.all()
}

// undisturbed is what everything else is measured by: 150 samples of each counter.
func undisturbed(t *testing.T) map[string]string {
	t.Helper()
	all := play(t, func(t *testing.T, out *memory, dir string) {
		n := start(t, dir, out)
		n.feed(150)
		n.calm()
	})
	counts := strings.Fields(all[`{__name__="c:10s_without_instance_count_samples", job="j"}`])
	if len(counts) < 30 || counts[5] != "10" {
		t.Fatalf("windows of 10 samples should come out: %v", all)
	}
	return all
}

func TestRestart(t *testing.T) {
	want := undisturbed(t)
	for _, first := range []int{1, 37, 74, 75, 76} {
		got := play(t, func(t *testing.T, out *memory, dir string) {
			n := start(t, dir, out)
			n.feed(first)
			n.stop()
			n = start(t, dir, out)
			n.feed(40)
			n.stop()
			n = start(t, dir, out)
			n.feed(110 - first)
			n.calm()
		})
		equal(t, fmt.Sprintf("stopped after %d", first), got, want)
	}
}

// TestKilled goes on from a copy of the directory taken between two samples.
func TestKilled(t *testing.T) {
	want := undisturbed(t)
	for _, first := range []int{1, 13, 14, 16, 38, 77} {
		got := play(t, func(t *testing.T, out *memory, dir string) {
			n := start(t, dir, out)
			n.feed(first)
			second := filepath.Join(dir, "second")
			if err := os.CopyFS(filepath.Join(second, "state"), os.DirFS(filepath.Join(dir, "state"))); err != nil {
				t.Fatal(err)
			}
			n.stop()
			n = start(t, second, out)
			n.feed(150 - first)
			n.calm()
		})
		equal(t, fmt.Sprintf("killed after %d", first), got, want)
	}
}

// TestNoCheckpointWhileResultsWait: they would be lost.
func TestNoCheckpointWhileResultsWait(t *testing.T) {
	want := undisturbed(t)
	got := play(t, func(t *testing.T, out *memory, dir string) {
		written := func() bool {
			_, err := os.Stat(filepath.Join(dir, "state", "checkpoint"))
			return err == nil
		}
		out.set(flow.ErrUnavailable, nil)
		n := start(t, dir, out)
		n.feed(50)
		n.stop()
		if written() {
			t.Error("a checkpoint was written though results wait")
		}
		n = start(t, dir, out)
		n.feed(20)
		out.set(nil, nil)
		n.feed(16)
		if !written() {
			t.Error("no checkpoint was written after the results had arrived")
		}
		n.feed(64)
		n.calm()
	})
	equal(t, "windows", got, want)
}

// TestKilledAfterReload: what a rule makes of the samples after it came must not
// change because the process is killed and reads those of before again.
func TestKilledAfterReload(t *testing.T) {
	rules := loadRules(t, counting+"- {interval: 10s, match: c, by: [job], outputs: [total, count_samples]}\n")
	run := func(kill bool) map[string]string {
		return play(t, func(t *testing.T, out *memory, dir string) {
			long := func(c *Config) { c.CheckpointInterval = model.Duration(time.Hour) }
			n := start(t, dir, out, long)
			n.feed(23)
			commit, _, err := n.Prepare(n.opts.Config, rules)
			if err != nil {
				t.Fatal(err)
			}
			commit()
			n.feed(1)
			if kill {
				second := filepath.Join(dir, "second")
				if err := os.CopyFS(filepath.Join(second, "state"), os.DirFS(filepath.Join(dir, "state"))); err != nil {
					t.Fatal(err)
				}
				n.stop()
				n = startWith(t, rules, second, out, long)
			}
			n.feed(60)
			n.calm()
		})
	}
	want := run(false)
	if counts := strings.Fields(want[`{__name__="c:10s_by_job_count_samples", job="j"}`]); len(counts) < 10 || counts[0] == "10" {
		t.Fatalf("the first window of the new rule should be one that it saw a part of: %v", want)
	}
	equal(t, "killed", run(true), want)
}

// TestWarnsWhileResultsWait: whoever looks at the island's health sees it.
func TestWarnsWhileResultsWait(t *testing.T) {
	list := health.New(nil)
	m := newMemory()
	o, _ := newOutlet(t, m, 3)
	o.trouble = declareTrouble(list)
	m.set(fmt.Errorf("disk full: %w", flow.ErrUnavailable), nil)
	for i := range int64(5) {
		if err := o.publish(t.Context(), []partial.Sample{result("a", i, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	active := list.Active()
	if len(active) != 1 || active[0].Code != "aggregate-results-wait" || !strings.Contains(active[0].Text, "3 results of aggregation wait, of 3 that may: store results: disk full") {
		t.Errorf("the warnings are %+v", active)
	}
	m.set(nil, nil)
	o.flush(t.Context())
	if active := list.Active(); len(active) > 0 {
		t.Errorf("the warning stays: %+v", active)
	}
}

func TestCheckpointBeforeTheJournalIsFull(t *testing.T) {
	want := undisturbed(t)
	got := play(t, func(t *testing.T, out *memory, dir string) {
		n := start(t, dir, out, func(c *Config) { c.JournalSize, c.CheckpointInterval = 1<<20, model.Duration(time.Hour) })
		n.feed(75)
		for range 60 {
			if err := n.journal.Append(append([]byte{1}, make([]byte, 40<<10)...)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(1900 * time.Millisecond)
		if size, _ := n.journal.Size(); size > 1<<19 {
			t.Errorf("the journal holds %s", size)
		}
		time.Sleep(2 * time.Second) // an even number of seconds in all
		n.stop()
	})
	name := `{__name__="c:10s_without_instance_total", job="j"}`
	if got[name] == "" || !strings.HasPrefix(want[name], strings.Join(strings.Fields(got[name])[:10], " ")) {
		t.Errorf("totals %s, want %s", got[name], want[name])
	}
}

// TestDiskTrouble: without its directory aggregation goes on, and says so.
func TestDiskTrouble(t *testing.T) {
	want := undisturbed(t)
	got := play(t, func(t *testing.T, out *memory, dir string) {
		n := start(t, dir, out)
		n.feed(50)
		if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
			t.Fatal(err)
		}
		n.feed(100)
		n.calm()
		if !strings.Contains(n.log.String(), "level=WARN msg=\"no checkpoint was written") {
			t.Errorf("the log says nothing: %s", n.log)
		}
	})
	equal(t, "windows", got, want)
}

// TestNewReleasesWhatItOpened: after an error the directory is free again.
func TestNewReleasesWhatItOpened(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	bad := filepath.Join(state, "other.journal")
	o := Options{Config: Default(), Rules: loadRules(t, counting), Dir: dir}
	if err := errors.Join(os.MkdirAll(state, 0o750), os.WriteFile(filepath.Join(dir, "sinks"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); err == nil {
		t.Fatal("a file was taken for the directory of the sinks")
	}
	if err := os.Remove(filepath.Join(dir, "sinks")); err != nil {
		t.Fatal(err)
	}
	a, err := New(o)
	if err != nil {
		t.Fatalf("the second attempt: %v", err)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bad, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "open the state of aggregation") {
		t.Errorf("a foreign file in the journal's directory: %v", err)
	}
}

func TestSinksNeedADirectory(t *testing.T) {
	c := Default()
	c.Sink = withKafka(t)
	if _, err := New(Options{Config: c}); !errors.Is(err, errNoDir) {
		t.Errorf("New: %v", err)
	}
	r := newRig(t, mixed, nil)
	if _, _, err := r.Prepare(c, nil); !errors.Is(err, errNoDir) {
		t.Errorf("Prepare: %v", err)
	}
}
