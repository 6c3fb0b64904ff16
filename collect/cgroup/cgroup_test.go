package cgroup

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func newCollector(t *testing.T, cfg Config) *Collector {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Config: cfg, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func gather(t *testing.T, c *Collector) map[string]*dto.MetricFamily {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, mf := range families {
		byName[mf.GetName()] = mf
	}
	return byName
}

// tree copies a tree of testdata to where links can be added.
func tree(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestGolden(t *testing.T) {
	born := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			cfg := Default()
			cfg.Root = tree(t, version)
			if version == "v1" {
				for _, link := range []string{"cpu", "cpuacct"} {
					if err := os.Symlink("cpu,cpuacct", filepath.Join(cfg.Root, link)); err != nil {
						t.Fatal(err)
					}
				}
			}
			setTimes(t, cfg.Root, born)
			c := newCollector(t, cfg)
			c.now = func() time.Time { return born.Add(time.Hour) }
			c.blockDir = t.TempDir()
			if err := os.Symlink("../../devices/pci/sda", filepath.Join(c.blockDir, "8:0")); err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			reg := prometheus.NewPedanticRegistry()
			reg.MustRegister(c)
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, mf := range families {
				mf.Help = nil
				if _, err := expfmt.MetricFamilyToText(&got, mf); err != nil {
					t.Fatal(err)
				}
			}
			golden := filepath.Join("testdata", version+".golden")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got.String()); d != "" {
				t.Error(d)
			}
			if n := testutil.ToFloat64(c.metrics.errors); n != 0 {
				t.Errorf("%v files could not be read", n)
			}
		})
	}
}

func setTimes(t *testing.T, root string, at time.Time) {
	t.Helper()
	err := filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		if err != nil || info.Mode()&os.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(p, at, at)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The kernel forgets when a group was made; the collector must not.
func TestStartTimeDoesNotWander(t *testing.T) {
	born := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	cfg := Default()
	cfg.Root = tree(t, "v2")
	setTimes(t, cfg.Root, born)
	c := newCollector(t, cfg)
	gather(t, c)
	setTimes(t, cfg.Root, born.Add(24*time.Hour))
	for _, m := range gather(t, c)["container_start_time_seconds"].GetMetric() {
		if got := m.GetGauge().GetValue(); got != float64(born.Unix()) {
			t.Errorf("%v started at %v, want %v", m.GetLabel(), got, born.Unix())
		}
	}
}

func TestLimits(t *testing.T) {
	root := t.TempDir()
	touch(t, filepath.Join(root, "cgroup.controllers"))
	for i := range 20 {
		touch(t, filepath.Join(root, fmt.Sprintf("g%02d", i), "deep", "deeper", "cgroup.procs"))
	}
	for _, c := range []struct {
		groups, depth, reported, overGroups, overDepth int
		exclude                                        string
	}{
		{groups: 1000, depth: 8, reported: 61},
		{groups: 10, depth: 8, reported: 10, overGroups: 11},
		{groups: 1000, depth: 1, reported: 21, overDepth: 20},
		{groups: 1000, depth: 8, reported: 41, exclude: ".*/deeper"},
	} {
		cfg := Default()
		cfg.Root, cfg.MaxGroups, cfg.MaxDepth, cfg.Exclude = root, c.groups, c.depth, c.exclude
		col := newCollector(t, cfg)
		got := len(gather(t, col)["container_last_seen"].GetMetric())
		if got != c.reported {
			t.Errorf("%+v: %d groups reported", c, got)
		}
		over, deep := testutil.ToFloat64(col.metrics.skipped.WithLabelValues("max_groups")), testutil.ToFloat64(col.metrics.skipped.WithLabelValues("max_depth"))
		if int(over) != c.overGroups || int(deep) != c.overDepth || col.Skipped() != c.overGroups+c.overDepth {
			t.Errorf("%+v: skipped are %v and %v, together %d", c, over, deep, col.Skipped())
		}
	}
}

func TestPrepareChangesLive(t *testing.T) {
	cfg := Default()
	cfg.Root = tree(t, "v2")
	c := newCollector(t, cfg)
	before := len(gather(t, c)["container_last_seen"].GetMetric())
	cfg.MaxDepth = 1
	commit, _, err := c.Prepare(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(gather(t, c)["container_last_seen"].GetMetric()); got != before {
		t.Errorf("Prepare alone changed the groups from %d to %d", before, got)
	}
	commit()
	if got := len(gather(t, c)["container_last_seen"].GetMetric()); got >= before {
		t.Errorf("%d groups after max_depth 1, want fewer than %d", got, before)
	}
}

// Foreign file names and hostile contents.
func TestOddTree(t *testing.T) {
	root := t.TempDir()
	touch(t, filepath.Join(root, "cgroup.controllers"))
	touch(t, filepath.Join(root, "bad\xffname", "cgroup.procs"))
	touch(t, filepath.Join(root, `bad\xffname`, "cgroup.procs")) // printed like the other
	// This is the first of the two in order, and so the one that is read.
	if err := os.WriteFile(filepath.Join(root, `bad\xffname`, "cpu.stat"), bytes.Repeat([]byte("usage_usec 1\n"), 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, `bad\xffname`, "memory.current"), 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.Root = root
	c := newCollector(t, cfg)
	got := gather(t, c)
	if n := len(got["container_last_seen"].GetMetric()); n != 3 { // root, one of the two, memory.current
		t.Errorf("%d groups, want 3", n)
	}
	if n := testutil.ToFloat64(c.metrics.errors); n != 1 {
		t.Errorf("atoll_collect_cgroup_read_errors_total is %v, want 1 for the directory in place of a file", n)
	}
	if !Readable(root) || Readable(filepath.Join(root, "nothing")) {
		t.Error("Readable is wrong")
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
