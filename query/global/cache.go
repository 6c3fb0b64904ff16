package global

import (
	lru "container/list"
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

// Cache keeps what islands answered to leaves, so that a question that is asked
// again a while later asks them only for the steps since. It keeps nothing that
// could be wrong: an island says up to when its samples are settled, and by an
// epoch whether any of those have changed; it is asked each time, for the tail,
// and where its epoch is another one it answers in full. What is kept of one island
// is no other's concern, so that missing islands are missing as without a cache.
// It is safe for concurrent use.
type Cache struct {
	most    int64
	metrics *cacheMetrics

	mu   sync.Mutex
	used int64
	ages lru.List // of *extent, the last used first
	by   map[string]*lru.Element
}

// extent is the rows of a leaf on one island from a time to another, both on the
// grid. It is not modified once it is in the cache.
type extent struct {
	key         string
	epoch       uint64
	from, until int64
	rows        []promql.Series // in order of labels
	read        int64
	size        int64
}

type cacheMetrics struct {
	requests  *prometheus.CounterVec
	samples   prometheus.Counter
	bytes     prometheus.Gauge
	evictions prometheus.Counter
}

// NewCache takes the most bytes to keep; reg may be nil.
func NewCache(bytes int64, reg prometheus.Registerer) *Cache {
	m := &cacheMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_global_cache_requests_total",
			Help: "Parts of queries about all islands that the cache was asked for, by island: hit, miss, or stale where the island had changed its past.",
		}, []string{"result"}),
		samples: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_global_cache_samples_total", Help: "Samples that were taken from the cache and not from an island.",
		}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_global_cache_bytes", Help: "Memory that the cache of islands' answers takes.",
		}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_global_cache_evictions_total", Help: "Answers of islands that were dropped from the cache for others.",
		}),
	}
	for _, result := range []string{"hit", "miss", "stale"} {
		m.requests.WithLabelValues(result)
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.samples, m.bytes, m.evictions)
	}
	return &Cache{most: bytes, metrics: m, by: map[string]*lru.Element{}}
}

// cacheable reports whether a leaf's answers are worth to be kept: an instant does
// not come again.
func cacheable(l *rewrite.Leaf) bool { return l.Steps() > 1 }

// cacheKey identifies the rows of a leaf on any grid of its step and phase.
func cacheKey(island string, l *rewrite.Leaf, o EngineOptions) string {
	phase := (l.Start%l.Step + l.Step) % l.Step
	return fmt.Sprintf("%q %d %d %d %t %t %s", island, l.Step, phase, o.Lookback, o.DelayedNames, o.StartTimestamps, l.Expr)
}

// known returns what there is from the grid's first time on; nil if nothing.
func (c *Cache) known(key string, g rewrite.Grid) *extent {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.by[key]
	if !ok {
		return nil
	}
	x := e.Value.(*extent)
	if x.from > g.Start || x.until < g.Start {
		return nil
	}
	c.ages.MoveToFront(e)
	return x
}

// upTo is the last time on the grid that the extent has.
func (x *extent) upTo(g rewrite.Grid) int64 { return lastOn(g, x.until) }

// lastOn is the last time on the grid that is not after t; before Start if none is.
func lastOn(g rewrite.Grid, t int64) int64 {
	if t < g.Start {
		return g.Start - g.Step
	}
	return g.Start + (min(t, g.End)-g.Start)/g.Step*g.Step
}

// keep remembers the rows of a leaf. Of what was known of earlier times it keeps
// as much again as was asked for. rows are in order of labels; they are copied.
func (c *Cache) keep(key string, l *rewrite.Leaf, a *Answer, rows []promql.Series, read int64, before *extent) {
	until := lastOn(l.Grid, a.Settled)
	if l.Ahead && a.Settled < max(l.MaxTime, l.End) || until < l.Start {
		return
	}
	x := &extent{key: key, epoch: a.Epoch, from: l.Start, until: until, read: read, rows: cut(rows, l.Start, until)}
	if before != nil && before.epoch == a.Epoch && before.from < l.Start {
		x.from = max(before.from, l.Start-(l.End-l.Start)/l.Step*l.Step)
		x.rows = join(cut(before.rows, x.from, l.Start-l.Step), x.rows)
	}
	for i := range x.rows {
		s := &x.rows[i]
		s.Floats, s.Histograms = slices.Clone(s.Floats), slices.Clone(s.Histograms)
	}
	x.size = int64(len(key)) + 256 + bytesOf(x.rows)
	if x.size > c.most/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.by[key]; ok {
		c.drop(old)
	}
	c.by[key] = c.ages.PushFront(x)
	for c.used += x.size; c.used > c.most; {
		c.drop(c.ages.Back())
		c.metrics.evictions.Inc()
	}
	c.metrics.bytes.Set(float64(c.used))
}

func (c *Cache) drop(e *lru.Element) {
	x := c.ages.Remove(e).(*extent)
	delete(c.by, x.key)
	c.used -= x.size
	c.metrics.bytes.Set(float64(c.used))
}

// bytesOf is about what rows take in memory.
func bytesOf(rows []promql.Series) (n int64) {
	for i := range rows {
		s := &rows[i]
		n += 128 + 16*int64(len(s.Floats)+len(s.Histograms))
		s.Metric.Range(func(l labels.Label) { n += int64(len(l.Name)+len(l.Value)) + 2 })
		for _, h := range s.Histograms {
			n += int64(h.H.Size())
		}
	}
	return n
}

// cut returns the rows' points from a time to another; rows without any are left
// out. Points are shared.
func cut(rows []promql.Series, from, until int64) (out []promql.Series) {
	for _, s := range rows {
		f0, _ := slices.BinarySearchFunc(s.Floats, from, func(p promql.FPoint, t int64) int { return int(min(max(p.T-t, -1), 1)) })
		f1, _ := slices.BinarySearchFunc(s.Floats, until+1, func(p promql.FPoint, t int64) int { return int(min(max(p.T-t, -1), 1)) })
		h0, _ := slices.BinarySearchFunc(s.Histograms, from, func(p promql.HPoint, t int64) int { return int(min(max(p.T-t, -1), 1)) })
		h1, _ := slices.BinarySearchFunc(s.Histograms, until+1, func(p promql.HPoint, t int64) int { return int(min(max(p.T-t, -1), 1)) })
		if f0 >= f1 && h0 >= h1 {
			continue
		}
		s.Floats, s.Histograms = s.Floats[f0:max(f0, f1):max(f0, f1)], s.Histograms[h0:max(h0, h1):max(h0, h1)]
		out = append(out, s)
	}
	return out
}

// join puts the points of later rows behind those of earlier ones. Both are in
// order of labels, and so is what they make.
func join(earlier, later []promql.Series) []promql.Series {
	out := make([]promql.Series, 0, max(len(earlier), len(later)))
	for len(earlier) > 0 && len(later) > 0 {
		switch d := labels.Compare(earlier[0].Metric, later[0].Metric); {
		case d < 0:
			out, earlier = append(out, earlier[0]), earlier[1:]
		case d > 0:
			out, later = append(out, later[0]), later[1:]
		default:
			s := earlier[0]
			s.Floats = slices.Concat(s.Floats, later[0].Floats)
			s.Histograms = slices.Concat(s.Histograms, later[0].Histograms)
			out, earlier, later = append(out, s), earlier[1:], later[1:]
		}
	}
	return append(append(out, earlier...), later...)
}
