package global

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

// watched counts the requests to an island and remembers the last.
type watched struct {
	Island
	facts func(*Facts)
	asked atomic.Int64
	last  *Request
	err   error
}

func (w *watched) Facts() Facts {
	f := w.Island.Facts()
	if w.facts != nil {
		w.facts(&f)
	}
	return f
}

func (w *watched) Answer(ctx context.Context, r *Request) (*Answer, error) {
	w.asked.Add(1)
	w.last = r
	if w.err != nil {
		return nil, w.err
	}
	return w.Island.Answer(ctx, r)
}

// trio is three islands with up{job} = 1, 2, 4 at 0 s, 15 s, … 600 s.
func trio(t *testing.T, change func(*Options)) (*Engine, []*watched) {
	t.Helper()
	answers := upstream(t, false)
	var all []*watched
	for i := range 3 {
		store := memory(t)
		var samples []sample
		for ms := int64(0); ms <= 600_000; ms += scrape {
			samples = append(samples, sample{labels: labels.FromStrings("__name__", "up", "job", "a"), ms: ms, v: float64(int(1) << i)})
		}
		fill(t, store, samples)
		all = append(all, &watched{Island: newAnswerer(t, answers, store, islandName(i), false)})
	}
	return newEngine(t, change, func() []Island {
		var out []Island
		for _, w := range all {
			out = append(out, w)
		}
		return out
	}, false), all
}

func at(expr string, seconds int64) question {
	ts := timestamp.Time(seconds * 1000)
	return question{expr: expr, start: ts, end: ts}
}

func value1(t *testing.T, res *promql.Result) float64 {
	t.Helper()
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	v := values(res)
	if len(v) != 1 {
		t.Fatalf("got %v, want one value", res.Value)
	}
	return v[0]
}

// TestRoundTrips: one request per island answers a query, whatever it consists of.
func TestRoundTrips(t *testing.T) {
	for expr, rounds := range map[string]int64{
		`sum(up) / count(up) + scalar(avg(up)) + max_over_time(sum(up)[5m:1m])`: 1,
		`sum(up) + on () count(info(up))`:                                       2,
		`vector(1)`:                                                             0,
		`quantile_over_time(scalar(min(up)), up[5m])`:                           1,
		`quantile_over_time(scalar(min(up)), up{job=~"a|b",instance=""}[5m])`:   1,
	} {
		e, islands := trio(t, nil)
		res, receipt := at(expr, 300).ask(t.Context(), e, nil)
		if res.Err != nil || int64(receipt.Rounds) != rounds {
			t.Errorf("%s: %d rounds, error %v, want %d", expr, receipt.Rounds, res.Err, rounds)
		}
		for _, w := range islands {
			if got := w.asked.Load(); got != rounds {
				t.Errorf("%s: %s was asked %d times, want %d", expr, w.Facts().Name, got, rounds)
			}
		}
	}
}

// TestReceipt checks every field of one.
func TestReceipt(t *testing.T) {
	reg := prometheus.NewRegistry()
	e, islands := trio(t, func(o *Options) { o.Registerer = reg })
	islands[0].Island.(*Answerer).options.Span = func() (oldest, newest int64) { return 15_000, 600_000 }
	islands[1].facts = func(f *Facts) { f.MinTime = 900_000 }
	islands[2].err = errors.New("no route")
	var receipt Receipt
	res, same := at(`sum(up) + quantile_over_time(scalar(min(up)), up[1m])`, 300).ask(WithAsk(t.Context(), Ask{Receipt: &receipt}), e, nil)
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	for i := range receipt.Islands {
		receipt.Islands[i].Took = 0
		same.Islands[i].Took = 0
		if i == 0 && receipt.Islands[i].Bytes == 0 {
			t.Error("raw samples have no bytes")
		}
		receipt.Islands[i].Bytes, same.Islands[i].Bytes = 0, 0
	}
	want := Receipt{
		Scope: "all", Partial: true, Rounds: 1,
		Pushed:  []string{"sum(up)", "min(up)"},
		Fetched: []string{`{__name__="up"}`},
		Rest:    `sum({__leaf__=~"0"}) + quantile_over_time(scalar(min({__leaf__=~"1"})), up[1m])`,
		Islands: []IslandReceipt{
			{Name: "isle-0", State: StateAnswered, Oldest: 15_000, Newest: 600_000, Series: 3, Samples: 6},
			{Name: "isle-1", State: StateSkipped, Why: "its data begins at 1970-01-01T00:15:00Z"},
			{Name: "isle-2", State: StateFailed, Why: "no route"},
		},
	}
	if d := cmp.Diff(want, receipt); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(*same, receipt); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{`partial answer: island "isle-2" is missing: no route`}, texts(res.Warnings)); d != "" {
		t.Error(d)
	}
	expect := `# HELP atoll_global_islands_total Islands in queries, by what became of them: answered, skipped or failed.
# TYPE atoll_global_islands_total counter
atoll_global_islands_total{state="answered"} 1
atoll_global_islands_total{state="failed"} 1
atoll_global_islands_total{state="skipped"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(expect), "atoll_global_islands_total"); err != nil {
		t.Error(err)
	}
}

// TestPruning: islands that cannot have anything are not asked.
func TestPruning(t *testing.T) {
	for expr, asked := range map[string]string{
		`sum(up)`:                               "111",
		`sum(up{island="isle-1"})`:              "010",
		`sum(up{island=~"isle-[02]"})`:          "101",
		`up{island="isle-0"} or up{region="x"}`: "100",
		`sum(up{region="eu"})`:                  "011",
		`sum(up{region!="eu"})`:                 "100",
		`sum(up offset 310s)`:                   "110",
	} {
		e, islands := trio(t, nil)
		for i, w := range islands {
			w.facts = func(f *Facts) {
				f.External = labels.FromStrings("region", []string{"us", "eu", "eu"}[i])
				f.MinTime = []int64{0, 1, 100_000}[i]
			}
		}
		_, receipt := at(expr, 400).ask(t.Context(), e, nil)
		got := ""
		for i, w := range islands {
			got += fmt.Sprint(w.asked.Load())
			if skipped := receipt.Islands[i].State == StateSkipped; skipped == (w.asked.Load() > 0) || skipped && receipt.Islands[i].Why == "" {
				t.Errorf("%s: receipt %+v", expr, receipt.Islands[i])
			}
		}
		if got != asked {
			t.Errorf("%s: asked %s, want %s", expr, got, asked)
		}
	}
}

// TestMissing: a sum is flagged or denied, absent() is neither silenced nor certain.
func TestMissing(t *testing.T) {
	e, islands := trio(t, nil)
	islands[1].err = errors.New("no route")
	res, receipt := at(`sum(up)`, 300).ask(t.Context(), e, nil)
	if got := value1(t, res); got != 5 || !receipt.Partial {
		t.Errorf("sum %v, receipt %+v", got, receipt)
	}
	res, _ = at(`sum(up)`, 300).ask(WithAsk(t.Context(), Ask{Deny: true}), e, nil)
	var partial ErrPartial
	if !errors.As(res.Err, &partial) || partial.Error() != `query: partial answers are denied and islands are missing: "isle-1": no route` {
		t.Errorf("denied: %v", res.Err)
	}
	for _, expr := range []string{`absent(down{job="x"})`, `absent_over_time(down{job="x"}[5m])`} {
		res, _ = at(expr, 300).ask(t.Context(), e, nil)
		if got := value1(t, res); got != 1 || asMatrix(res.Value)[0].Metric.String() != `{job="x"}` {
			t.Errorf("%s = %v", expr, res.Value)
		}
		if !slices.Contains(texts(res.Warnings), "absent() was decided without islands isle-1, which may have what it did not find") {
			t.Errorf("%s: warnings %q", expr, texts(res.Warnings))
		}
	}
	res, _ = at(`absent(up)`, 300).ask(t.Context(), e, nil)
	if v := values(res); len(v) != 0 || res.Err != nil {
		t.Errorf("absent(up) = %v, %v", v, res.Err)
	}
}

// TestDeadline: a slow island costs its deadline and no more; the caller's own
// deadline is an error.
func TestDeadline(t *testing.T) {
	e, islands := trio(t, nil)
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		e := *e
		e.options.Islands = func(context.Context) []Island {
			return []Island{islands[0], &flaky{Island: islands[1], fault: "deaf", release: release}, islands[2]}
		}
		began := time.Now()
		res, receipt := at(`sum(up)`, 300).ask(WithAsk(t.Context(), Ask{Deadline: 3 * time.Second}), &e, nil)
		if got, took := value1(t, res), time.Since(began); got != 5 || took != 3*time.Second {
			t.Errorf("sum %v after %v", got, took)
		}
		if want := "no answer within 3s"; receipt.Islands[1].Why != want {
			t.Errorf("why %q, want %q", receipt.Islands[1].Why, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		res, _ = at(`sum(up)`, 300).ask(ctx, &e, nil)
		var timeout promql.ErrQueryTimeout
		if !errors.As(res.Err, &timeout) {
			t.Errorf("with 1s: %v", res.Err)
		}
		qry, err := at(`sum(up)`, 300).on(t.Context(), &e, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, qry.Cancel)
		var canceled promql.ErrQueryCanceled
		if res = qry.Exec(t.Context()); !errors.As(res.Err, &canceled) {
			t.Errorf("canceled: %v", res.Err)
		}
	})
}

// TestLimits: what one query receives is bounded, on both sides.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		expr   string
		limits Limits
		want   string
	}{
		{`up`, Limits{Series: 2}, "query would move more than 2 series between islands: aggregate, or select fewer, or raise the limit"},
		{`up`, Limits{Samples: 2}, "query would move more than 2 samples between islands: ask for a coarser step or a shorter time, or aggregate, or raise the limit"},
		{`up[5m]`, Limits{Bytes: 10}, "query would move more than 10 bytes of raw samples between islands: ask for a shorter time, or aggregate, or raise the limit"},
		{`sum(up)`, Limits{Series: 3, Samples: 3}, "<nil>"},
	} {
		e, _ := trio(t, func(o *Options) { o.Limits = c.limits })
		res, _ := at(c.expr, 300).ask(t.Context(), e, nil)
		if got := fmt.Sprint(res.Err); got != c.want {
			t.Errorf("%s with %+v: %s, want %s", c.expr, c.limits, got, c.want)
		}
	}
	// An island whose own limit is lower is missing.
	e, islands := trio(t, nil)
	islands[0].Island.(*Answerer).options.Limits = Limits{Samples: 1}
	q := at(`up`, 300)
	q.end, q.step = q.start.Add(time.Minute), scrape*time.Millisecond
	res, receipt := q.ask(t.Context(), e, nil)
	if res.Err != nil || len(asMatrix(res.Value)) != 2 || !strings.Contains(receipt.Islands[0].Why, "more than 1 samples") {
		t.Errorf("%v %v %+v", res.Err, res.Value, receipt.Islands)
	}
}

// TestQuestionErrors: what is wrong with a question is said as upstream says it.
func TestQuestionErrors(t *testing.T) {
	e, islands := trio(t, nil)
	for expr, want := range map[string]string{
		`sum(`:                            "unclosed left parenthesis",
		`up{__leaf__="0"}`:                "is reserved",
		`sum(up * on (island) {job="a"})`: "<nil>",
		`label_replace(up, "job", "$1", "job", "(")`: "invalid regular expression",
	} {
		res, _ := at(expr, 300).ask(t.Context(), e, nil)
		if got := fmt.Sprint(res.Err); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", expr, got, want)
		}
	}
	if _, err := e.NewRangeQuery(t.Context(), nil, nil, "up", time.Unix(0, 0), time.Unix(9, 0), time.Microsecond); !errors.Is(err, rewrite.ErrStep) {
		t.Errorf("step of 1µs: %v", err)
	}
	twin := &watched{Island: islands[0]}
	e.options.Islands = func(context.Context) []Island { return []Island{islands[0], twin} }
	if res, _ := at("up", 300).ask(t.Context(), e, nil); !strings.Contains(fmt.Sprint(res.Err), `two islands are named "isle-0"`) {
		t.Errorf("twins: %v", res.Err)
	}
	e.options.Islands = func(context.Context) []Island { return nil }
	if res, _ := at("up", 300).ask(t.Context(), e, nil); !strings.Contains(fmt.Sprint(res.Err), "no islands are known") {
		t.Errorf("none: %v", res.Err)
	}
}

// TestLocal: a query about this island alone is the upstream engine's.
func TestLocal(t *testing.T) {
	e, islands := trio(t, nil)
	store := islands[1].Island.(*Answerer).options.Storage
	res, receipt := at(`sum(up) + scalar(count({island="", job="a"}))`, 300).ask(WithAsk(t.Context(), Ask{Scope: ScopeLocal}), e, store)
	if got := value1(t, res); got != 3 || receipt.Scope != "local" {
		t.Errorf("%v, receipt %+v", got, receipt)
	}
	for _, w := range islands {
		if w.asked.Load() > 0 {
			t.Errorf("%s was asked", w.Facts().Name)
		}
	}
}

// TestUnlike: islands whose engines are set otherwise are missing, not wrong.
func TestUnlike(t *testing.T) {
	e, islands := trio(t, nil)
	islands[2].Island.(*Answerer).options.DelayedNames = true
	res, receipt := at(`sum(up)`, 300).ask(t.Context(), e, nil)
	if got := value1(t, res); got != 3 || !strings.Contains(receipt.Islands[2].Why, "delayed name removal true") {
		t.Errorf("%v %+v", got, receipt.Islands[2])
	}
}

// TestMixed: sums of groups that mix floats and histograms on one island only, and
// sums that cancel each other out or overflow, are computed from their series.
func TestMixed(t *testing.T) {
	metric := func(name, pod string) labels.Labels { return labels.FromStrings("__name__", name, "pod", pod) }
	data := [][]sample{
		{
			{labels: metric("mix", "a"), v: 1}, {labels: metric("mix", "b"), h: tsdbutil.GenerateTestHistogram(1)},
			{labels: metric("huge", "a"), v: 1e308}, {labels: metric("near", "a"), v: 1e100}, {labels: metric("near", "b"), v: 0.25},
		},
		{{labels: metric("mix", "a"), v: 2}, {labels: metric("huge", "a"), v: 1e308}, {labels: metric("near", "a"), v: -1e100}, {labels: metric("near", "b"), v: 0.5}},
	}
	merged, answers := memory(t), upstream(t, false)
	var islands []Island
	for i, samples := range data {
		store := memory(t)
		fill(t, store, samples)
		for j := range samples {
			samples[j].labels = with(samples[j].labels, islandName(i))
		}
		fill(t, merged, samples)
		islands = append(islands, newAnswerer(t, answers, store, islandName(i), false))
	}
	e := newEngine(t, nil, func() []Island { return islands }, false)
	for expr, n := range map[string]int{`sum(mix)`: 0, `avg(mix)`: 0, `count(mix)`: 1, `avg(huge)`: 1, `sum(near)`: 1, `avg(near)`: 1, `sum by (island) (mix)`: 1} {
		want, _ := at(expr, 1).ask(t.Context(), upstream(t, false), merged)
		got, receipt := at(expr, 1).ask(t.Context(), e, nil)
		if d := differ(want, got) + notesDiffer(want.Warnings, got.Warnings); d != "" || len(values(want)) != n {
			t.Errorf("%s: %s, want %d values", expr, d, n)
		}
		if pure := strings.Contains(expr, "count") || strings.Contains(expr, "island"); pure == (receipt.Rounds == 2) {
			t.Errorf("%s took %d rounds", expr, receipt.Rounds)
		}
	}
}

// TestOrder: the order in which islands are listed changes nothing, not even which
// of equal values topk takes. (Over operators, upstream's choice is random.)
func TestOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	f := newFleet(t, r, 4, false, nil)
	q := question{expr: `topk(2, count_over_time(g1[1m])) or bottomk by (job) (1, count_over_time(c1_total[1m]))`, start: timestamp.Time(600_000), end: timestamp.Time(900_000), step: 15 * time.Second}
	first, _ := q.ask(t.Context(), f.engine, nil)
	for range 10 {
		r.Shuffle(len(f.islands), func(i, j int) { f.islands[i], f.islands[j] = f.islands[j], f.islands[i] })
		if again, _ := q.ask(t.Context(), f.engine, nil); differ(first, again) != "" {
			t.Fatal(differ(first, again))
		}
	}
}

// TestLatency: whatever a question consists of, it takes as long as the slowest
// island does to answer once.
func TestLatency(t *testing.T) {
	_, islands := trio(t, nil)
	for expr, slowest := range map[string]time.Duration{
		`sum(up)`: 200 * time.Millisecond,
		`sum(up) / count(up) + scalar(avg(up)) + max_over_time(sum(up)[5m:1m]) - min(up offset 1m)`: 200 * time.Millisecond,
		`quantile(0.5, up) + on () sum(up) / on () histogram_quantile(0.9, sum by (le) (up))`:       200 * time.Millisecond,
		`sum(up{island!="isle-2"})`: 120 * time.Millisecond,
		`up[5m]`:                    200 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEngine(t, nil, func() (all []Island) {
				for i, w := range islands {
					all = append(all, &far{Island: w, trip: []time.Duration{50, 120, 200}[i] * time.Millisecond})
				}
				return all
			}, false)
			began := time.Now()
			res, receipt := at(expr, 300).ask(t.Context(), e, nil)
			if took := time.Since(began); res.Err != nil || receipt.Rounds != 1 || took != slowest {
				t.Errorf("%s: %v after %v in %d rounds, want %v", expr, res.Err, took, receipt.Rounds, slowest)
			}
		})
	}
}

// far is an island at a distance.
type far struct {
	Island
	trip time.Duration // there and back
}

func (f *far) Answer(ctx context.Context, r *Request) (*Answer, error) {
	select {
	case <-time.After(f.trip):
		return f.Island.Answer(ctx, r)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
