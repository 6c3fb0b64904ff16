package dimension

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	promvalue "github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/health"
)

// experimental accepts all of PromQL.
func experimental() parser.Parser {
	return parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true})
}

func newEngine(t testing.TB) *promql.Engine {
	e := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true, EnableNegativeOffset: true, Parser: experimental(),
	})
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func openDB(t testing.TB, dir string) *tsdb.DB {
	t.Helper()
	db, err := tsdb.Open(dir, nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// rig is one store with generators over it.
type rig struct {
	t      testing.TB
	db     *tsdb.DB
	engine *promql.Engine
	health *health.List
	reg    *prometheus.Registry
	stop   []func()
	// missing says that an island is missing in answers about all.
	missing atomic.Bool
}

func newRig(t testing.TB) *rig {
	return &rig{t: t, db: openDB(t, t.TempDir()), engine: newEngine(t), health: health.New(nil), reg: prometheus.NewRegistry()}
}

// close must be called inside a bubble, if there is one.
func (r *rig) close() {
	for _, stop := range r.stop {
		stop()
	}
	if err := r.db.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) options(c Config) Options {
	return Options{Config: c, Engine: r.engine, Queryable: r.db, Appendable: r.db, Parser: experimental(), Registerer: r.reg, Health: r.health}
}

func (r *rig) start(o Options) *Generator {
	r.t.Helper()
	g, err := New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	var once sync.Once
	r.stop = append(r.stop, func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				r.t.Error(err)
			}
		})
	})
	return g
}

// sample is one to append.
type sample struct {
	labels labels.Labels
	t      int64
	v      float64
}

func (r *rig) append(samples ...sample) {
	r.t.Helper()
	app := r.db.Appender(context.Background())
	for _, s := range samples {
		if _, err := app.Append(0, s.labels, s.t, s.v); err != nil {
			r.t.Fatalf("append %s at %d: %v", s.labels, s.t, err)
		}
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// point is a sample of a series; stale markers have their own mark.
type point struct {
	t     int64
	v     float64
	stale bool
}

// recorded returns every sample of the series of a metric, by their labels
// without the name.
func (r *rig) recorded(metric string) map[string][]point {
	r.t.Helper()
	return readAll(r.t, r.db, metric)
}

func readAll(t testing.TB, db storage.Queryable, metric string) map[string][]point {
	t.Helper()
	q, err := db.Querier(math.MinInt64/2, math.MaxInt64/2)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	out := map[string][]point{}
	set := q.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchEqual, labels.MetricName, metric))
	for set.Next() {
		s := set.At()
		key := s.Labels().DropReserved(func(name string) bool { return name == labels.MetricName }).String()
		for it := s.Iterator(nil); it.Next() != chunkenc.ValNone; {
			at, v := it.At()
			out[key] = append(out[key], point{t: at, v: v, stale: promvalue.IsStaleNaN(v)})
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return out
}

// near allows for another order of float additions.
func near(a, b float64) bool {
	if a == b || math.IsNaN(a) && math.IsNaN(b) {
		return true
	}
	return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b))
}

// compare says how two sets of recorded series differ, "" if they do not.
func compare(want, got map[string][]point) string {
	var b strings.Builder
	for k, w := range want {
		g := got[k]
		if len(w) != len(g) {
			fmt.Fprintf(&b, "%s: %d samples instead of %d\n want %v\n got  %v\n", k, len(g), len(w), w, g)
			continue
		}
		for i := range w {
			if w[i].t != g[i].t || w[i].stale != g[i].stale || !w[i].stale && !near(w[i].v, g[i].v) {
				fmt.Fprintf(&b, "%s: sample %d is %v instead of %v\n", k, i, g[i], w[i])
				break
			}
		}
	}
	for k := range got {
		if _, has := want[k]; !has {
			fmt.Fprintf(&b, "%s: must not exist\n", k)
		}
	}
	return b.String()
}

// mesh generates counters of a service mesh: series come and go at random, some
// lack a label.
type mesh struct {
	random *rand.Rand
	series []*counter
	born   int
}

type counter struct {
	labels labels.Labels
	value  float64
	dead   bool
}

func newMesh(seed uint64, series int) *mesh {
	m := &mesh{random: rand.New(rand.NewPCG(seed, 1))}
	for range series {
		m.add()
	}
	return m
}

func (m *mesh) add() {
	m.born++
	b := labels.NewScratchBuilder(6)
	b.Add(labels.MetricName, "requests_total")
	b.Add("code", []string{"200", "404", "500"}[m.random.IntN(3)])
	b.Add("pod", fmt.Sprintf("p%d", m.born))
	if m.random.IntN(8) > 0 {
		b.Add("service", fmt.Sprintf("s%d", m.random.IntN(7)))
	}
	if m.random.IntN(5) > 0 {
		b.Add("zone", string("ab"[m.random.IntN(2)]))
	}
	b.Sort()
	m.series = append(m.series, &counter{labels: b.Labels(), value: float64(m.random.IntN(100))})
}

// step returns one scrape; churn is the chance of one in so many that a series
// ends, and another begins.
func (m *mesh) step(t int64, churn int) []sample {
	var out []sample
	for _, c := range m.series {
		if c.dead {
			continue
		}
		if churn > 0 && m.random.IntN(churn) == 0 {
			c.dead = true
			if m.random.IntN(2) == 0 {
				out = append(out, sample{c.labels, t, math.Float64frombits(promvalue.StaleNaN)})
			}
			m.add()
			continue
		}
		c.value += float64(m.random.IntN(50))
		if m.random.IntN(60) == 0 {
			c.value = float64(m.random.IntN(5)) // a restart
		}
		out = append(out, sample{c.labels, t, c.value})
	}
	return out
}

// series leaves out labels that are empty, as Prometheus does.
func series(name string, pairs ...string) labels.Labels {
	b := labels.NewBuilder(labels.FromStrings(labels.MetricName, name))
	for i := 0; i < len(pairs); i += 2 {
		b.Set(pairs[i], pairs[i+1])
	}
	return b.Labels()
}
