package probe

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/place"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/schedule"
)

// samples is a store that keeps the samples of probe_success.
type samples struct {
	mu   sync.Mutex
	last map[string]string // by labels: the value, or stale
	n    map[string]int
}

func (s *samples) AppenderV2(context.Context) storage.AppenderV2 { return s }

func (s *samples) Append(_ storage.SeriesRef, ls labels.Labels, _, _ int64, v float64, _ *histogram.Histogram, _ *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ls.Get(labels.MetricName) != "probe_success" {
		return 1, nil
	}
	text := fmt.Sprint(v)
	if math.Float64bits(v) == value.StaleNaN {
		text = "stale"
	}
	key := labels.NewBuilder(ls).Del(labels.MetricName).Labels().String()
	s.last[key] = text
	s.n[key]++
	return 1, nil
}

func (*samples) Commit() error   { return nil }
func (*samples) Rollback() error { return nil }

// live lists the series that did not end, with their last values.
func (s *samples) live() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, v := range s.last {
		if v != "stale" {
			out = append(out, key+" "+v)
		}
	}
	slices.Sort(out)
	return out
}

// fake is a prober that notes what it was asked, and fails targets with "bad" in them.
type fake struct {
	mu       sync.Mutex
	requests map[string]string // target → host
}

func (f *fake) probe(_ context.Context, r *protocol.Request) *protocol.Result {
	f.mu.Lock()
	f.requests[r.Target] = r.Host
	f.mu.Unlock()
	if strings.Contains(r.Target, "panic") {
		panic("at the disco")
	}
	out := &protocol.Result{Up: true, Start: time.Now(), Took: time.Millisecond}
	if strings.Contains(r.Target, "bad") {
		out.Fail(protocol.ConnectTimeout, protocol.Connect, "no answer from %s", r.Target)
	}
	return out
}

// host is what a target was asked for.
func (f *fake) host(target string) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	host, ok := f.requests[target]
	return host, ok
}

// nameServer has a table of answers.
type nameServer struct {
	mu    sync.Mutex
	table map[string][]string
}

func (n *nameServer) set(host string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.table[host] = addrs
}

func (n *nameServer) LookupNetIP(_ context.Context, _, host string) (out []netip.Addr, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.table[host] {
		out = append(out, netip.MustParseAddr(a))
	}
	if out == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return out, nil
}

// room is a Prober that runs in a bubble of virtual time.
type room struct {
	*Prober
	t      *testing.T
	store  *samples
	fake   *fake
	dns    *nameServer
	labels atomic.Pointer[map[string]string]
	end    func()
}

func define(t *testing.T, name, text string) *definition.Definition {
	t.Helper()
	d, err := definition.Read(name, name+".yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func begin(t *testing.T, island string, set Set, change func(*Options)) *room {
	t.Helper()
	r := &room{
		t: t, store: &samples{last: map[string]string{}, n: map[string]int{}}, fake: &fake{requests: map[string]string{}},
		dns: &nameServer{table: map[string][]string{}},
	}
	r.labels.Store(&map[string]string{"island": island, "region": "eu"})
	o := Options{
		Config: Default(), Set: set, Store: r.store, Labels: func() map[string]string { return *r.labels.Load() },
		Registerer: prometheus.NewRegistry(), resolver: r.dns, table: map[string]protocol.Func{},
	}
	for _, name := range definition.Probers() {
		o.table[name] = r.fake.probe
	}
	if change != nil {
		change(&o)
	}
	var err error
	if r.Prober, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	r.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return r
}

func (r *room) reload(cfg Config, set Set) {
	r.t.Helper()
	commit, _, err := r.Prepare(cfg, set)
	if err != nil {
		r.t.Fatal(err)
	}
	commit()
}

func (r *room) wantLive(when string, want ...string) {
	r.t.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, r.store.live()); diff != "" {
		r.t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func TestSeriesAndReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lat, lon := 52.52, 13.405
		web := define(t, "web", "targets: [https://a/, {url: https://bad/, labels: {tier: \"1\"}}]\nlabels: {team: shop}\ninterval: 10s")
		r := begin(t, "berlin", Set{Local: []*definition.Definition{web}}, func(o *Options) {
			o.Config.Place = place.Config{Latitude: &lat, Longitude: &lon, ISP: "telecom"}
		})
		defer r.end()
		time.Sleep(6 * time.Second)
		const from = `geohash="u33dc", `
		r.wantLive("first results",
			`{`+from+`instance="https://a/", isp="telecom", job="web", region="eu", team="shop", vantage="berlin"} 1`,
			`{`+from+`instance="https://bad/", isp="telecom", job="web", region="eu", team="shop", tier="1", vantage="berlin"} 0`)
		got := r.Targets("web", "down")
		if len(got) != 1 || got[0].Target != "https://bad/" || got[0].Reason != "connect_timeout" || got[0].Phase != "connect" || got[0].Words != "no answer from https://bad/" || got[0].At == nil {
			t.Errorf("targets that are down: %+v", got)
		}
		if d := r.Definitions(); len(d) != 1 || d[0].Targets != 2 || d[0].Up != 1 || d[0].Vantages != 1 || d[0].Prober != "http" {
			t.Errorf("definitions: %+v", d)
		}

		other := define(t, "web", "targets: [https://a/, https://c/]\ninterval: 10s")
		cfg := Default()
		r.reload(cfg, Set{Shared: []*definition.Definition{other}})
		time.Sleep(11 * time.Second)
		r.wantLive("a changed definition",
			`{instance="https://a/", job="web", region="eu", vantage="berlin"} 1`,
			`{instance="https://c/", job="web", region="eu", vantage="berlin"} 1`)

		r.labels.Store(&map[string]string{"island": "berlin", "region": "us"})
		time.Sleep(13 * time.Second)
		r.wantLive("another region",
			`{instance="https://a/", job="web", region="us", vantage="berlin"} 1`,
			`{instance="https://c/", job="web", region="us", vantage="berlin"} 1`)

		r.reload(cfg, Set{})
		time.Sleep(time.Second)
		r.wantLive("nothing any more")
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, "berlin", Set{Local: []*definition.Definition{
			define(t, "good", "targets: [a]\ninterval: 1s"),
			define(t, "panics", "targets: [panic]\ninterval: 1s"),
			define(t, "unknown", "targets: [a]\nmodule: nope"),
		}, Shared: []*definition.Definition{define(t, "good", "targets: [b]")}}, nil)
		defer r.end()
		time.Sleep(3 * time.Second)
		r.wantLive("what is left",
			`{instance="a", job="good", region="eu", vantage="berlin"} 1`, `{instance="panic", job="panics", region="eu", vantage="berlin"} 0`)
		if got := r.Targets("panics", ""); len(got) != 1 || got[0].Reason != "internal" {
			t.Errorf("a prober that panics: %+v", got)
		}
		var problems []string
		for _, d := range r.Definitions() {
			if d.Problem != "" {
				problems = append(problems, d.Name)
			}
		}
		if diff := cmp.Diff([]string{"good", "unknown"}, problems); diff != "" {
			t.Errorf("definitions with problems:\n%s", diff)
		}
	})
}

func TestEveryAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := define(t, "edges", "targets: [\"https://cdn.example:8443/x\", https://192.0.2.99/, https://gone.example/]\naddresses: all\ninterval: 5s")
		r := begin(t, "berlin", Set{}, nil)
		defer r.end()
		r.dns.set("cdn.example", "192.0.2.2", "192.0.2.1", "2001:db8::1")
		r.reload(Default(), Set{Local: []*definition.Definition{d}})
		time.Sleep(10 * time.Second)
		series := func(instance, address string) string {
			if address != "" {
				address = fmt.Sprintf("address=%q, ", address)
			}
			return fmt.Sprintf(`{%sinstance=%q, job="edges", region="eu", vantage="berlin"} 1`, address, instance)
		}
		const cdn = "https://cdn.example:8443/x"
		rest := []string{series("https://192.0.2.99/", ""), series("https://gone.example/", "")}
		r.wantLive("all addresses", append([]string{series(cdn, "192.0.2.1"), series(cdn, "192.0.2.2"), series(cdn, "2001:db8::1")}, rest...)...)
		for target, host := range map[string]string{"https://192.0.2.1:8443/x": "cdn.example", "https://[2001:db8::1]:8443/x": "cdn.example", "https://192.0.2.99/": "", "https://gone.example/": ""} {
			if got, ok := r.fake.host(target); !ok || got != host {
				t.Errorf("%s was asked for %q (%v), want %q", target, got, ok, host)
			}
		}
		r.dns.set("cdn.example", "192.0.2.3", "192.0.2.1")
		time.Sleep(time.Minute)
		r.wantLive("addresses changed", append([]string{series(cdn, "192.0.2.1"), series(cdn, "192.0.2.3")}, rest...)...)
		r.dns.set("cdn.example")
		time.Sleep(time.Minute)
		r.wantLive("a name server that fails changes nothing", append([]string{series(cdn, "192.0.2.1"), series(cdn, "192.0.2.3")}, rest...)...)
	})
}

func TestDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, "berlin", Set{Local: []*definition.Definition{define(t, "web", `
interval: 5s
discover:
  - static_configs: [{targets: [a.example, b.example, c.example], labels: {team: x, job: other}}]
    relabel_configs: # as for blackbox_exporter
      - {source_labels: [__address__], regex: c.example, action: drop}
      - {source_labels: [__address__], target_label: __param_target, replacement: "https://$1/"}
      - {source_labels: [__param_target], target_label: instance}
      - {target_label: __address__, replacement: "127.0.0.1:9115"}
`)}}, nil)
		defer r.end()
		time.Sleep(20 * time.Second)
		r.wantLive("discovered",
			`{instance="https://a.example/", job="web", region="eu", team="x", vantage="berlin"} 1`,
			`{instance="https://b.example/", job="web", region="eu", team="x", vantage="berlin"} 1`)
	})
}

func TestWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight of a Saturday, UTC
		r := begin(t, "berlin", Set{Local: []*definition.Definition{define(t, "night", `
targets: [a]
interval: 10s
during: [{times: [{start_time: "00:00", end_time: "00:05"}, {start_time: "00:10", end_time: "00:15"}]}]
`)}}, nil)
		defer r.end()
		time.Sleep(4 * time.Minute)
		r.wantLive("inside", `{instance="a", job="night", region="eu", vantage="berlin"} 1`)
		time.Sleep(2 * time.Minute)
		r.wantLive("outside")
		if got := r.Targets("", ""); len(got) != 1 || got[0].State != "pending" {
			t.Errorf("outside: %+v", got)
		}
		time.Sleep(6 * time.Minute)
		r.wantLive("inside again", `{instance="a", job="night", region="eu", vantage="berlin"} 1`)
	})
}

// TestSpreadOverIslands runs three islands: each target has two of them, and when
// one goes, two of those that are left.
func TestSpreadOverIslands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var targets []string
		for i := range 30 {
			targets = append(targets, fmt.Sprintf("t%d", i))
		}
		shared := define(t, "all", "targets: ["+strings.Join(targets, ", ")+"]\nfrom: {spread: 2}\ninterval: 5s")
		onlyB := define(t, "one", "targets: [x]\nfrom: island=\"b\"\ninterval: 5s")
		names := []string{"a", "b", "c"}
		var mu sync.Mutex
		alive := names
		members := func() (out []schedule.Member) {
			mu.Lock()
			defer mu.Unlock()
			for _, n := range alive {
				out = append(out, schedule.Member{Name: n, Labels: map[string]string{"island": n, "region": "eu"}})
			}
			return out
		}
		rooms := map[string]*room{}
		for _, n := range names {
			rooms[n] = begin(t, n, Set{Shared: []*definition.Definition{shared, onlyB}, Local: []*definition.Definition{define(t, "own", "targets: [y]\nfrom: {spread: 1}")}},
				func(o *Options) { o.Members = members })
			defer rooms[n].end()
		}
		count := func() map[string]int {
			synctest.Wait()
			n := map[string]int{}
			for _, island := range alive {
				for _, s := range rooms[island].Targets("all", "") {
					n[s.Target]++
				}
			}
			return n
		}
		time.Sleep(10 * time.Second)
		for _, target := range targets {
			if n := count()[target]; n != 2 {
				t.Errorf("%d islands probe %s", n, target)
			}
		}
		for _, island := range names {
			if n := len(rooms[island].Targets("one", "")); (n == 1) != (island == "b") {
				t.Errorf("island %s has %d targets that are for b", island, n)
			}
			if n := len(rooms[island].Targets("own", "")); n != 1 {
				t.Errorf("island %s has %d targets of its own", island, n)
			}
		}
		mu.Lock()
		alive = []string{"a", "c"}
		mu.Unlock()
		time.Sleep(5 * time.Second)
		for _, target := range targets {
			if n := count()[target]; n != 2 {
				t.Errorf("without b %d islands probe %s", n, target)
			}
		}
	})
}

func TestAddressForms(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, tc := range []struct{ target, host, with4, with6 string }{
		{"https://a.b/x?y=1", "a.b", "https://192.0.2.1/x?y=1", "https://[2001:db8::1]/x?y=1"},
		{"http://a.b:81", "a.b", "http://192.0.2.1:81", "http://[2001:db8::1]:81"},
		{"a.b:25", "a.b", "192.0.2.1:25", "[2001:db8::1]:25"},
		{"a.b", "a.b", "192.0.2.1", "2001:db8::1"},
		{"a.b/x", "a.b", "192.0.2.1/x", "[2001:db8::1]/x"},
		{"a.b:80/x", "a.b", "192.0.2.1:80/x", "[2001:db8::1]:80/x"},
		{"[2001:db8::9]:53", "2001:db8::9", "192.0.2.1:53", "[2001:db8::1]:53"},
	} {
		if got := hostOf(tc.target); got != tc.host {
			t.Errorf("host of %s is %q", tc.target, got)
		}
		if got := withAddress(tc.target, v4); got != tc.with4 {
			t.Errorf("%s with %s is %q", tc.target, v4, got)
		}
		if got := withAddress(tc.target, v6); got != tc.with6 {
			t.Errorf("%s with %s is %q", tc.target, v6, got)
		}
	}
}

func TestSampleTime(t *testing.T) {
	due := time.Unix(1000, 0)
	for late, same := range map[time.Duration]bool{0: true, 15 * time.Millisecond: true, 30 * time.Millisecond: false, time.Hour: false, -time.Hour: false, -time.Millisecond: false} {
		if got := sampleTime(due.Add(late), due, 10*time.Second); got.Equal(due) != same && late != 0 {
			t.Errorf("%s late: at %s", late, got)
		}
	}
}
