package render

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

var update = flag.Bool("update", false, "write the golden files anew")

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

func ts(d time.Duration) model.Time { return model.TimeFromUnixNano(start.Add(d).UnixNano()) }

func sampleOf(v float64, kv ...string) *model.Sample {
	m := model.Metric{}
	for i := 0; i < len(kv); i += 2 {
		m[model.LabelName(kv[i])] = model.LabelValue(kv[i+1])
	}
	return &model.Sample{Metric: m, Value: model.SampleValue(v), Timestamp: ts(0)}
}

// wave is a series of one sample every 30 s for an hour; f returning NaN with
// gap set leaves the sample out.
func wave(f func(i int) (float64, bool), kv ...string) *model.SampleStream {
	s := &model.SampleStream{Metric: sampleOf(0, kv...).Metric}
	for i := range 121 {
		if v, ok := f(i); ok {
			s.Values = append(s.Values, model.SamplePair{Timestamp: ts(time.Duration(i) * 30 * time.Second), Value: model.SampleValue(v)})
		}
	}
	return s
}

func sine(phase, amp float64) func(int) (float64, bool) {
	return func(i int) (float64, bool) { return 50 + amp*math.Sin(float64(i)/12+phase), true }
}

var aHistogram = &model.SampleHistogram{Count: 12, Sum: 39.4, Buckets: model.HistogramBuckets{
	{Boundaries: 1, Lower: -2.8, Upper: -2, Count: 4}, {Boundaries: 3, Lower: -0.001, Upper: 0.001, Count: 2}, {Upper: 4, Lower: 2.8, Count: 6},
}}

func values() map[string]model.Value {
	histogramSample := sampleOf(0, "__name__", "latency_seconds", "job", "shop")
	histogramSample.Histogram = aHistogram
	return map[string]model.Value{
		"scalar": &model.Scalar{Value: 0.1, Timestamp: ts(0)},
		"string": &model.String{Value: "hé\x1b[31mllo", Timestamp: ts(1500 * time.Millisecond)},
		"empty":  model.Vector{},
		"one":    model.Vector{sampleOf(1, "__name__", "up", "job", "shop", "instance", "a:80")},
		"vector": model.Vector{
			sampleOf(1e9+0.5, "__name__", "orders_total", "job", "shop", "instance", "b:80", "zone", "z1"),
			sampleOf(12, "__name__", "orders_total", "job", "shop", "instance", "a:80"),
			sampleOf(math.Inf(1), "__name__", "orders_total", "job", "shop", "instance", "c:80", "zone", "東京"),
			sampleOf(1e-9, "__name__", "orders_total", "job", "shop", "instance", "d\x1b]0;x\a:80", "zone", "\xff"),
			sampleOf(math.NaN(), "__name__", "orders_total", "job", "shop", "instance", "e:80", "zone", `q"uo,te`),
		},
		"names":     model.Vector{sampleOf(2, "__name__", "b"), sampleOf(1, "__name__", "a", "dotted.label", "x")},
		"histogram": model.Vector{histogramSample},
		"range": model.Matrix{
			wave(sine(0, 40), "__name__", "load", "host", "a"),
			wave(sine(1, 20), "__name__", "load", "host", "b"),
			wave(func(i int) (float64, bool) { return 60, i < 30 || i > 60 }, "__name__", "load", "host", "gap"),
		},
		"single": model.Matrix{wave(sine(0, 40), "__name__", "load", "host", "ä")},
		"constant": model.Matrix{wave(func(int) (float64, bool) { return 3, true },
			"__name__", "up")},
		"odd": model.Matrix{
			wave(func(i int) (float64, bool) {
				return []float64{1e300, -1e308, 1.5e308, math.NaN(), math.Inf(-1)}[i%5], true
			}, "k", "huge"),
			wave(func(i int) (float64, bool) { return 7, i == 60 }, "k", "single sample"),
			wave(func(int) (float64, bool) { return 0, false }, "k", "none"),
		},
		"histograms": model.Matrix{{Metric: model.Metric{"__name__": "latency_seconds"}, Histograms: []model.SampleHistogramPair{
			{Timestamp: ts(0), Histogram: aHistogram}, {Timestamp: ts(time.Minute), Histogram: aHistogram},
		}}},
	}
}

func TestGolden(t *testing.T) {
	plain := Options{}
	for _, c := range []struct {
		value   string
		format  Format
		suffix  string
		options Options
	}{
		{"scalar", Table, "", plain}, {"scalar", CSV, "", plain}, {"scalar", JSON, "", plain},
		{"string", Table, "", plain}, {"string", CSV, "", plain},
		{"empty", Table, "", plain}, {"empty", CSV, "", plain}, {"empty", JSON, "", plain},
		{"one", Table, "", plain},
		{"vector", Table, "", plain}, {"vector", CSV, "", plain}, {"vector", JSON, "", plain},
		{"vector", Table, "_by_value", Options{Order: ByValue, Color: true}},
		{"vector", Table, "_given_ascii", Options{Order: AsGiven, ASCII: true, Width: 40}},
		{"names", Table, "", plain}, {"names", CSV, "", plain},
		{"histogram", Table, "", plain}, {"histogram", CSV, "", plain}, {"histogram", JSON, "", plain},
		{"range", Table, "", plain}, {"range", CSV, "", plain},
		{"range", Chart, "", plain},
		{"range", Chart, "_color", Options{Color: true, Width: 60, Height: 8}},
		{"range", Chart, "_ascii", Options{ASCII: true, Width: 70, Height: 8, Series: 2}},
		{"range", Chart, "_question", Options{Start: start.Add(-time.Hour), End: start.Add(2 * time.Hour), Step: 30 * time.Second, Height: 6}},
		{"single", Chart, "", Options{Width: 60, Height: 8, Location: time.FixedZone("CET", 3600)}},
		{"single", Chart, "_ascii", Options{Width: 60, Height: 8, ASCII: true}},
		{"constant", Chart, "", plain}, {"constant", Table, "", plain},
		{"odd", Chart, "", plain}, {"odd", Table, "", plain},
		{"histograms", Chart, "", Options{Height: 3}}, {"histograms", Table, "", plain}, {"histograms", CSV, "", plain},
	} {
		name := c.value + c.suffix + "." + string(c.format)
		var got bytes.Buffer
		if err := Write(&got, c.format, values()[c.value], c.options); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// Whatever the value, the text keeps to its promises.
func TestPromises(t *testing.T) {
	for name, v := range values() {
		for _, f := range []Format{Table, Chart} {
			for _, o := range []Options{{}, {ASCII: true}, {Width: 20}, {Width: 100, Height: 1}, {Order: ByValue, Series: 1}} {
				var b bytes.Buffer
				if err := Write(&b, f, v, o); err != nil {
					continue // not a range
				}
				for _, r := range b.String() {
					if r < ' ' && r != '\n' || r == utf8.RuneError {
						t.Errorf("%s as %s: control character %q in\n%q", name, f, r, b.String())
						break
					}
					if o.ASCII && r >= utf8.RuneSelf {
						t.Errorf("%s as %s: %q is not ASCII", name, f, r)
						break
					}
				}
			}
		}
	}
}

func TestChartFitsTheTerminal(t *testing.T) {
	for _, width := range []int{50, 80, 133} {
		var b bytes.Buffer
		if err := Write(&b, Chart, values()["range"], Options{Width: width}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := columns(strings.TrimRight(line, "\n")); n > width {
				t.Errorf("width %d: a line takes %d columns: %s", width, n, line)
			}
		}
	}
}

// A dip of one sample among thousands is still to be seen.
func TestSamplingKeepsExtremes(t *testing.T) {
	r := row{}
	for i := range 5000 {
		v := 1.0
		if i == 2345 {
			v = 0
		}
		r.points = append(r.points, point{t: ts(time.Duration(i) * time.Second), v: model.SampleValue(v)})
	}
	if low, high := bounds(axisOf([]row{r}, Options{}).sample(r, 60)); low != 0 || high != 1 {
		t.Errorf("drawn between %v and %v", low, high)
	}
}

func TestSamplingBridgesAndBreaks(t *testing.T) {
	r := row{}
	for _, m := range []time.Duration{0, 1, 2, 6, 7} {
		r.points = append(r.points, point{t: ts(m * time.Minute), v: model.SampleValue(m)})
	}
	got := axisOf([]row{r}, Options{}).sample(r, 15) // two columns a minute
	nan := math.NaN()
	want := []float64{0, .5, 1, 1.5, 2, nan, nan, nan, nan, nan, nan, nan, 6, 6.5, 7}
	for i := range want {
		if math.IsNaN(want[i]) != math.IsNaN(got[i]) || math.Abs(want[i]-got[i]) > 1e-9 {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	}
}

func TestChartOfTimeWithoutSamples(t *testing.T) {
	var b bytes.Buffer
	o := Options{Start: start.Add(24 * time.Hour), End: start.Add(48 * time.Hour), Height: -1, Width: -5}
	if err := Write(&b, Chart, values()["range"], o); err != nil || !strings.Contains(b.String(), "2026-01-03") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestParseFormat(t *testing.T) {
	for _, s := range Formats() {
		if f, err := ParseFormat(s); err != nil || string(f) != s {
			t.Errorf("%s: %v, %v", s, f, err)
		}
	}
	if _, err := ParseFormat("xml"); err == nil || !strings.Contains(err.Error(), `got "xml", must be one of table, json, csv, chart`) {
		t.Errorf("got %v", err)
	}
	if err := Write(io.Discard, "xml", model.Vector{}, Options{}); err == nil {
		t.Error("an unknown format was written")
	}
	if err := Write(io.Discard, Chart, model.Vector{}, Options{}); err == nil || !strings.Contains(err.Error(), "must be a range") {
		t.Errorf("chart of an instant: %v", err)
	}
}

func TestDetect(t *testing.T) {
	for locale, ascii := range map[string]bool{"": false, "C": true, "de_DE.UTF-8": false, "C.utf8": false, "ja_JP.eucJP": true} {
		o := Detect(&bytes.Buffer{}, func(k string) string { return map[string]string{"LANG": locale}[k] })
		if o.ASCII != ascii || o.Color || o.Width != 0 {
			t.Errorf("LANG=%s: got %+v", locale, o)
		}
	}
}

type failing struct{}

var errPipe = errors.New("broken pipe")

func (failing) Write([]byte) (int, error) { return 0, errPipe }

func TestWriteErrorsAreReported(t *testing.T) {
	for _, f := range []Format{Table, JSON, CSV, Chart} {
		if err := Write(failing{}, f, values()["range"], Options{}); !errors.Is(err, errPipe) {
			t.Errorf("%s: got %v", f, err)
		}
	}
}

func TestFromPromQL(t *testing.T) {
	h := &histogram.FloatHistogram{
		Count: 12, ZeroCount: 2, ZeroThreshold: 0.001, Sum: 39.4, Schema: 1,
		PositiveSpans: []histogram.Span{{Length: 2}, {Offset: 1, Length: 1}}, PositiveBuckets: []float64{1, 0, 4},
		NegativeSpans: []histogram.Span{{Length: 1}}, NegativeBuckets: []float64{5},
	}
	ls := labels.FromStrings("__name__", "m", "a", "b")
	at := ts(0)
	want := map[string]model.Value{
		"scalar": &model.Scalar{Timestamp: at, Value: 2},
		"string": &model.String{Timestamp: at, Value: "s"},
	}
	for name, v := range map[string]interface {
		Type() parser.ValueType
		String() string
	}{
		"scalar": promql.Scalar{T: int64(at), V: 2},
		"string": promql.String{T: int64(at), V: "s"},
	} {
		got, err := FromPromQL(v)
		if d := cmp.Diff(want[name], got); err != nil || d != "" {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
	}
	v, err := FromPromQL(promql.Vector{{Metric: ls, T: int64(at), F: 3}, {Metric: ls, T: int64(at), H: h}})
	if err != nil {
		t.Fatal(err)
	}
	vector := v.(model.Vector)
	if vector[0].String() != `m{a="b"} => 3 @[`+at.String()+`]` || vector[1].Histogram == nil {
		t.Errorf("vector: %s", vector)
	}
	m, err := FromPromQL(promql.Matrix{{Metric: ls, Floats: []promql.FPoint{{T: int64(at), F: 1}}, Histograms: []promql.HPoint{{T: int64(at) + 1, H: h}}}})
	if err != nil {
		t.Fatal(err)
	}
	got := m.(model.Matrix)[0]
	wantBuckets := []string{"[-1,-0.7071067811865475):5", "[-0.001,0.001]:2", "(0.7071067811865475,1]:1", "(2,2.82842712474619]:4"}
	var gotBuckets []string
	for _, b := range got.Histograms[0].Histogram.Buckets {
		gotBuckets = append(gotBuckets, b.String())
	}
	if d := cmp.Diff(wantBuckets, gotBuckets); d != "" {
		t.Error(d)
	}
	if _, err := FromPromQL(nil); err == nil {
		t.Error("nil was taken")
	}
}
