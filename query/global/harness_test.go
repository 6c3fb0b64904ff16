package global

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const label = "island"

func long() bool { return os.Getenv("ATOLL_LONG") != "" }

func minute(int64) int64 { return time.Minute.Milliseconds() }

// features of both sides in tests; only delayed name removal varies.
func features(delayed bool) EngineOptions {
	return EngineOptions{
		Lookback: (5 * time.Minute).Milliseconds(), DelayedNames: delayed, StartTimestamps: true,
	}
}

// upstream is the engine of Prometheus' own tests.
func upstream(t testing.TB, delayed bool) *promql.Engine {
	return promqltest.NewTestEngineWithOpts(t, promql.EngineOpts{
		MaxSamples: 1e6, Timeout: time.Minute, NoStepSubqueryIntervalFn: minute,
		EnableAtModifier: true, EnableNegativeOffset: true,
		EnableDelayedNameRemoval: delayed, UseStartTimestamps: true,
		Parser: parser.NewParser(promqltest.TestParserOpts),
	})
}

func islandName(i int) string { return fmt.Sprintf("isle-%d", i) }

// with returns ls with the partition label.
func with(ls labels.Labels, name string) labels.Labels {
	return labels.NewBuilder(ls).Set(label, name).Labels()
}

// scatter says which of n islands a series lives on: by all its labels, or, if
// together is set, so that the buckets of a histogram stay together.
func scatter(ls labels.Labels, n int, together bool) int {
	b := labels.NewBuilder(ls)
	if together {
		b.Del(labels.MetricName, labels.BucketLabel)
	}
	h := fnv.New32a()
	fmt.Fprint(h, b.Labels().String())
	return int(h.Sum32() % uint32(n))
}

// fleet is some data twice: merged, and split over islands.
type fleet struct {
	merged  storage.Storage
	almost  storage.Storage // merged, but for the last digits and the order
	islands []Island
	engine  *Engine
	ref     *promql.Engine
}

func newAnswerer(t testing.TB, e promql.QueryEngine, store storage.SampleAndChunkQueryable, name string, delayed bool) *Answerer {
	t.Helper()
	a, err := NewAnswerer(AnswererOptions{
		Engine: e, Storage: store, Label: label, Name: name, DelayedNames: delayed,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newEngine(t testing.TB, change func(*Options), islands func() []Island, delayed bool) *Engine {
	t.Helper()
	o := Options{
		Engine: upstream(t, delayed), Label: label, SubqueryStep: minute, Features: features(delayed), Deadline: time.Minute,
		Islands: func(context.Context) []Island { return islands() },
	}
	if change != nil {
		change(&o)
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// question is an expression and its times; a step of 0 makes it an instant.
type question struct {
	expr       string
	start, end time.Time
	step       time.Duration
}

func (q question) String() string {
	return fmt.Sprintf("%s [%d..%d step %v]", q.expr, q.start.UnixMilli(), q.end.UnixMilli(), q.step)
}

func (q question) on(ctx context.Context, e promql.QueryEngine, store storage.Queryable) (promql.Query, error) {
	if q.step == 0 {
		return e.NewInstantQuery(ctx, store, nil, q.expr, q.start)
	}
	return e.NewRangeQuery(ctx, store, nil, q.expr, q.start, q.end, q.step)
}

// ask returns a result that outlives its query, and the receipt if there is one.
func (q question) ask(ctx context.Context, e promql.QueryEngine, store storage.Queryable) (*promql.Result, *Receipt) {
	qry, err := q.on(ctx, e, store)
	if err != nil {
		return &promql.Result{Err: err}, &Receipt{}
	}
	res := qry.Exec(ctx)
	switch v := res.Value.(type) {
	case promql.Matrix:
		m := slices.Clone(v)
		for i := range m {
			m[i].Floats, m[i].Histograms = slices.Clone(m[i].Floats), slices.Clone(m[i].Histograms)
		}
		res.Value = m
	case promql.Vector:
		res.Value = slices.Clone(v)
	}
	qry.Close()
	if r, ok := qry.(Receipted); ok {
		return res, r.Receipt()
	}
	return res, &Receipt{}
}

// near says whether two floats differ by no more than what the order of
// additions explains: partial sums are rounded once each, so the difference is a
// few units of the last digit of the largest term, which relative to a sum of
// terms of like sign is about 1e-15 for each level of aggregation, and at worst
// 1e-16/cancelled.
func near(a, b float64) bool {
	if a == b || math.IsNaN(a) && math.IsNaN(b) {
		return true
	}
	return math.Abs(a-b) <= 2e-10*math.Max(math.Abs(a), math.Abs(b)) || math.Abs(a-b) < 1e-14
}

func nearAll(a, b []float64) bool {
	return slices.EqualFunc(a, b, near)
}

func nearHistograms(a, b *histogram.FloatHistogram) bool {
	a, b = a.Copy().Compact(0), b.Copy().Compact(0)
	return a.Schema == b.Schema && a.ZeroThreshold == b.ZeroThreshold && near(a.ZeroCount, b.ZeroCount) &&
		near(a.Count, b.Count) && near(a.Sum, b.Sum) && a.CounterResetHint == b.CounterResetHint &&
		slices.Equal(a.PositiveSpans, b.PositiveSpans) && slices.Equal(a.NegativeSpans, b.NegativeSpans) &&
		nearAll(a.PositiveBuckets, b.PositiveBuckets) && nearAll(a.NegativeBuckets, b.NegativeBuckets) &&
		slices.Equal(a.CustomValues, b.CustomValues)
}

// differ says how two results differ; "" if they do not. Notes are compared apart.
func differ(want, got *promql.Result) string {
	if fmt.Sprint(want.Err) != fmt.Sprint(got.Err) {
		return fmt.Sprintf("error %v, want %v", got.Err, want.Err)
	}
	if want.Err != nil {
		return ""
	}
	w, g := asMatrix(want.Value), asMatrix(got.Value)
	if len(w) != len(g) {
		return fmt.Sprintf("%d series, want %d:\n got %v\nwant %v", len(g), len(w), g, w)
	}
	for i := range w {
		same := labels.Equal(w[i].Metric, g[i].Metric) &&
			slices.EqualFunc(w[i].Floats, g[i].Floats, func(a, b promql.FPoint) bool { return a.T == b.T && near(a.F, b.F) }) &&
			slices.EqualFunc(w[i].Histograms, g[i].Histograms, func(a, b promql.HPoint) bool { return a.T == b.T && nearHistograms(a.H, b.H) })
		if !same {
			return fmt.Sprintf("series %d:\n got %v\nwant %v", i, g[i], w[i])
		}
	}
	return ""
}

// asMatrix brings any value into one shape and order.
func asMatrix(v parser.Value) promql.Matrix {
	var m promql.Matrix
	switch v := v.(type) {
	case promql.Matrix:
		m = slices.Clone(v)
	case promql.Vector:
		for _, s := range v {
			one := promql.Series{Metric: s.Metric}
			if s.H != nil {
				one.Histograms = []promql.HPoint{{T: s.T, H: s.H}}
			} else {
				one.Floats = []promql.FPoint{{T: s.T, F: s.F}}
			}
			m = append(m, one)
		}
	case promql.Scalar:
		m = promql.Matrix{{Floats: []promql.FPoint{{T: v.T, F: v.V}}}}
	case promql.String:
		m = promql.Matrix{{Metric: labels.FromStrings("string", v.V), Floats: []promql.FPoint{{T: v.T}}}}
	}
	slices.SortStableFunc(m, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
	return m
}

// texts are the annotations without positions.
func texts(as annotations.Annotations) []string {
	out := make([]string, 0, len(as))
	for _, err := range as {
		out = append(out, err.Error())
	}
	slices.Sort(out)
	return out
}

// notesDiffer says how annotations differ. Left out is the one about conflicting
// counter resets: whether it is given depends on the order of additions, and on
// whether the engine saw from further up that it could skip the buckets. And the
// one about mixed bucket schemas cannot name a metric if it takes several islands
// to see them: partial sums have no name.
func notesDiffer(want, got annotations.Annotations) string {
	relevant := func(as annotations.Annotations) []string {
		out := slices.DeleteFunc(texts(as), func(s string) bool { return strings.Contains(s, "conflicting counter resets") })
		for i, s := range out {
			if types := strings.Index(s, "incompatible sample types"); types > 0 {
				out[i] = s[:types] // an engine names only the last such pair of types at each step
			}
			if value := strings.Index(s, ", got "); value > 0 {
				out[i] = s[:value] // a float, which may differ in its last digit
			}
			if name := strings.Index(s, " for metric name"); strings.Contains(s, "exponential and custom") && name > 0 {
				out[i] = s[:name]
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	if w, g := relevant(want), relevant(got); !slices.Equal(w, g) {
		return fmt.Sprintf("notes %q, want %q", g, w)
	}
	return ""
}
