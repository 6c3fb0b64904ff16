package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// TestLiveTree makes a real control group, runs a process in it and sees it
// work.
func TestLiveTree(t *testing.T) {
	cfg := Default()
	h := detect(cfg.Root)
	trees := h.trees()
	if len(trees) == 0 {
		t.Skipf("no control groups at %s", cfg.Root)
	}
	name := fmt.Sprintf("atoll-test-%d", os.Getpid())
	var dirs []string
	for _, tree := range trees {
		dir := filepath.Join(tree, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("cannot make control groups here: %v", err)
		}
		dirs = append(dirs, dir)
		t.Cleanup(func() { remove(t, dir) })
	}
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
			t.Fatalf("moving the process: %v", err)
		}
	}

	c := newCollector(t, cfg)
	id := "/" + name
	first := valueOf(gather(t, c), "container_cpu_usage_seconds_total", id)
	poll(t, "the group's CPU usage grows", func() bool {
		now := valueOf(gather(t, c), "container_cpu_usage_seconds_total", id)
		return now > first && now > 0.05
	})
	families := gather(t, c)
	if got := valueOf(families, "container_processes", id); got != 1 {
		t.Errorf("container_processes is %v, want 1", got)
	}
	if started := valueOf(families, "container_start_time_seconds", id); time.Since(time.Unix(int64(started), 0)) > time.Hour {
		t.Errorf("container_start_time_seconds is %v, long before the group was made", started)
	}
	if h.v1["memory"] != "" && valueOf(families, "container_memory_usage_bytes", id) < 0 {
		t.Error("no container_memory_usage_bytes")
	}
	if h.v1["pids"] != "" {
		if got := valueOf(families, "container_threads", id); got != 1 {
			t.Errorf("container_threads is %v, want 1", got)
		}
	}
}

// valueOf is -1 for a metric that is not there.
func valueOf(families map[string]*dto.MetricFamily, name, id string) float64 {
	for _, m := range families[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "id" && l.GetValue() == id {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("did not happen: %s", what)
		case <-tick.C:
		}
	}
}

// remove waits for the kernel to let go of the group.
func remove(t *testing.T, dir string) {
	var err error
	poll(t, "the group is removed: "+dir, func() bool { err = os.Remove(dir); return err == nil || os.IsNotExist(err) })
}

func BenchmarkCollect(b *testing.B) {
	root := b.TempDir()
	for i := range 1000 {
		dir := filepath.Join(root, fmt.Sprintf("g%04d", i))
		if err := os.CopyFS(dir, os.DirFS("testdata/v2/system.slice/nginx.service")); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), nil, 0o600); err != nil {
		b.Fatal(err)
	}
	cfg := Default()
	cfg.Root = root
	c, err := New(Options{Config: cfg})
	if err != nil {
		b.Fatal(err)
	}
	ch := make(chan prometheus.Metric, 1024)
	go func() {
		for range ch {
		}
	}()
	for b.Loop() {
		c.Collect(ch)
	}
	close(ch)
}
