package aggregate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// origin is a whole hour, in ms.
const origin = int64(1_700_000_000/3600*3600) * 1000

func at(seconds int64) int64 { return origin + seconds*1000 }

const mixed = `
rules:
- {interval: 1m, match: kept, without: [instance], outputs: [count_samples, sum_samples]}
- {interval: 1m, match: dropped, without: [instance], outputs: [count_samples, sum_samples], keep_input: false}
- {interval: 1m, match: latency, without: [instance], outputs: [native_histogram], keep_input: false}
`

func loadRules(t testing.TB, text string) *rule.Set {
	t.Helper()
	set, err := rule.Load("rules.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func series(name, instance string) labels.Labels {
	return labels.FromStrings("__name__", name, "instance", instance, "job", "j")
}

func openDB(t testing.TB) *tsdb.DB {
	t.Helper()
	o := tsdb.DefaultOptions()
	o.EnableExemplarStorage, o.MaxExemplars = true, 1000
	db, err := tsdb.Open(t.TempDir(), slog.New(slog.DiscardHandler), nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.DisableCompactions()
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// dump lists what a database holds: series → "seconds=value …".
func dump(t testing.TB, db storage.Queryable) map[string]string {
	t.Helper()
	q, err := db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	out := map[string]string{}
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	for set.Next() {
		var points []string
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if kind == chunkenc.ValFloat {
				ts, v := it.At()
				points = append(points, fmt.Sprintf("%d=%g", (ts-origin)/1000, v))
			} else {
				ts, h := it.AtFloatHistogram(nil)
				points = append(points, fmt.Sprintf("%d={count:%g sum:%g}", (ts-origin)/1000, h.Count, h.Sum))
			}
		}
		out[set.At().Labels().String()] = strings.Join(points, " ")
	}
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// rig is an aggregator whose clock and windows the test moves.
type rig struct {
	*Aggregator
	t   testing.TB
	now int64
	reg *prometheus.Registry
}

func newRig(t testing.TB, rules string, store storage.AppendableV2) *rig {
	t.Helper()
	r := &rig{t: t, now: at(0), reg: prometheus.NewRegistry()}
	a, err := New(Options{
		Config: Default(), Rules: loadRules(t, rules), Store: store, Registerer: r.reg,
		Now: func() time.Time { return time.UnixMilli(r.now) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Aggregator = a
	return r
}

// finish seals everything up to the second: max_lag is over.
func (r *rig) finish(second int64) {
	r.now = at(second + 100)
	r.seal(r.t.Context())
}

func (r *rig) reloaded(rules string) {
	r.t.Helper()
	commit, _, err := r.Prepare(Default(), loadRules(r.t, rules))
	if err != nil {
		r.t.Fatal(err)
	}
	commit()
}

// client appends through a door as a scraper does: with the references it was given.
type client struct {
	t    testing.TB
	door storage.AppendableV2
	refs map[string]storage.SeriesRef
}

func newClient(t testing.TB, door storage.AppendableV2) *client {
	return &client{t: t, door: door, refs: map[string]storage.SeriesRef{}}
}

func (c *client) send(second int64, v float64, all ...labels.Labels) {
	c.t.Helper()
	app := c.door.AppenderV2(c.t.Context())
	for _, ls := range all {
		c.add(app, second, v, ls)
	}
	if err := app.Commit(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) add(app storage.AppenderV2, second int64, v float64, ls labels.Labels) {
	c.t.Helper()
	ref, err := app.Append(c.refs[ls.String()], ls, 0, at(second), v, nil, nil, storage.AOptions{})
	if err != nil {
		c.t.Fatalf("%s: %v", ls, err)
	}
	c.refs[ls.String()] = ref
}

func equal[T any](t testing.TB, name string, got, want T) {
	t.Helper()
	if d := cmp.Diff(want, got, cmp.Comparer(labels.Equal)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// memory is a store that remembers how it was asked. Its references begin after base.
type memory struct {
	mu      sync.Mutex
	base    storage.SeriesRef
	series  map[string]map[int64]float64
	known   map[string]storage.SeriesRef
	given   []storage.SeriesRef // to Append, in order
	shown   []storage.SeriesRef // to AppendExemplars
	append  func(ls labels.Labels) error
	commit  func() error
	commits int
	changed []string // samples written again with another value
}

func newMemory() *memory {
	return &memory{series: map[string]map[int64]float64{}, known: map[string]storage.SeriesRef{}}
}

func (m *memory) AppenderV2(context.Context) storage.AppenderV2 { return &memoryAppender{m: m} }

func (m *memory) set(appendErr, commitErr error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.append = func(labels.Labels) error { return appendErr }
	m.commit = func() error { return commitErr }
}

// points are the samples of a series, formatted.
func (m *memory) points(ls string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, ts := range slices.Sorted(maps.Keys(m.series[ls])) {
		out = append(out, fmt.Sprintf("%g", m.series[ls][ts]))
	}
	return strings.Join(out, " ")
}

func (m *memory) all() map[string]string {
	m.mu.Lock()
	names := slices.Collect(maps.Keys(m.series))
	m.mu.Unlock()
	out := map[string]string{}
	for _, n := range names {
		out[n] = m.points(n)
	}
	return out
}

type memoryAppender struct {
	m       *memory
	pending []func()
}

func (a *memoryAppender) Append(ref storage.SeriesRef, ls labels.Labels, _, t int64, v float64, _ *histogram.Histogram, _ *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	m := a.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.given = append(m.given, ref)
	if m.append != nil {
		if err := m.append(ls); err != nil {
			return 0, err
		}
	}
	name := ls.String()
	if m.known[name] == 0 {
		m.known[name] = m.base + storage.SeriesRef(len(m.known)+1)
	}
	if ref != 0 && ref != m.known[name] {
		return 0, fmt.Errorf("%s has reference %d, was asked with %d", name, m.known[name], ref)
	}
	a.pending = append(a.pending, func() {
		if m.series[name] == nil {
			m.series[name] = map[int64]float64{}
		}
		if old, ok := m.series[name][t]; ok && old != v {
			m.changed = append(m.changed, fmt.Sprintf("%s at %d: %g, was %g", name, t, v, old))
		}
		m.series[name][t] = v
	})
	return m.known[name], nil
}

func (a *memoryAppender) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, _ []exemplar.Exemplar) (storage.SeriesRef, error) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.m.shown = append(a.m.shown, ref)
	known := a.m.known[ls.String()]
	if known == 0 {
		return 0, storage.ErrNotFound
	}
	return known, nil
}

func (a *memoryAppender) GetRef(ls labels.Labels, _ uint64) (storage.SeriesRef, labels.Labels) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	return a.m.known[ls.String()], ls
}

func (a *memoryAppender) Commit() error {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if a.m.commit != nil {
		if err := a.m.commit(); err != nil {
			return err
		}
	}
	a.m.commits++
	for _, f := range a.pending {
		f()
	}
	return nil
}

func (*memoryAppender) Rollback() error { return nil }

var errTest = errors.New("refused by the test")
