package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The edge profile: the cheapest machine an island must live on.
const (
	edgeTargets = 10
	edgeSeries  = 1000 // per target
	edgeRules   = 50
	edgeMemory  = 512 << 20
	edgeCPU     = 0.5
)

// TestEdgeProfile runs the island inside a cgroup of half a core and 512 MB:
// 10,000 series at 15 s, 50 rules, 20 queries a minute, host metrics on. It must
// not be killed and must not miss a scrape. Ten minutes with ATOLL_LONG=1, two
// without.
func TestEdgeProfile(t *testing.T) {
	needRoot(t, "makes a cgroup")
	length := 2 * time.Minute
	if os.Getenv("ATOLL_LONG") != "" {
		length = 10 * time.Minute
	}
	group := newCgroup(t, edgeCPU, edgeMemory)
	i := newIsland(t, edgeConfig(t))
	i.write("rules.yml", edgeRuleFile())
	i.cmd = group.command(binary, "run", "--config", "atoll.yaml", "--listen", i.addr)
	i.launch()
	i.waitReady()
	i.waitValue(time.Minute, `sum(up{job="edge"})`, exactly(edgeTargets))

	queries := []string{
		`sum by (route) (rate(edge_requests_total[5m]))`,
		`topk(10, rate(edge_requests_total[1m]))`,
		`histogram_quantile(0.99, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[5m])))`,
		`avg_over_time(node_load1[5m])`,
	}
	api := prom(t, i.addr)
	tick := time.NewTicker(3 * time.Second) // 20 a minute
	defer tick.Stop()
	var highest int64
	n := 0
	for end := time.Now().Add(length); time.Now().Before(end); n++ {
		<-tick.C
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		if _, _, _, err := api.Query(ctx, queries[n%len(queries)], time.Now()); err != nil {
			t.Errorf("query %q: %v", queries[n%len(queries)], err)
		}
		cancel()
		now, err := rss(i.cmd.Process.Pid)
		if err != nil {
			t.Fatalf("the island is gone after %d queries: %v", n, err)
		}
		highest = max(highest, now)
	}
	window := fmt.Sprintf("[%ds]", int(length.Seconds())-20)
	i.waitValue(20*time.Second, `min(min_over_time(up{job="edge"}`+window+`))`, exactly(1))
	got, err := i.value(`min(count_over_time(up{job="edge"}` + window + `))`)
	if err != nil {
		t.Fatal(err)
	}
	if want := float64(int(length.Seconds()-20)/15) - 1; got < want {
		t.Errorf("%v scrapes of the worst target in %s, want at least %v", got, window, want)
	}
	if kills := group.read(t, "oom_kill"); kills > 0 {
		t.Errorf("%d processes were killed for memory", kills)
	}
	i.waitValue(20*time.Second, `count(edge:rule)`, atLeast(1))
	missed, err := i.value(`sum(prometheus_rule_group_iterations_missed_total)`)
	if err != nil || missed > 0 {
		t.Errorf("%v rule iterations were missed (%v)", missed, err)
	}
	cpu, err := i.value(`rate(process_cpu_seconds_total{job="atoll"}` + window + `)`)
	t.Logf("%s: %d queries, highest RSS %.1f MiB, CPU %.3f cores (%v)", length, n, mib(highest), cpu, err)
}

func edgeConfig(t *testing.T) string {
	t.Helper()
	var page strings.Builder
	page.WriteString("# TYPE edge_requests_total counter\n")
	for s := range edgeSeries {
		fmt.Fprintf(&page, "edge_requests_total{route=\"/r%d\",code=\"%d\",pod=\"pod-%d\"} %%d\n", s%50, 200+s%3, s)
	}
	lines := strings.Split(page.String(), "%d")
	started := time.Now()
	targets := make([]string, edgeTargets)
	for n := range targets {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			v := strconv.Itoa(int(time.Since(started).Seconds()) * (n + 1))
			fmt.Fprint(w, strings.Join(lines, v))
		}))
		t.Cleanup(server.Close)
		targets[n] = strconv.Quote(strings.TrimPrefix(server.URL, "http://"))
	}
	return fmt.Sprintf(`
prometheus:
  global: {scrape_interval: 15s, evaluation_interval: 15s}
  rule_files: [rules.yml]
  scrape_configs:
    - job_name: edge
      static_configs: [{targets: [%s]}]
`, strings.Join(targets, ", "))
}

func edgeRuleFile() string {
	var b strings.Builder
	b.WriteString("groups:\n")
	for n := range edgeRules {
		if n%10 == 0 {
			fmt.Fprintf(&b, "  - name: group%d\n    rules:\n", n/10)
		}
		fmt.Fprintf(&b, "      - record: edge:rule\n        labels: {n: \"%d\"}\n        expr: sum by (code) (rate(edge_requests_total{route=~\"/r%d.*\"}[2m]))\n", n, n%10)
	}
	return b.String()
}

// cgroup is a group of this test's own, in hierarchies of version 1 or 2.
type cgroup struct{ cpu, memory string }

func newCgroup(t *testing.T, cpus float64, memory int64) *cgroup {
	t.Helper()
	name := fmt.Sprintf("atoll-e2e-%d", os.Getpid())
	g := &cgroup{cpu: "/sys/fs/cgroup/cpu/" + name, memory: "/sys/fs/cgroup/memory/" + name}
	files := map[string]string{
		g.cpu + "/cpu.cfs_period_us":        "100000",
		g.cpu + "/cpu.cfs_quota_us":         strconv.Itoa(int(cpus * 100000)),
		g.memory + "/memory.limit_in_bytes": strconv.FormatInt(memory, 10),
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		g.cpu = "/sys/fs/cgroup/" + name
		g.memory = g.cpu
		files = map[string]string{
			g.cpu + "/cpu.max":    fmt.Sprintf("%d 100000", int(cpus*100000)),
			g.cpu + "/memory.max": strconv.FormatInt(memory, 10),
		}
	}
	for _, dir := range []string{g.cpu, g.memory} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Skipf("make cgroup: %v", err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) }) // fails harmlessly for the second name of one directory
	}
	for file, content := range files {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Skipf("set cgroup limit: %v", err)
		}
	}
	return g
}

// command enters the group before it becomes the program, which reads its
// limits when it starts.
func (g *cgroup) command(name string, args ...string) *exec.Cmd {
	const enter = `for dir in "$1" "$2"; do echo $$ > "$dir/cgroup.procs" || exit 1; done; shift 2; exec "$@"`
	return exec.Command("sh", append([]string{"-c", enter, "sh", g.cpu, g.memory, name}, args...)...)
}

// read returns a counter of memory.oom_control (version 1) or memory.events (2).
func (g *cgroup) read(t *testing.T, key string) int64 {
	t.Helper()
	for _, file := range []string{"memory.events", "memory.oom_control"} {
		content, err := os.ReadFile(filepath.Join(g.memory, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(content)) {
			var n int64
			if _, err := fmt.Sscanf(line, key+" %d", &n); err == nil {
				return n
			}
		}
	}
	t.Fatalf("no %s in %s", key, g.memory)
	return 0
}
