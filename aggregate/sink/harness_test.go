package sink

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/aggregate/sink/remotetest"
	"github.com/atoll-mesh/atoll/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// protocols runs a test for both versions of remote write.
func protocols(t *testing.T, f func(t *testing.T, msg remoteapi.WriteMessageType)) {
	t.Run("v1", func(t *testing.T) { t.Parallel(); f(t, remoteapi.WriteV1MessageType) })
	t.Run("v2", func(t *testing.T) { t.Parallel(); f(t, remoteapi.WriteV2MessageType) })
}

// to is an entry for a receiver.
func to(t testing.TB, at string, msg remoteapi.WriteMessageType, change ...func(*RemoteWrite)) RemoteWrite {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	r := DefaultRemoteWrite()
	r.URL, r.ProtobufMessage = &commonconfig.URL{URL: u}, msg
	r.QueueConfig.MaxBackoff = model.Duration(100 * time.Millisecond)
	for _, f := range change {
		f(&r)
	}
	return r
}

// running is Sinks at work.
type running struct {
	*Sinks
	t    testing.TB
	dir  string
	reg  *prometheus.Registry
	list *health.List
	stop func()
}

func open(t testing.TB, dir string, c Config) *running {
	t.Helper()
	r := &running{t: t, dir: dir, reg: prometheus.NewRegistry(), list: health.New(nil)}
	level := slog.LevelWarn
	if os.Getenv("ATOLL_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	s, err := New(Options{
		Config: c, Dir: dir, Registerer: r.reg, Health: r.list,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("test", t.Name()),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Sinks = s
	r.stop = sync.OnceFunc(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
		if err := r.Close(); err != nil {
			r.t.Error(err)
		}
	})
}

func start(t testing.TB, dir string, c Config) *running {
	t.Helper()
	r := open(t, dir, c)
	r.run()
	return r
}

func (r *running) reload(c Config) {
	r.t.Helper()
	commit, _, err := r.Prepare(c)
	if err != nil {
		r.t.Fatal(err)
	}
	commit()
}

// metric sums the series of a name whose labels have these values.
func (r *running) metric(name string, values ...string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	next:
		for _, m := range f.GetMetric() {
			have := map[string]bool{}
			for _, l := range m.GetLabel() {
				have[l.GetValue()] = true
			}
			for _, v := range values {
				if !have[v] {
					continue next
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// window is what one window of n series publishes at t: floats, now and then NaN
// or Inf, and a few histograms.
func window(n int, t int64) []Sample {
	out := make([]Sample, n)
	for i := range out {
		s := Sample{Labels: labels.FromStrings(labels.MetricName, "m:1m_total", "i", fmt.Sprint(i)), T: t, V: float64(t) + float64(i)/1000}
		switch i % 100 {
		case 7:
			s.V = math.Inf(-1)
		case 8:
			s.V = math.NaN()
		case 9:
			s.H = tsdbutil.GenerateTestFloatHistogram(int64(i))
		}
		out[i] = s
	}
	return out
}

type contents = map[string][]remotetest.Point

func add(c contents, samples []Sample) {
	for _, s := range samples {
		p := remotetest.Point{T: s.T, V: math.Float64bits(s.V)}
		if s.H != nil {
			p = remotetest.Point{T: s.T, H: s.H.String()}
		}
		c[s.Labels.String()] = append(c[s.Labels.String()], p)
	}
}

// write writes windows and returns them as contents.
func (r *running) write(c contents, series, windows int, from int64) {
	r.t.Helper()
	for w := range windows {
		samples := window(series, from+int64(w)*60_000)
		if err := r.Write(samples); err != nil {
			r.t.Fatal(err)
		}
		add(c, samples)
	}
}

// same waits until the receiver has everything, and compares.
func same(t testing.TB, want contents, r *remotetest.Receiver) {
	t.Helper()
	var got contents
	remotetest.Eventually(t, fmt.Sprintf("%d samples to arrive", remotetest.Count(want)), func() bool {
		got = r.Contents()
		return remotetest.Count(got) >= remotetest.Count(want)
	})
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("written (-) and received (+) differ:\n%s", d[:min(len(d), 3000)])
	}
}
