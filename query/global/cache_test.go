package global

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"
)

// living is an island to which samples are still added. Its epoch changes with
// every sample that is not after what it called settled.
type living struct {
	Island
	store   *teststorage.TestStorage
	epoch   atomic.Uint64
	now     int64
	settled int64 // as last told
	wire    atomic.Int64
	down    bool
	deleted bool // once is enough: a second time may make upstream's reader panic
	quiet   bool // nothing comes late
}

func newLiving(t *testing.T, name string, engine promql.QueryEngine) *living {
	l := &living{store: memory(t), settled: math.MinInt64}
	l.epoch.Store(1)
	a, err := NewAnswerer(AnswererOptions{
		Engine: engine, Storage: l.store, Label: label, Name: name,
		History: func() (uint64, int64) {
			l.settled = max(l.settled, l.now-60_000)
			return l.epoch.Load(), l.now - 60_000
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Island = a
	return l
}

func (l *living) Answer(ctx context.Context, r *Request) (*Answer, error) {
	if l.down {
		return nil, errors.New("down")
	}
	a, err := l.Island.Answer(ctx, r)
	if err == nil {
		for i := range a.Leaves {
			for j := range a.Leaves[i].Rows {
				l.wire.Add(samples(&a.Leaves[i].Rows[j]))
			}
		}
	}
	return a, err
}

func (l *living) changed(since int64) {
	if since <= l.settled {
		l.epoch.Add(1)
		l.settled = math.MinInt64
	}
}

// grow adds what is scraped in a while, and now and then what comes late or goes.
func (l *living) grow(t *testing.T, r *rand.Rand, until int64) {
	app := l.store.AppenderV2(t.Context())
	low := int64(math.MaxInt64)
	put := func(ms int64, v float64, ls ...string) {
		// What is too old for its series or the head is refused, as in life.
		if _, err := app.Append(0, labels.FromStrings(ls...), 0, ms, v, nil, nil, storage.AOptions{}); err == nil {
			low = min(low, ms)
		}
	}
	for ms := (l.now/scrape + 1) * scrape; ms <= until; ms += scrape {
		for p := range 4 {
			pod, job := fmt.Sprint("p", p), string(rune('a'+p%3))
			lag := int64(0)
			if p == 3 && !l.quiet {
				lag = 45_000
			}
			put(ms-lag, float64(ms/1000*int64(p+1)), "__name__", "c1_total", "pod", pod, "job", job)
			put(ms, r.NormFloat64()*10, "__name__", "g1", "pod", pod, "job", job)
			if r.IntN(20) > 0 {
				put(ms, r.NormFloat64()*10, "__name__", "g2", "pod", pod, "job", job, "zone", "z1")
			}
			put(ms, float64(ms/1000*int64(p+1)), "__name__", "lat_bucket", "pod", pod, "job", job, "le", []string{"0.1", "1", "5", "+Inf"}[p])
		}
	}
	if !l.quiet && r.IntN(30) == 0 {
		at := until - r.Int64N(15*60_000)
		for k := range int64(5) {
			put(at+k*scrape, 1000*r.NormFloat64(), "__name__", "g1", "pod", fmt.Sprint("late", until), "job", "late")
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	l.changed(low)
	if !l.deleted && r.IntN(40) == 0 {
		l.deleted = true
		at := until - r.Int64N(15*60_000)
		pod := labels.MustNewMatcher(labels.MatchEqual, "pod", "p1")
		if err := l.store.Delete(t.Context(), at, at+120_000, pod); err != nil {
			t.Fatal(err)
		}
		l.changed(math.MinInt64)
	}
	l.now = until
}

// TestCacheIsExact: questions that come again and again while samples come, come
// late and go, and islands come and go, are answered as without a cache.
func TestCacheIsExact(t *testing.T) {
	seeds, each := 8, 200
	switch {
	case long():
		seeds, each = 60, 400
	case testing.Short():
		seeds = 2
	}
	asked, wire := 0, [2]int64{}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(uint64(seed), 21))
		answers := upstream(t, false)
		var all []*living
		for i := range 1 + r.IntN(3) {
			all = append(all, newLiving(t, islandName(i), answers))
			all[i].grow(t, r, 20*60_000)
		}
		islands := func() (out []Island) {
			for _, l := range all {
				out = append(out, l)
			}
			return out
		}
		bytes := pick(r, int64(1<<20), 1<<20, 20_000)
		cache := NewCache(bytes, nil)
		plain := newEngine(t, nil, islands, false)
		cached := newEngine(t, func(o *Options) { o.Cache = cache }, islands, false)
		boards := []string{`sum by (job) (rate(c1_total[2m]))`, `g1`, `avg(g2)`, `sum(g1 offset -2m)`, `g1 - on (pod, island) g1 @ 1300`, `histogram_quantile(0.9, sum by (le) (rate(lat_bucket[1m])))`,
			`sum_over_time((lat_bucket @ 900 offset 1m)[2m30s:] offset -2m)`}
		for len(boards) < 10 {
			if e := (exprs{r}).vector(2); !strings.Contains(e, "topk") && !strings.Contains(e, "bottomk") && !strings.Contains(e, "limit") {
				boards = append(boards, e)
			}
		}
		now := int64(20 * 60_000)
		for i := range each {
			now += pick(r, int64(0), 15_000, 15_000, 40_000)
			for _, l := range all {
				l.grow(t, r, now)
				l.down = r.IntN(25) == 0
			}
			step := pick(r, 15*time.Second, 15*time.Second, time.Minute)
			ms := step.Milliseconds()
			end := (now - pick(r, int64(0), 0, 0, 5*60_000)) / ms * ms
			q := question{expr: pick(r, boards...), start: timestamp.Time(end - pick(r, int64(5), 10, 10, 14)*60_000), end: timestamp.Time(end), step: step}
			before := wires(all)
			want, _ := q.ask(t.Context(), plain, nil)
			middle := wires(all)
			got, receipt := q.ask(t.Context(), cached, nil)
			wire[0] += middle - before
			wire[1] += wires(all) - middle
			asked++
			d := differ(want, got)
			if d == "" {
				d = notesDiffer(want.Warnings, got.Warnings)
			}
			if d != "" && (want.Err == nil || got.Err == nil) {
				t.Errorf("seed %d/%d: %s\n%s\n%+v", seed, i, q, d, receipt)
			}
			if cache.used > cache.most || int(cache.used) < 0 || cache.ages.Len() != len(cache.by) {
				t.Fatalf("the cache takes %d bytes of %d in %d and %d places", cache.used, cache.most, cache.ages.Len(), len(cache.by))
			}
		}
	}
	t.Logf("%d questions: %d samples from islands without a cache, %d with one", asked, wire[0], wire[1])
	if wire[1] > wire[0]*95/100 { // most of what is asked here is new: see TestRefresh
		t.Error("the cache spares nothing")
	}
}

func wires(all []*living) (n int64) {
	for _, l := range all {
		n += l.wire.Load()
	}
	return n
}

// TestRefresh: a dashboard's refresh asks for the steps since, and where the past
// has changed, for everything.
func TestRefresh(t *testing.T) {
	reg := prometheus.NewRegistry()
	l := newLiving(t, "isle", upstream(t, false))
	l.quiet, l.deleted = true, true
	r := newRand(1)
	l.grow(t, r, 3_600_000)
	w := &watched{Island: l}
	e := newEngine(t, func(o *Options) { o.Cache = NewCache(1<<20, reg) }, func() []Island { return []Island{w} }, false)
	ask := func(end int64) *Receipt {
		t.Helper()
		q := question{expr: `sum by (job) (rate(c1_total[2m]))`, start: timestamp.Time(end - 1_800_000), end: timestamp.Time(end), step: time.Minute}
		res, receipt := q.ask(t.Context(), e, nil)
		if res.Err != nil || len(asMatrix(res.Value)) != 3 {
			t.Fatal(res.Err, res.Value)
		}
		return receipt
	}
	for _, c := range []struct {
		what         string
		do           func()
		end          int64
		total, again int64
	}{
		{"first", func() {}, 3_600_000, 93, 0},
		{"the same", func() {}, 3_600_000, 93, 90},
		{"a minute later", func() { l.grow(t, r, 3_660_000) }, 3_660_000, 93, 87},
		{"and again", func() {}, 3_660_000, 93, 90},
		{"back in time", func() {}, 3_600_000, 93, 93},
		{"a late sample", func() { l.changed(0) }, 3_660_000, 93, 0},
		{"after it", func() {}, 3_660_000, 93, 90},
	} {
		c.do()
		got := ask(c.end).Islands[0]
		if got.Samples != c.total || got.Reused != c.again {
			t.Errorf("%s: %d samples, %d of them known, want %d and %d", c.what, got.Samples, got.Reused, c.total, c.again)
		}
	}
	if n := w.asked.Load(); n != 7 {
		t.Errorf("asked %d times", n)
	}
	want := `# HELP atoll_global_cache_requests_total Parts of queries about all islands that the cache was asked for, by island: hit, miss, or stale where the island had changed its past.
# TYPE atoll_global_cache_requests_total counter
atoll_global_cache_requests_total{result="hit"} 5
atoll_global_cache_requests_total{result="miss"} 1
atoll_global_cache_requests_total{result="stale"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "atoll_global_cache_requests_total"); err != nil {
		t.Error(err)
	}
}
