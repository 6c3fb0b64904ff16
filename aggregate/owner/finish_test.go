package owner

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

func load(t testing.TB, text string) *rule.Set {
	t.Helper()
	set, err := rule.Load("test.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func newOwner(t testing.TB, set *rule.Set) *Owner {
	t.Helper()
	o, err := New(Options{Rules: set})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func row(group labels.Labels, a partial.Acc) partial.Row {
	return partial.Row{Group: group, Hash: group.Hash(), Acc: a}
}

// texts writes samples as name{labels} time value.
func texts(ss []partial.Sample) []string {
	out := []string{}
	for _, s := range ss {
		v := fmt.Sprint(s.V)
		if s.H != nil {
			v = fmt.Sprintf("count %v sum %v", s.H.Count, s.H.Sum)
		}
		if s.Revision > 0 {
			v += fmt.Sprintf(" revision %d", s.Revision)
		}
		out = append(out, fmt.Sprintf("%s %d %s", s.Labels, s.T/1000, v))
	}
	return out
}

func expect(t *testing.T, got []partial.Sample, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, texts(got)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// observed is an accumulator of samples 1, 2, 3, 10 and of counters that grew by 30.
func observed(needs rule.Needs) partial.Acc {
	a := partial.Acc{Rate: 3, Rates: 2, Series: 2}
	a.Increase.Add(30)
	a.IncreaseProm.Add(20)
	for i, v := range []float64{1, 10, 2, 2, 3} {
		a.Observe(needs, int64(i+1), v)
	}
	return a
}

// Every output against values worked out by hand, in two windows of which the
// second has no samples, only counters (a gap that was spread).
func TestOutputs(t *testing.T) {
	g := labels.FromStrings("__name__", "m", "job", "j")
	for _, tc := range []struct {
		output        string
		first, second []string
	}{
		{"total", []string{"total 30"}, []string{"total 42"}},
		{"total_prometheus", []string{"total_prometheus 20"}, []string{"total_prometheus 25"}},
		{"increase", []string{"increase 30"}, []string{"increase 12"}},
		{"increase_prometheus", []string{"increase_prometheus 20"}, []string{"increase_prometheus 5"}},
		{"rate_sum", []string{"rate_sum 3"}, []string{"rate_sum 0.2"}},
		{"rate_avg", []string{"rate_avg 1.5"}, []string{"rate_avg 0.2"}},
		{"sum_samples", []string{"sum_samples 18"}, nil},
		{"sum_samples_total", []string{"sum_samples_total 18"}, []string{"sum_samples_total 18"}},
		{"count_samples", []string{"count_samples 5"}, nil},
		{"count_series", []string{"count_series 2"}, nil},
		{"unique_samples", []string{"unique_samples 4"}, nil},
		{"avg", []string{"avg 3.6"}, nil},
		{"min", []string{"min 1"}, nil},
		{"max", []string{"max 10"}, nil},
		{"last", []string{"last 3"}, nil},
		{"stdvar", []string{"stdvar 10.64"}, nil},
		{"stddev", []string{fmt.Sprintf("stddev %v", math.Sqrt(10.64))}, nil},
		{"'quantiles(0, 0.5, 1)'", []string{`quantiles quantile="0" 1`, `quantiles quantile="0.5" 2.015625`, `quantiles quantile="1" 10`}, nil},
		{"histogram_bucket",
			[]string{`histogram_bucket vmrange="8.799e-01...1.000e+00" 1`, `histogram_bucket vmrange="1.896e+00...2.154e+00" 2`, `histogram_bucket vmrange="2.783e+00...3.162e+00" 1`, `histogram_bucket vmrange="8.799e+00...1.000e+01" 1`},
			[]string{`histogram_bucket vmrange="8.799e-01...1.000e+00" 1`, `histogram_bucket vmrange="1.896e+00...2.154e+00" 2`, `histogram_bucket vmrange="2.783e+00...3.162e+00" 1`, `histogram_bucket vmrange="8.799e+00...1.000e+01" 1`}},
		{"native_histogram", []string{"native_histogram count 5 sum 18"}, []string{"native_histogram count 5 sum 18"}},
		{"sketch", []string{"sketch count 5 sum 18"}, nil},
	} {
		t.Run(tc.output, func(t *testing.T) {
			set := load(t, "- {interval: 1m, by: [job], outputs: ["+tc.output+"]}")
			r := set.Rules[0]
			o := newOwner(t, set)
			first := o.Finish(&partial.Window{Rule: r, End: 60_000, Rows: []partial.Row{row(g, observed(r.Needs()))}})
			gap := partial.Acc{Rate: 0.2, Rates: 1, Increase: partial.Sum2{Hi: 12}, IncreaseProm: partial.Sum2{Hi: 5}}
			second := o.Finish(&partial.Window{Rule: r, End: 120_000, Rows: []partial.Row{row(g, gap)}})
			for _, w := range []struct {
				got  []partial.Sample
				want []string
				at   int
			}{{first, tc.first, 60}, {second, tc.second, 120}} {
				var want []string
				for _, text := range w.want {
					var name, extra, value string
					if n, _ := fmt.Sscanf(text, "%s %s %s", &name, &extra, &value); n == 2 || extra == "count" {
						value, extra = text[len(name)+1:], ""
					} else {
						extra = ", " + extra
					}
					want = append(want, fmt.Sprintf(`{__name__="m:1m_by_job_%s", job="j"%s} %d %s`, name, extra, w.at, value))
				}
				expect(t, w.got, want...)
			}
		})
	}
}

func TestNativeHistogramsIn(t *testing.T) {
	set := load(t, "- {interval: 1m, by: [job], outputs: [total, increase, rate_sum, native_histogram]}")
	r := set.Rules[0]
	o := newOwner(t, set)
	g := labels.FromStrings("__name__", "m")
	h := func(n float64) *histogram.FloatHistogram {
		return &histogram.FloatHistogram{Schema: 2, Count: n, Sum: 10 * n, PositiveSpans: []histogram.Span{{Offset: 1, Length: 1}}, PositiveBuckets: []float64{n}}
	}
	in := h(60)
	first := o.Finish(&partial.Window{Rule: r, End: 60_000, Rows: []partial.Row{row(g, partial.Acc{Hist: in})}})
	expect(t, first, `{__name__="m:1m_by_job_total"} 60 count 60 sum 600`, `{__name__="m:1m_by_job_increase"} 60 count 60 sum 600`,
		`{__name__="m:1m_by_job_rate_sum"} 60 count 1 sum 10`, `{__name__="m:1m_by_job_native_histogram"} 60 count 60 sum 600`)
	second := o.Finish(&partial.Window{Rule: r, End: 120_000, Rows: []partial.Row{row(g, partial.Acc{Hist: h(120)})}})
	expect(t, second, `{__name__="m:1m_by_job_total"} 120 count 180 sum 1800`, `{__name__="m:1m_by_job_increase"} 120 count 120 sum 1200`,
		`{__name__="m:1m_by_job_rate_sum"} 120 count 2 sum 20`, `{__name__="m:1m_by_job_native_histogram"} 120 count 180 sum 1800`)
	if first[0].H.Count != 60 || in.Count != 60 {
		t.Error("a sample changed after it was handed out")
	}
	if first[1].H.CounterResetHint != histogram.GaugeType || first[0].H.CounterResetHint == histogram.GaugeType {
		t.Error("the increase must be a gauge, the total a counter")
	}
}

// TestQuantilesOfNativeHistograms: alone, and together with samples.
func TestQuantilesOfNativeHistograms(t *testing.T) {
	set := load(t, "- {interval: 1m, by: [job], outputs: ['quantiles(0, 0.5, 1)', count_samples]}")
	o := newOwner(t, set)
	g := labels.FromStrings("__name__", "m")
	window := func(a partial.Acc) *partial.Window {
		return &partial.Window{Rule: set.Rules[0], End: 60_000, Rows: []partial.Row{row(g, a)}}
	}
	// Buckets (1, 2] and (2, 4].
	h := &histogram.FloatHistogram{Count: 4, Sum: 9, PositiveSpans: []histogram.Span{{Offset: 1, Length: 2}}, PositiveBuckets: []float64{1, 3}}
	const quantile = `{__name__="m:1m_by_job_quantiles", quantile="`
	expect(t, o.Finish(window(partial.Acc{Hist: h})),
		quantile+`0"} 60 1.4142135623730951`, quantile+`0.5"} 60 2.828125`, quantile+`1"} 60 2.8284271247461903`)
	var a partial.Acc
	for range 5 {
		a.Observe(set.Rules[0].Needs(), 60_000, 8)
	}
	a.Hist = h
	expect(t, o.Finish(window(a)),
		quantile+`0"} 60 1.4142135623730951`, quantile+`0.5"} 60 8`, quantile+`1"} 60 8`, `{__name__="m:1m_by_job_count_samples"} 60 5`)
	if a.Quant.Count() != 5 {
		t.Errorf("the samples' sketch has %d values after it was read, want 5", a.Quant.Count())
	}
}

func counter(v float64) partial.Acc { return partial.Acc{Increase: partial.Sum2{Hi: v}} }

func TestTotals(t *testing.T) {
	g := labels.FromStrings("__name__", "m")
	set := load(t, "- {interval: 1m, by: [job], outputs: [total, increase]}\n- {interval: 1m, without: [x], late: correct, outputs: [total, increase]}")
	o := newOwner(t, set)
	at := func(r, end, revision int, a partial.Acc) []partial.Sample {
		return o.Finish(&partial.Window{Rule: set.Rules[r], End: int64(end) * 1000, Revision: uint32(revision), Rows: []partial.Row{row(g, a)}})
	}
	const by, without = `{__name__="m:1m_by_job_`, `{__name__="m:1m_without_x_`
	expect(t, at(0, 60, 0, counter(1<<53)), by+`total"} 60 9.007199254740992e+15`, by+`increase"} 60 9.007199254740992e+15`)
	expect(t, at(0, 120, 0, counter(1)), by+`total"} 120 9.007199254740992e+15`, by+`increase"} 120 1`)
	expect(t, at(0, 180, 0, partial.Acc{Increase: partial.Sum2{Hi: 2}, Carry: partial.Sum2{Hi: 1}}), by+`total"} 180 9.007199254740996e+15`, by+`increase"} 180 2`)
	// A backlog: its window is new, its amount is in the next total.
	expect(t, at(0, 0, 0, counter(4)), by+`increase"} 0 4`)
	expect(t, at(0, 240, 0, counter(0)), by+`total"} 240 9.007199254741e+15`, by+`increase"} 240 0`)

	at(1, 60, 0, counter(10))
	expect(t, at(1, 120, 0, counter(10)), without+`total"} 120 20`, without+`increase"} 120 10`)
	expect(t, at(1, 120, 1, counter(15)), without+`total"} 120 25 revision 1`, without+`increase"} 120 15 revision 1`)
	expect(t, at(1, 60, 1, counter(13)), without+`increase"} 60 13 revision 1`)
	expect(t, at(1, 180, 0, counter(1)), without+`total"} 180 29`, without+`increase"} 180 1`)
}

func TestForgetting(t *testing.T) {
	set := load(t, "- {interval: 1m, outputs: [total]}")
	o := newOwner(t, set)
	for i := range 1000 {
		g := labels.FromStrings("__name__", "m", "pod", fmt.Sprint(i))
		o.Finish(&partial.Window{Rule: set.Rules[0], End: int64(i) * 60_000, Rows: []partial.Row{row(g, counter(1))}})
	}
	if n := o.Groups(); n > 90 {
		t.Errorf("%d groups are remembered of which one a minute lived, want about an hour's", n)
	}
}

func BenchmarkFinish(b *testing.B) {
	set := load(b, "- {interval: 1m, without: [pod], outputs: [total]}")
	o := newOwner(b, set)
	w := &partial.Window{Rule: set.Rules[0]}
	for i := range 10_000 {
		g := labels.FromStrings("__name__", "http_requests_total", "cluster", "eu", "env", "production", "job", "api", "path", fmt.Sprint("/", i))
		w.Rows = append(w.Rows, row(g, counter(1)))
	}
	b.ReportAllocs()
	for b.Loop() {
		w.End += 60_000
		o.Finish(w)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(w.Rows)), "ns/row")
}
