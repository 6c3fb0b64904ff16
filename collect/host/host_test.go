package host

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/node_exporter/collector"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a log that can be read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func newCollector(t *testing.T, cfg Config) (*Collector, *journal) {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	j := &journal{}
	c, err := New(Options{Config: cfg, Logger: slog.New(slog.NewTextHandler(j, nil)), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return c, j
}

func gather(t *testing.T, c *Collector) map[string]*dto.MetricFamily {
	t.Helper()
	reg := prometheus.NewRegistry()
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

func success(families map[string]*dto.MetricFamily) map[string]bool {
	out := map[string]bool{}
	for _, m := range families["node_scrape_collector_success"].GetMetric() {
		out[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue() == 1
	}
	return out
}

func TestDefaultsMeasureThisHost(t *testing.T) {
	c, j := newCollector(t, Default())
	families := gather(t, c)
	for _, name := range []string{"node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_load1", "node_filesystem_size_bytes", "node_network_receive_bytes_total", "node_uname_info", "node_boot_time_seconds"} {
		if len(families[name].GetMetric()) == 0 {
			t.Errorf("no %s", name)
		}
	}
	if ran := success(families); len(ran) < 40 || !ran["cpu"] {
		t.Errorf("%d collectors ran, want node_exporter's defaults: %v", len(ran), ran)
	}
	once := j.String()
	gather(t, c)
	gather(t, c)
	if got := j.String(); got != once {
		t.Errorf("later scrapes logged again:\n%s", strings.TrimPrefix(got, once))
	}
	for line := range strings.Lines(once) {
		if !strings.Contains(line, `msg="host collector fails"`) {
			t.Errorf("unexpected log line: %s", line)
		}
	}
}

func TestSelection(t *testing.T) {
	cfg := Default()
	cfg.Collectors = []string{"loadavg", "uname", "systemd", "loadavg"}
	cfg.Exclude = []string{"systemd"}
	c, _ := newCollector(t, cfg)
	if got := success(gather(t, c)); len(got) != 2 || !got["loadavg"] || !got["uname"] {
		t.Errorf("ran %v, want loadavg and uname", got)
	}

	cfg.Collectors = []string{"time"}
	commit, discard, err := c.Prepare(cfg)
	if err != nil {
		t.Fatal(err)
	}
	discard()
	if got := success(gather(t, c)); len(got) != 2 {
		t.Errorf("ran %v after Prepare alone", got)
	}
	commit()
	if got := success(gather(t, c)); len(got) != 1 || !got["time"] {
		t.Errorf("ran %v after the change, want time", got)
	}

	off := Default()
	off.Enabled = false
	c, _ = newCollector(t, off)
	if got := success(gather(t, c)); len(got) != 0 {
		t.Errorf("ran %v although disabled", got)
	}
}

func TestSelectedByDefault(t *testing.T) {
	got := Default().selected()
	for _, name := range []string{"cpu", "diskstats", "filesystem", "meminfo", "netdev", "pressure", "textfile"} {
		if !slices.Contains(got, name) {
			t.Errorf("%s is not among the defaults", name)
		}
	}
	for _, name := range []string{"systemd", "perf", "ntp", "disable-defaults"} {
		if slices.Contains(got, name) {
			t.Errorf("%s is among the defaults", name)
		}
	}
}

// with replaces what is measured by functions.
func with(c *Collector, timeout time.Duration, units map[string]func(chan<- prometheus.Metric) error) {
	s := &set{config: Config{Timeout: model.Duration(timeout)}}
	for name, f := range units {
		s.units = append(s.units, &unit{name: name, update: f, gate: make(chan struct{}, 1)})
	}
	c.apply(s)
}

func metric(name string) prometheus.Metric {
	return prometheus.MustNewConstMetric(prometheus.NewDesc(name, "help", nil, nil), prometheus.GaugeValue, 1)
}

func TestHungCollectorDoesNotTakeTheOthersAway(t *testing.T) {
	c, j := newCollector(t, Config{Timeout: 1, Paths: Default().Paths})
	release, entered := make(chan struct{}), make(chan struct{}, 8)
	with(c, 100*time.Millisecond, map[string]func(chan<- prometheus.Metric) error{
		"good": func(ch chan<- prometheus.Metric) error { ch <- metric("good"); return nil },
		"hung": func(ch chan<- prometheus.Metric) error {
			entered <- struct{}{}
			<-release
			ch <- metric("late")
			return nil
		},
	})
	for range 3 {
		families := gather(t, c)
		if got := success(families); !got["good"] || got["hung"] || len(got) != 2 {
			t.Errorf("success is %v, want good alone", got)
		}
		if families["good"] == nil || families["late"] != nil {
			t.Error("the wrong metrics came")
		}
	}
	if n := len(entered); n != 1 {
		t.Errorf("the hung collector was started %d times, want once", n)
	}
	if n := testutil.ToFloat64(c.metrics.failures.WithLabelValues("hung")); n != 3 {
		t.Errorf("atoll_collect_host_failures_total is %v, want 3", n)
	}
	close(release)
	deadline := time.Now().Add(30 * time.Second)
	for !success(gather(t, c))["hung"] {
		if time.Now().After(deadline) {
			t.Fatal("the collector did not recover")
		}
	}
	if log := j.String(); strings.Count(log, "no answer within 100ms") != 1 || !strings.Contains(log, "works again") {
		t.Errorf("the log is\n%s", log)
	}
}

func TestFailuresAreLoggedOncePerSpell(t *testing.T) {
	c, j := newCollector(t, Config{Timeout: 1, Paths: Default().Paths})
	var err error
	with(c, time.Minute, map[string]func(chan<- prometheus.Metric) error{
		"u": func(chan<- prometheus.Metric) error { return err },
	})
	for _, next := range []error{collector.ErrNoData, errors.New("boom"), errors.New("boom"), nil, nil, errors.New("boom")} {
		err = next
		gather(t, c)
	}
	if got := strings.Count(j.String(), "host collector fails"); got != 2 {
		t.Errorf("%d warnings, want 2:\n%s", got, j)
	}
	if got := strings.Count(j.String(), "works again"); got != 1 {
		t.Errorf("%d recoveries, want 1:\n%s", got, j)
	}
}

func TestPathsAreFixedForTheProcess(t *testing.T) {
	newCollector(t, Default())
	cfg := Default()
	cfg.Paths.Rootfs = "/host"
	_, err := New(Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "--path.rootfs=/host") || !strings.Contains(err.Error(), "--path.rootfs=/\"") {
		t.Errorf("got %v, want a refusal with the old path and the new", err)
	}
	cfg = Default()
	cfg.Flags = []string{"--collector.textfile.directory=/x"}
	if _, err := New(Options{Config: cfg, Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("another set of flags was accepted")
	}
}

func TestUpstreamsLogIsLowered(t *testing.T) {
	c, j := newCollector(t, Default())
	_ = c
	logger := slog.New(&relay{to: &process.logs}).With("collector", "x")
	logger.Error("open failed")
	if got := j.String(); strings.Contains(got, "open failed") {
		t.Errorf("logged at info or above: %s", got)
	}
	debug := &journal{}
	h := slog.Handler(slog.NewTextHandler(debug, &slog.HandlerOptions{Level: slog.LevelDebug}))
	process.logs.Store(&h)
	logger.Error("open failed")
	if got := debug.String(); !strings.Contains(got, "level=DEBUG") || !strings.Contains(got, "collector=x") || !strings.Contains(got, "upstream_level=ERROR") {
		t.Errorf("got %q", got)
	}
}

func BenchmarkCollect(b *testing.B) {
	c, err := New(Options{Config: Default(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ch := make(chan prometheus.Metric, 1024)
	n := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range ch {
			n++
		}
	}()
	for b.Loop() {
		c.Collect(ch)
	}
	close(ch)
	<-done
	b.ReportMetric(float64(n)/float64(b.N), "samples/op")
}
