package send

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

func TestEverySampleArrives(t *testing.T) {
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		r, i := newReceiver(t, nil), newIsland(t)
		i.start(remoteConfig(t, r.srv.URL, msg, nil))
		ts := i.scrapes(40, 50, hoursAgo(4))

		app := i.db.AppenderV2(t.Context())
		add := func(name string, v float64, o storage.AOptions) {
			if _, err := app.Append(0, labels.FromStrings(labels.MetricName, name), 0, ts, v, nil, nil, o); err != nil {
				t.Fatal(err)
			}
		}
		add("stale", math.Float64frombits(value.StaleNaN), storage.AOptions{})
		add("infinite", math.Inf(-1), storage.AOptions{})
		add("exemplary", 7, storage.AOptions{Exemplars: []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", "abc"), Value: 3, Ts: ts - 1, HasTs: true}}})
		if _, err := app.Append(0, labels.FromStrings(labels.MetricName, "h"), 0, ts, 0, tsdbutil.GenerateTestHistogram(3), nil, storage.AOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := app.Append(0, labels.FromStrings(labels.MetricName, "fh"), 0, ts, 0, nil, tsdbutil.GenerateTestFloatHistogram(4), storage.AOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		i.same(r)
		if n := r.refused.Load(); n > 0 {
			t.Errorf("receiver refused %d requests", n)
		}
		q, err := r.db.ExemplarQuerier(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ex, err := q.Select(0, math.MaxInt64, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, "exemplary")})
		if err != nil || len(ex) != 1 || len(ex[0].Exemplars) != 1 || ex[0].Exemplars[0].Value != 3 {
			t.Errorf("exemplars = %v, %v", ex, err)
		}
	})
}

func TestOutageAndRestarts(t *testing.T) {
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		r, i := newReceiver(t, nil), newIsland(t)
		cfg := remoteConfig(t, r.srv.URL, msg, nil)
		i.start(cfg)
		ts := i.scrapes(40, 20, hoursAgo(4))
		i.same(r)
		r.answer(http.StatusServiceUnavailable)
		ts = i.scrapes(40, 30, ts)
		i.restart(cfg)
		ts = i.scrapes(40, 30, ts)
		i.restart(cfg)
		i.scrapes(40, 5, ts)
		r.heal()
		i.same(r)
		if n := i.dropped(dropRejected); n > 0 || r.refused.Load() > 0 {
			t.Errorf("dropped %v samples as refused, receiver refused %d requests", n, r.refused.Load())
		}
	})
}

func TestKilledWhileSending(t *testing.T) {
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		r, i := newReceiver(t, nil), newIsland(t)
		cfg := remoteConfig(t, r.srv.URL, msg, nil)
		i.start(cfg)
		ts := hoursAgo(4)
		for range 4 {
			// The receiver takes what it gets and its answers are lost: the sender
			// cannot know that the requests in flight were delivered.
			ts = i.scrapes(40, 25, ts)
			before := r.requests.Load()
			r.swallow()
			ts = i.scrapes(40, 25, ts)
			eventually(t, "some requests", func() bool { return r.requests.Load() > before+3 })
			i = i.killed(r)
			r.heal()
			i.start(cfg)
		}
		i.scrapes(40, 2, ts)
		i.same(r)
	})
}

func TestFlappingReceiver(t *testing.T) {
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		r, i := newReceiver(t, nil), newIsland(t)
		flap := func(w http.ResponseWriter, _ *http.Request) bool {
			switch r.requests.Load() % 5 {
			case 0:
				w.WriteHeader(http.StatusInternalServerError)
			case 1:
				w.WriteHeader(http.StatusServiceUnavailable)
			case 2:
				w.WriteHeader(http.StatusTooManyRequests)
			default:
				return false
			}
			return true
		}
		r.spoil.Store(&flap)
		i.start(remoteConfig(t, r.srv.URL, msg, nil))
		i.scrapes(40, 60, hoursAgo(4))
		i.same(r)
		if n := r.refused.Load(); n > 0 {
			t.Errorf("receiver refused %d requests", n)
		}
	})
}

func TestRefusedSamplesAreCounted(t *testing.T) {
	r, i := newReceiver(t, nil), newIsland(t)
	r.answer(http.StatusBadRequest)
	i.start(remoteConfig(t, r.srv.URL, remoteapi.WriteV1MessageType, nil))
	ts := i.scrapes(40, 10, hoursAgo(4))
	eventually(t, "400 samples dropped", func() bool { return i.dropped(dropRejected) == 400 })
	eventually(t, "a warning", func() bool {
		a := i.list.Active()
		return len(a) == 1 && a[0].Code == "send-remote-refuses"
	})
	r.heal()
	i.scrapes(40, 10, ts)
	eventually(t, "the samples after them", func() bool { return count(contents(t, r.db)) == 400 })
}

func TestRetryAfterIsHonoured(t *testing.T) {
	r, i := newReceiver(t, nil), newIsland(t)
	limit := func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	r.spoil.Store(&limit)
	i.start(remoteConfig(t, r.srv.URL, remoteapi.WriteV1MessageType, func(c *promconfig.RemoteWriteConfig) { c.QueueConfig.MinShards = 1 }))
	i.scrapes(40, 60, hoursAgo(4))
	eventually(t, "the first request", func() bool { return r.requests.Load() == 1 })
	eventually(t, "the reader to wait", func() bool { return i.s.running != nil && pendingOf(i) >= 300 })
	if n := r.requests.Load(); n != 1 {
		t.Errorf("made %d requests within Retry-After, want 1", n)
	}
}

func pendingOf(i *island) int {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	for _, r := range i.s.running {
		return r.pump.pendingSamples()
	}
	return 0
}

func TestUnreachableRemoteRaisesAWarning(t *testing.T) {
	r, i := newReceiver(t, nil), newIsland(t)
	r.answer(http.StatusBadGateway)
	i.opts = func(o *Options) {
		o.Config.UnreachableAfter = 1
		o.Retention = func() time.Duration { return 24 * time.Hour }
	}
	i.start(remoteConfig(t, r.srv.URL, remoteapi.WriteV1MessageType, nil))
	i.scrapes(10, 1, hoursAgo(4))
	var text string
	eventually(t, "a warning", func() bool {
		a := i.list.Active()
		if len(a) == 1 && a[0].Code == "send-remote-unreachable" {
			text = a[0].Text
		}
		return contains(text, "test (http://127.0.0.1", "since ", "502 Bad Gateway", " behind", "kept until ")
	})
	r.heal()
	i.same(r)
	eventually(t, "the warning to end", func() bool { return len(i.list.Active()) == 0 })
}

func TestLateSamplesDoNotSpoilOthers(t *testing.T) {
	window := func(o *tsdb.Options) { o.OutOfOrderTimeWindow = (24 * time.Hour).Milliseconds() }
	for _, tc := range []struct {
		name    string
		lenient bool
	}{{"taken", true}, {"refused", false}} {
		t.Run(tc.name, func(t *testing.T) {
			var change func(*tsdb.Options)
			if tc.lenient {
				change = window
			}
			r, i := newReceiver(t, change), newIsland(t)
			i.tsdb = window
			i.start(remoteConfig(t, r.srv.URL, remoteapi.WriteV1MessageType, nil))
			start := hoursAgo(4)
			ts := i.scrapes(40, 50, start)
			i.late(start + 7_500)
			i.scrapes(40, 50, ts)
			if tc.lenient {
				i.same(r)
				return
			}
			eventually(t, "all but the late samples", func() bool { return count(contents(t, r.db)) == 40*100 })
			eventually(t, "the late ones counted", func() bool { return i.dropped(dropRejected) == 5 })
		})
	}
}

func TestRelabellingAndExternalLabels(t *testing.T) {
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		r, i := newReceiver(t, nil), newIsland(t)
		cfg := remoteConfig(t, r.srv.URL, msg, func(c *promconfig.RemoteWriteConfig) {
			drop := relabel.DefaultRelabelConfig
			drop.SourceLabels, drop.Regex, drop.Action = model.LabelNames{"k"}, relabel.MustNewRegexp("[1-9]."), relabel.Drop
			drop.NameValidationScheme = model.UTF8Validation
			rename := relabel.DefaultRelabelConfig
			rename.SourceLabels, rename.TargetLabel, rename.Replacement = model.LabelNames{"__name__"}, "__name__", "renamed"
			rename.NameValidationScheme = model.UTF8Validation
			c.WriteRelabelConfigs = []*relabel.Config{&drop, &rename}
		})
		cfg.GlobalConfig.ExternalLabels = labels.FromStrings("site", "a", "k", "not over the series' own")
		i.start(cfg)
		ts := i.scrapes(40, 20, hoursAgo(10))
		ts = displaced(t, i, r, ts)
		r.heal()
		i.scrapes(40, 20, ts)
		eventually(t, "ten series of 960 samples", func() bool { return count(contents(t, r.db)) == 10*960 })
		for ls := range contents(t, r.db) {
			if !strings.Contains(ls, `__name__="renamed"`) || !strings.Contains(ls, `site="a"`) {
				t.Errorf("received %s", ls)
			}
		}
	})
}

func TestShardsFollowTheLoadLimits(t *testing.T) {
	r, i := newReceiver(t, nil), newIsland(t)
	shards := func(n int) func(*promconfig.RemoteWriteConfig) {
		return func(c *promconfig.RemoteWriteConfig) { c.QueueConfig.MinShards, c.QueueConfig.MaxShards = n, n }
	}
	i.start(remoteConfig(t, r.srv.URL, remoteapi.WriteV1MessageType, shards(1)))
	ts := i.scrapes(40, 30, hoursAgo(4))
	for _, n := range []int{7, 2} {
		i.reload(remoteConfig(t, r.srv.URL, remoteapi.WriteV1MessageType, shards(n)))
		ts = i.scrapes(40, 30, ts)
		eventually(t, "the new number of shards", func() bool {
			return testutil.ToFloat64(i.s.m.shards.WithLabelValues("test")) == float64(n)
		})
		ts = i.scrapes(40, 30, ts)
	}
	i.same(r)
	if n := r.refused.Load(); n > 0 {
		t.Errorf("receiver refused %d requests", n)
	}
}

func TestWantShards(t *testing.T) {
	queue := promconfig.DefaultQueueConfig
	queue.MinShards, queue.MaxShards = 2, 10
	for _, tc := range []struct {
		name    string
		busy    time.Duration
		failing bool
		n, want int
	}{
		{"held up", 8 * time.Second, false, 4, 8},
		{"held up at the limit", 8 * time.Second, false, 8, 10},
		{"held up by failures", 8 * time.Second, true, 4, 4},
		{"a little held up", time.Second, false, 4, 4},
		{"never held up", 0, false, 4, 2},
		{"never held up at the limit", 0, false, 2, 2},
	} {
		p := &pump{busy: tc.busy, resharded: time.Now().Add(-reshardEvery)}
		p.spec.Store(&spec{config: &promconfig.RemoteWriteConfig{QueueConfig: queue}})
		if tc.failing {
			p.outlook.failing = time.Now()
		}
		if got := p.wantShards(tc.n); got != tc.want {
			t.Errorf("%s: %d shards, want %d", tc.name, got, tc.want)
		}
	}
}
