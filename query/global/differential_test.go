package global

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// sample is one of a series on an island.
type sample struct {
	labels labels.Labels
	ms     int64
	v      float64
	h      *histogram.Histogram
	fh     *histogram.FloatHistogram
}

func fill(t testing.TB, store storage.Storage, samples []sample) {
	t.Helper()
	app := store.AppenderV2(t.Context())
	for _, s := range samples {
		if _, err := app.Append(0, s.labels, 0, s.ms, s.v, s.h, s.fh, storage.AOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
}

// newFleet fills n islands, one store with the data of all, and one with almost
// the same data.
func newFleet(t testing.TB, r *rand.Rand, n int, delayed bool, change func(*Options)) *fleet {
	f := &fleet{merged: memory(t), almost: memory(t), ref: upstream(t, delayed)}
	answers := upstream(t, delayed)
	var all []sample
	for i := range n {
		store := memory(t)
		var own []sample
		randomData(r, i, func(ls labels.Labels, ms int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram) {
			own = append(own, sample{ls, ms, v, h, fh})
		})
		fill(t, store, own)
		for _, s := range own {
			s.labels = with(s.labels, islandName(i))
			all = append(all, s)
		}
		f.islands = append(f.islands, newAnswerer(t, answers, store, islandName(i), delayed))
	}
	fill(t, f.merged, all)
	fill(t, f.almost, shake(all))
	f.engine = newEngine(t, change, func() []Island { return f.islands }, delayed)
	return f
}

// shake returns the series in the opposite order, each multiplied by a number
// that differs from 1 in its last digits.
func shake(all []sample) []sample {
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b sample) int { return labels.Compare(b.labels, a.labels) })
	for i := range out {
		s := &out[i]
		factor := 1 + float64(int64(s.labels.Hash()%9)-4)*0x1p-51
		if !value.IsStaleNaN(s.v) {
			s.v *= factor
		}
		if s.h == nil {
			continue
		}
		fh := s.h.ToFloat(nil).Mul(factor)
		fh.Count = fh.ZeroCount
		for _, b := range slices.Concat(fh.PositiveBuckets, fh.NegativeBuckets) {
			fh.Count += b
		}
		s.h, s.fh = nil, fh
	}
	return out
}

// putter appends one sample.
type putter func(ls labels.Labels, ms int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram)

const (
	dataEnd = 30 * 60_000 // milliseconds
	scrape  = 15_000
)

// feed makes series of dataEnd at about one sample per scrape, with gaps,
// staleness markers, and some that come late or go early.
type feed struct {
	r   *rand.Rand
	put putter
}

func (f feed) series(ls labels.Labels, next func() (float64, *histogram.Histogram)) {
	from, to := int64(0), int64(dataEnd)
	switch f.r.IntN(5) {
	case 0:
		from = f.r.Int64N(dataEnd)
	case 1:
		to = f.r.Int64N(dataEnd)
	}
	skip := 0
	for ms := f.r.Int64N(scrape); ms < dataEnd; ms += scrape + f.r.Int64N(30) - 15 {
		v, h := next()
		switch {
		case ms < from || ms > to:
		case skip > 0:
			skip--
		case f.r.IntN(60) == 0:
			skip = f.r.IntN(30)
			if f.r.IntN(2) == 0 {
				f.put(ls, ms, math.Float64frombits(value.StaleNaN), nil, nil)
			}
		default:
			f.put(ls, ms, v, h, nil)
		}
	}
}

// randomData makes counters that reset, gauges with fractions, classic and native
// histograms and series of mixed types. The same labels occur on several islands.
func randomData(r *rand.Rand, island int, put putter) {
	f := feed{r: r, put: put}
	for p := range 5 {
		if (p+island)%4 == 3 {
			continue // not every pod is everywhere
		}
		ls := func(name string, more ...string) labels.Labels {
			return labels.FromStrings(append([]string{"__name__", name, "job", string(rune('a' + p%3)), "pod", fmt.Sprintf("p%d", p)}, more...)...)
		}
		counter := func() func() (float64, *histogram.Histogram) {
			var c float64
			return func() (float64, *histogram.Histogram) {
				if c += float64(r.IntN(20)); r.IntN(40) == 0 {
					c = 0
				}
				return c, nil
			}
		}
		gauge := func() (float64, *histogram.Histogram) {
			if r.IntN(300) == 0 {
				return pick(r, math.NaN(), math.Inf(1), math.Inf(-1), 0), nil
			}
			return r.NormFloat64() * 10, nil
		}
		f.series(ls("c1_total"), counter())
		f.series(ls("c2_total", "zone", pick(r, "z1", "z2")), counter())
		f.series(ls("g1"), gauge)
		f.series(ls("g2", "zone", pick(r, "z1", "z2")), gauge)
		buckets := [3]float64{}
		for b, le := range []string{"0.1", "1", "+Inf"} {
			f.series(ls("lat_bucket", "le", le), func() (float64, *histogram.Histogram) {
				buckets[b] += float64(r.IntN(5 * (b + 1)))
				return buckets[b], nil
			})
		}
		var n int64
		native := func() (float64, *histogram.Histogram) {
			n += 1 + r.Int64N(3)
			return 0, tsdbutil.GenerateTestHistogram(n)
		}
		f.series(ls("nh"), native)
		switch (p + island) % 3 {
		case 0:
			f.series(ls("mix"), gauge)
		case 1:
			f.series(ls("mix"), native)
		}
	}
}

// legal explains the differences there may be; "" if this is none of them.
func (f *fleet) legal(t *testing.T, q question, want, got *promql.Result) string {
	switch {
	case want.Err != nil && got.Err != nil:
		// Of several problems an engine names the one that it comes upon first,
		// and of several series that clash, any two.
		return "which error comes first"
	case want.Err != nil && strings.Contains(want.Err.Error(), "found duplicate series for the match group"):
		return "an ambiguous side of a join whose other side is empty on the island"
	case differ(want, got) == "" && len(without(texts(want.Warnings), texts(got.Warnings), "should be between")) == 0:
		return "a warning about a parameter of what no island can have"
	case slices.EqualFunc(values(want), values(got), near) && strings.Contains(q.expr, "topk"),
		slices.EqualFunc(values(want), values(got), near) && strings.Contains(q.expr, "bottomk"):
		return "which of equal values topk takes"
	}
	if strings.Contains(q.expr, "count_values") && differ(shortened(want), shortened(got)) == "" {
		return "the last digits that count_values writes"
	}
	// Functions with steps, comparisons and count_values turn a difference in the
	// last digit into a larger one. Then one engine gives different answers, too,
	// if the last digits of its data and the order of its series are changed.
	if almost, _ := q.ask(t.Context(), f.ref, f.almost); differ(want, almost) != "" {
		return "what one engine answers hangs on last digits"
	}
	return ""
}

// shortened rounds the numbers in labels to nine digits.
func shortened(res *promql.Result) *promql.Result {
	m := asMatrix(res.Value)
	for i := range m {
		b := labels.NewBuilder(m[i].Metric)
		m[i].Metric.Range(func(l labels.Label) {
			if v, err := strconv.ParseFloat(l.Value, 64); err == nil {
				b.Set(l.Name, strconv.FormatFloat(v, 'g', 9, 64))
			}
		})
		m[i].Metric = b.Labels()
	}
	return &promql.Result{Value: m, Err: res.Err}
}

// without is what of all is neither in known nor about a subject.
func without(all, known []string, subject string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return slices.Contains(known, s) || strings.Contains(s, subject) })
}

// values are all values of a result, each time's in order.
func values(res *promql.Result) []float64 {
	at := map[int64][]float64{}
	for _, s := range asMatrix(res.Value) {
		for _, p := range s.Floats {
			at[p.T] = append(at[p.T], p.F)
		}
	}
	var out []float64
	for _, t := range slices.Sorted(maps.Keys(at)) {
		slices.Sort(at[t])
		out = append(out, at[t]...)
	}
	return out
}

// TestRandom compares random questions over random data, split and merged.
func TestRandom(t *testing.T) {
	fleets, each := 4, 250
	switch {
	case long():
		fleets, each = 60, 2000
	case testing.Short(): // with the race detector
		each = 60
	}
	counts := map[string]int{}
	for seed := range fleets {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		n := pick(r, 1, 2, 3, 5)
		delayed := r.IntN(4) == 0
		var change func(*Options)
		if r.IntN(2) == 0 {
			change = func(o *Options) { o.Costs = NewCosts(scrape * time.Millisecond) }
		}
		f := newFleet(t, r, n, delayed, change)
		for i := range each {
			q := randomQuestion(r)
			want, _ := q.ask(t.Context(), f.ref, f.merged)
			got, receipt := q.ask(t.Context(), f.engine, nil)
			counts["compared"]++
			if want.Err != nil {
				counts["errors"]++
			} else if len(asMatrix(want.Value)) == 0 {
				counts["empty"]++
			}
			if len(receipt.Pushed) > 0 {
				counts["pushed"]++
			}
			if len(receipt.Fetched) > 0 {
				counts["fetched"]++
			}
			counts[fmt.Sprintf("rounds=%d", receipt.Rounds)]++
			d := differ(want, got)
			if d == "" {
				d = notesDiffer(want.Warnings, got.Warnings)
			}
			if d == "" {
				continue
			}
			if why := f.legal(t, q, want, got); why != "" {
				counts["legal: "+why]++
				continue
			}
			t.Errorf("seed %d/%d islands %d delayed %v: %s\n%s\nrest %s\nleaves %q\nfetched %q", seed, i, n, delayed, q, d, receipt.Rest, receipt.Pushed, receipt.Fetched)
		}
	}
	t.Log(counts)
	if counts["pushed"] < counts["compared"]/2 || counts["empty"]+counts["errors"] > counts["compared"]*3/4 {
		t.Error("most questions test nothing")
	}
}

// TestMovedSubqueries: what @ means in a subquery that is moved depends, with
// upstream's engine, on whether its first step is the question's.
func TestMovedSubqueries(t *testing.T) {
	f := newFleet(t, rand.New(rand.NewPCG(1, 9)), 3, false, nil)
	varies := 0
	for _, expr := range []string{
		`sum_over_time((lat_bucket @ 900 offset 1m)[2m30s:1m] offset -2m)`,
		`sum_over_time(sum(lat_bucket @ 900 offset 1m)[2m30s:1m] offset -2m)`,
		`sum_over_time(sum by (job) (lat_bucket @ 900)[2m30s:1m] offset 2m)`,
		`sum_over_time(sum(lat_bucket @ 900)[2m30s:1m] @ 1150)`,
		`sum_over_time(sum(lat_bucket @ 900)[2m30s:1m] @ end() offset -2m)`,
		`max_over_time(sum(max_over_time((lat_bucket @ 900)[1m:30s]))[2m30s:1m] offset -2m)`,
		`max_over_time(sum(max_over_time(lat_bucket[1m:30s] @ 900))[2m30s:1m] offset -2m)`,
		`max_over_time((max_over_time(sum(lat_bucket @ 900)[1m:30s] offset -1m))[2m30s:1m])`,
		`max_over_time((sum(max_over_time(lat_bucket[1m:30s] @ 900) - on () group_left () quantile(0.5, lat_bucket @ 900)))[2m30s:1m] offset -150s)`,
	} {
		answers := map[string]bool{}
		for seconds := int64(1005); seconds <= 1140; seconds += 15 {
			q := at(expr, seconds)
			q.end, q.step = q.end.Add(time.Minute), 15*time.Second
			want, _ := q.ask(t.Context(), f.ref, f.merged)
			got, receipt := q.ask(t.Context(), f.engine, nil)
			if d := differ(want, got); d != "" || want.Err != nil {
				t.Errorf("%s: %v %s\nrest %s\nleaves %q", q, want.Err, d, receipt.Rest, receipt.Pushed)
			}
			if v := values(want); len(v) > 0 {
				answers[fmt.Sprint(v[0])] = true
			} else {
				answers[""] = true
			}
		}
		if answers[""] && len(answers) == 1 {
			t.Errorf("%s has no answer at any time", expr)
		}
		varies += len(answers) - 1
	}
	if varies == 0 {
		t.Error("no answer depends on when the question begins: what is done about it can go")
	}
}

func randomQuestion(r *rand.Rand) question {
	q := question{expr: exprs{r}.vector(1 + r.IntN(4))}
	switch r.IntN(12) {
	case 0:
		q.expr = exprs{r}.scalar(3)
	}
	start := 5*60_000 + r.Int64N(20*60_000)
	q.start = timestamp.Time(start)
	q.end = q.start
	if r.IntN(3) > 0 {
		q.step = pick(r, 250*time.Millisecond, 7*time.Second, 15*time.Second, time.Minute, 7*time.Minute)
		q.end = q.start.Add(min(q.step*time.Duration(r.IntN(30)), 10*time.Minute))
	}
	if strings.Contains(q.expr, "step()") && q.step == 0 {
		q.expr = strings.ReplaceAll(q.expr, "offset step()", "offset 15s")
	}
	return q
}
