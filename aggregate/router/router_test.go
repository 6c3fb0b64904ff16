package router

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/aggregate/sink"
	"github.com/atoll-mesh/atoll/aggregate/sink/remotetest"
	"github.com/atoll-mesh/atoll/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type contents = map[string][]remotetest.Point

func backend(t testing.TB, name, at string, change ...func(*Backend)) Backend {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	b := Backend{RemoteWrite: sink.DefaultRemoteWrite()}
	b.Name, b.URL = name, &commonconfig.URL{URL: u}
	b.ProtobufMessage = remoteapi.WriteV2MessageType
	b.QueueConfig.MaxBackoff = model.Duration(50 * time.Millisecond)
	for _, f := range change {
		f(&b)
	}
	return b
}

type running struct {
	*Router
	t    testing.TB
	dir  string
	reg  *prometheus.Registry
	stop func()
}

func start(t testing.TB, dir string, c Config, change ...func(*Options)) *running {
	t.Helper()
	r := &running{t: t, dir: dir, reg: prometheus.NewRegistry()}
	o := Options{
		Config: c, Dir: dir, Registerer: r.reg, Health: health.New(nil),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if r.Router, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) metric(name, backend string) (sum float64) {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() != name || backend != "" && (len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() != backend) {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func series(i int) labels.Labels {
	return labels.FromStrings(labels.MetricName, "m", "pod", fmt.Sprint(i/10), "series", fmt.Sprint(i))
}

// write commits one sample of each of n series at each time.
func (r *running) write(want contents, n int, times ...int64) {
	r.t.Helper()
	for _, ts := range times {
		app := r.AppenderV2(r.t.Context())
		for i := range n {
			v := float64(ts) + float64(i)
			if _, err := app.Append(0, series(i), 0, ts, v, nil, nil, storage.AOptions{}); err != nil {
				r.t.Fatal(err)
			}
			k := series(i).String()
			want[k] = append(want[k], remotetest.Point{T: ts, V: math.Float64bits(v)})
		}
		if err := app.Commit(); err != nil {
			r.t.Fatal(err)
		}
	}
}

// union joins what receivers have; with says how many have each sample.
func union(rs ...*remotetest.Receiver) (all contents, with map[string]int) {
	all, with = contents{}, map[string]int{}
	for _, r := range rs {
		for k, ps := range r.Contents() {
			for _, p := range ps {
				if with[fmt.Sprint(k, p.T)]++; !slices.Contains(all[k], p) {
					all[k] = append(all[k], p)
				}
			}
		}
	}
	for _, ps := range all {
		slices.SortFunc(ps, func(a, b remotetest.Point) int { return int(a.T - b.T) })
	}
	return all, with
}

// same waits until the receivers together have each sample copies times.
func same(t testing.TB, want contents, copies int, rs ...*remotetest.Receiver) {
	t.Helper()
	var got contents
	var with map[string]int
	remotetest.Eventually(t, "all samples to arrive", func() bool {
		got, with = union(rs...)
		n := 0
		for _, k := range with {
			n += k
		}
		return n >= copies*remotetest.Count(want)
	})
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("written (-) and received (+) differ:\n%s", d[:min(len(d), 2000)])
	}
	for k, n := range with {
		if n != copies {
			t.Fatalf("%s is at %d backends, want %d", k, n, copies)
		}
	}
}

func now() int64 { return time.Now().Add(-30 * time.Minute).UnixMilli() }

func steps(from int64, n int) (out []int64) {
	for i := range n {
		out = append(out, from+int64(i)*15_000)
	}
	return out
}

func TestBalanceOverRealReceivers(t *testing.T) {
	a, b, c := remotetest.New(t), remotetest.New(t), remotetest.New(t)
	r := start(t, t.TempDir(), Config{Backends: []Backend{
		backend(t, "a", a.URL()), backend(t, "b", b.URL(), func(b *Backend) { b.ProtobufMessage = remoteapi.WriteV1MessageType }), backend(t, "c", c.URL()),
	}})
	want := contents{}
	r.write(want, 6000, steps(now(), 3)...)
	same(t, want, 1, a, b, c)
	for name, recv := range map[string]*remotetest.Receiver{"a": a, "b": b, "c": c} {
		if n := len(recv.Contents()); n < 1800 || n > 2200 {
			t.Errorf("%s has %d of 6000 series, want about a third", name, n)
		}
		if got := int(r.metric("atoll_router_routed_samples_total", name)); got != remotetest.Count(recv.Contents()) {
			t.Errorf("%s: %d samples counted, %d arrived", name, got, remotetest.Count(recv.Contents()))
		}
	}
}

// TestChosenLabels: series that differ in other labels only stay together.
func TestChosenLabels(t *testing.T) {
	for name, c := range map[string]Config{"labels": {Labels: []string{"pod"}}, "ignore_labels": {IgnoreLabels: []string{"series"}}} {
		c.Replicas = 1
		for i := range 10 {
			c.Backends = append(c.Backends, backend(t, fmt.Sprint(i), "http://x/"))
		}
		r := newRing(c)
		at := map[int]map[int]bool{}
		for i := range 1000 {
			h, _ := r.hash(series(i), nil)
			if at[i/10] == nil {
				at[i/10] = map[int]bool{}
			}
			at[i/10][r.choose(nil, h, 0, 0, nil)[0]] = true
		}
		used := map[int]bool{}
		for pod, places := range at {
			if len(places) != 1 {
				t.Errorf("%s: pod %d is at %d backends", name, pod, len(places))
			}
			maps.Copy(used, places)
		}
		if len(used) != 10 {
			t.Errorf("%s: %d of 10 backends are used", name, len(used))
		}
	}
}

// TestMinimalMovement: a backend that comes takes its share from the others, one
// that goes gives its own, and nothing else moves; with replicas too.
func TestMinimalMovement(t *testing.T) {
	for replicas := 1; replicas <= 3; replicas++ {
		c := Config{Replicas: replicas}
		for i := range 5 {
			c.Backends = append(c.Backends, backend(t, fmt.Sprint("b", i), "http://x/"))
		}
		more := c
		more.Backends = append([]Backend{backend(t, "new", "http://y/")}, c.Backends...)
		small, large := newRing(c), newRing(more)
		const n = 20_000
		moved, gained := 0, 0
		for i := range n {
			h, _ := small.hash(series(i), nil)
			was, is := map[string]bool{}, map[string]bool{}
			for _, k := range small.choose(nil, h, 0, 0, nil) {
				was[small.backends[k].key] = true
			}
			for _, k := range large.choose(nil, h, 0, 0, nil) {
				is[large.backends[k].key] = true
			}
			if len(was) != replicas || len(is) != replicas {
				t.Fatalf("%d and %d backends for %d replicas", len(was), len(is), replicas)
			}
			for k := range is {
				if !was[k] {
					moved++
					if k == more.Backends[0].key() {
						gained++
					}
				}
			}
		}
		if moved != gained {
			t.Errorf("%d replicas: %d series moved between backends that stayed", replicas, moved-gained)
		}
		if share := float64(gained) / n; math.Abs(share-float64(replicas)/6) > 0.02 {
			t.Errorf("%d replicas: the new backend got %.3f of the series, want %.3f", replicas, share, float64(replicas)/6)
		}
	}
}

// TestDeadBackend: the breaker opens, the queue grows on disk, the others go on;
// when it is back the queue drains and nothing is lost, over a restart too.
func TestDeadBackend(t *testing.T) {
	a, b, c := remotetest.New(t), remotetest.New(t), remotetest.New(t)
	conf := Config{
		Backends: []Backend{backend(t, "a", a.URL()), backend(t, "b", b.URL()), backend(t, "c", c.URL())},
		Breaker:  Breaker{Failures: 3, Pause: model.Duration(200 * time.Millisecond), MaxPause: model.Duration(time.Second)},
	}
	r := start(t, t.TempDir(), conf)
	want := contents{}
	times := steps(now(), 30)
	r.write(want, 300, times[:5]...)
	same(t, want, 1, a, b, c)
	b.Answer(http.StatusServiceUnavailable)
	r.write(want, 300, times[5:15]...)
	remotetest.Eventually(t, "the breaker to open", func() bool {
		return r.metric("atoll_router_breaker_opened_total", "b") > 0 && r.metric("atoll_router_queue_entries", "b") > 0
	})
	share := len(a.Contents()) + len(c.Contents())
	remotetest.Eventually(t, "the others to have all of theirs", func() bool {
		return remotetest.Count(a.Contents())+remotetest.Count(c.Contents()) == 15*share
	})
	if n := r.metric("atoll_router_breaker_state", "a") + r.metric("atoll_router_breaker_opened_total", "a"); n != 0 {
		t.Error("the breaker of a sound backend opened")
	}
	// While it is open the backend is asked once a pause, not once a backoff.
	opened, asked := r.metric("atoll_router_breaker_opened_total", "b"), b.Requests.Load()
	remotetest.Eventually(t, "two more trials", func() bool { return r.metric("atoll_router_breaker_opened_total", "b") >= opened+2 })
	if n := b.Requests.Load() - asked; n > 4 {
		t.Errorf("%d requests in two trials", n)
	}
	r.stop()
	r = start(t, r.dir, conf)
	r.write(want, 300, times[15:20]...)
	b.Spoil(nil)
	same(t, want, 1, a, b, c)
	remotetest.Eventually(t, "the breaker to close", func() bool {
		return r.metric("atoll_router_breaker_state", "b") == closed && r.metric("atoll_router_queue_entries", "b") == 0
	})
}

// TestReplicas: with two of each, one dead backend costs nothing.
func TestReplicas(t *testing.T) {
	a, b, c := remotetest.New(t), remotetest.New(t), remotetest.New(t)
	r := start(t, t.TempDir(), Config{Replicas: 2, Backends: []Backend{backend(t, "a", a.URL()), backend(t, "b", b.URL()), backend(t, "c", c.URL())}})
	want := contents{}
	times := steps(now(), 10)
	r.write(want, 300, times[:5]...)
	same(t, want, 2, a, b, c)
	c.Answer(http.StatusInternalServerError)
	r.write(want, 300, times[5:]...)
	remotetest.Eventually(t, "everything to be at the two that live", func() bool {
		got, _ := union(a, b)
		return remotetest.Count(got) == remotetest.Count(want)
	})
	c.Spoil(nil)
	same(t, want, 2, a, b, c)
}

// TestBackendsComeAndGo: what waits for a dead backend that is removed, while it
// runs or while nothing does, arrives at those that take its share over.
func TestBackendsComeAndGo(t *testing.T) {
	for _, replicas := range []int{1, 2} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			a, b, c, d := remotetest.New(t), remotetest.New(t), remotetest.New(t), remotetest.New(t)
			conf := Config{Replicas: replicas, Backends: []Backend{backend(t, "a", a.URL()), backend(t, "b", b.URL()), backend(t, "c", c.URL())}}
			r := start(t, t.TempDir(), conf)
			want := contents{}
			times := steps(now(), 20)
			b.Answer(http.StatusServiceUnavailable)
			r.write(want, 300, times[:5]...)
			reload := func() {
				commit, _, err := r.Prepare(conf)
				if err != nil {
					t.Fatal(err)
				}
				commit()
			}
			conf.Backends = []Backend{conf.Backends[0], conf.Backends[2], backend(t, "d", d.URL())}
			reload()
			r.write(want, 300, times[5:10]...)
			same(t, want, replicas, a, c, d)
			if n := r.metric("atoll_router_moved_samples_total", ""); n == 0 {
				t.Error("nothing was counted as moved")
			}
			c.Answer(http.StatusServiceUnavailable)
			r.write(want, 300, times[10:15]...)
			r.stop()
			conf.Backends = []Backend{conf.Backends[0], conf.Backends[2]}
			r = start(t, r.dir, conf)
			r.write(want, 300, times[15:]...)
			remotetest.Eventually(t, "everything to be somewhere", func() bool {
				got, _ := union(a, c, d)
				return remotetest.Count(got) == remotetest.Count(want)
			})
		})
	}
}

func TestWindows(t *testing.T) {
	young, old := remotetest.New(t), remotetest.New(t)
	hour := int64(3_600_000)
	clock := time.Now()
	ms := clock.UnixMilli()
	r := start(t, t.TempDir(), Config{Backends: []Backend{
		backend(t, "young", young.URL(), func(b *Backend) { b.MaxAge = model.Duration(time.Hour) }),
		backend(t, "old", old.URL(), func(b *Backend) {
			b.MinAge = model.Duration(time.Hour)
			b.NotBefore = clock.Add(-3 * time.Hour)
		}),
	}}, func(o *Options) { o.Now = func() time.Time { return clock } })
	all := contents{}
	r.write(all, 200, ms-4*hour)
	r.write(all, 200, ms-2*hour)
	r.write(all, 200, ms-hour/2)
	times := func(recv *remotetest.Receiver) map[int64]int {
		out := map[int64]int{}
		for _, ps := range recv.Contents() {
			for _, p := range ps {
				out[p.T]++
			}
		}
		return out
	}
	remotetest.Eventually(t, "all that fit", func() bool {
		return maps.Equal(times(young), map[int64]int{ms - hour/2: 200}) && maps.Equal(times(old), map[int64]int{ms - 2*hour: 200})
	})
	if n := r.metric("atoll_router_unroutable_samples_total", ""); n != 200 {
		t.Errorf("%v samples were counted as unroutable, want 200", n)
	}
	if y, o := r.metric("atoll_router_outside_window_samples_total", "young"), r.metric("atoll_router_outside_window_samples_total", "old"); y < 220 || y > 380 || o < 220 || o > 380 {
		t.Errorf("%v and %v samples were counted as outside, want about 300 each", y, o)
	}
}

func TestRollback(t *testing.T) {
	a := remotetest.New(t)
	r := start(t, t.TempDir(), Config{Backends: []Backend{backend(t, "a", a.URL())}})
	app := r.AppenderV2(t.Context())
	if _, err := app.Append(0, series(1), 0, now(), 1, nil, nil, storage.AOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := app.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := r.metric("atoll_router_routed_samples_total", ""); n != 0 {
		t.Errorf("%v samples of a transaction that was rolled back are queued", n)
	}
}

func TestConfig(t *testing.T) {
	var c Config
	text := `
labels: [pod]
replicas: 2
breaker: {failures: 3, pause: 2s}
backends:
- name: a
  url: http://a/api/v1/write
  queue: 2GiB
  max_age: 1h
  basic_auth: {username: u, password: p}
- url: http://b/write
  protobuf_message: io.prometheus.write.v2.Request
  not_before: 2026-01-31T00:00:00Z
`
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	a, b := c.Backends[0], c.Backends[1]
	if a.Queue != 2<<30 || a.MaxAge != model.Duration(time.Hour) || a.HTTPClientConfig.BasicAuth.Password != "p" || a.QueueConfig.MaxSamplesPerSend != 5000 || !a.SendNativeHistograms {
		t.Errorf("%+v", a)
	}
	if b.ProtobufMessage != remoteapi.WriteV2MessageType || b.NotBefore.Year() != 2026 || b.Queue != 1<<30 {
		t.Errorf("%+v", b)
	}
	if err := yaml.Unmarshal([]byte("backends: [{url: http://a/, basic_auth: {username: u}, authorization: {credentials: x}}]"), &c); err == nil {
		t.Error("upstream's own checks are not made")
	}
	bad := Config{Labels: []string{"a"}, IgnoreLabels: []string{"b"}, Replicas: 9, Backends: []Backend{
		backend(t, "x", "http://x/", func(b *Backend) { b.MinAge, b.MaxAge, b.Queue = 5, 5, 7 }),
		backend(t, "y", "http://y/"), backend(t, "y", "http://z/"),
	}}
	err := bad.Validate()
	for _, want := range []string{"both are given", "replicas: got 9 with 3 backends", "backends[0].min_age", "backends[0].queue", "backends[2]: is the same receiver as backends[1]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("no backends: %v", err)
	}
}
