package query

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protojson"
)

var update = flag.Bool("update", false, "write the golden files anew")

const protobufDelimited = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

// federateSeries writes, as of now, every kind of series /federate has to deal with.
func federateSeries(t *testing.T, d db, now time.Time) {
	t.Helper()
	ago := func(m float64) int64 { return now.Add(-time.Duration(m * float64(time.Minute))).UnixMilli() }
	series := func(kv ...string) labels.Labels { return labels.FromStrings(kv...) }
	d.put(t, series("__name__", "b_plain"), promql.FPoint{T: ago(2), F: 1}, promql.FPoint{T: ago(1), F: 2.5})
	d.put(t, series("__name__", "a_labels", "instance", "i", "zone", "z1"), promql.FPoint{T: ago(1), F: 3})
	d.put(t, series("__name__", "a_labels", "zone", "z\"2\\\n"), promql.FPoint{T: ago(1), F: 4})
	d.put(t, series("__name__", "c_stale"), promql.FPoint{T: ago(2), F: 5}, promql.FPoint{T: ago(1), F: math.Float64frombits(value.StaleNaN)})
	d.put(t, series("__name__", "c_old"), promql.FPoint{T: ago(6), F: 6})
	d.put(t, series("__name__", "c_recent"), promql.FPoint{T: ago(4.9), F: 7})
	d.put(t, series("__name__", "c_future"), promql.FPoint{T: ago(2), F: 8}, promql.FPoint{T: ago(-10), F: 9})
	d.put(t, series("__name__", "name.with/utf-8", "label.too", "é"), promql.FPoint{T: ago(1), F: 10})
	d.put(t, series("job", "nameless"), promql.FPoint{T: ago(1), F: 11})

	native := func() *histogram.Histogram {
		return &histogram.Histogram{
			Count: 12, ZeroCount: 2, ZeroThreshold: 0.001, Sum: 39.4, Schema: 1,
			PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}, {Offset: 1, Length: 2}}, PositiveBuckets: []int64{1, 1, -1, 0},
			NegativeSpans: []histogram.Span{{Offset: 0, Length: 2}, {Offset: 1, Length: 2}}, NegativeBuckets: []int64{1, 1, -1, 0},
		}
	}
	gauge := native()
	gauge.CounterResetHint = histogram.GaugeType
	custom := &histogram.Histogram{
		Count: 6, Sum: 1.234, Schema: histogram.CustomBucketsSchema,
		PositiveSpans:   []histogram.Span{{Offset: 0, Length: 2}, {Offset: 2, Length: 1}},
		PositiveBuckets: []int64{3, -1, -1}, CustomValues: []float64{0.1, 0.2, 0.5, 1, 2},
	}
	d.putHistogram(t, series("__name__", "d_mixed", "kind", "1native"), ago(1), native())
	d.putHistogram(t, series("__name__", "d_mixed", "kind", "2gauge"), ago(1), gauge)
	d.put(t, series("__name__", "d_mixed", "kind", "3float"), promql.FPoint{T: ago(1), F: 12})
	d.putHistogram(t, series("__name__", "d_mixed", "kind", "4custom"), ago(1), custom)
	d.putHistogram(t, series("__name__", "d_mixed", "kind", "5native"), ago(1), native())
	stale := native()
	stale.Sum = math.Float64frombits(value.StaleNaN)
	d.putHistogram(t, series("__name__", "d_stale_histogram"), ago(1), stale)
}

type federateCase struct {
	name     string
	match    []string
	accept   string
	external labels.Labels
}

var everything = []string{`{__name__=~".+"}`, `{job="nameless"}`, `b_plain`}

var federateCases = []federateCase{
	{name: "nothing asked"},
	{name: "no match", match: []string{"absent"}},
	{name: "bad match", match: []string{"a_labels", "-nope"}},
	{name: "text", match: everything},
	{name: "text with escaping", match: everything, accept: "text/plain;version=1.0.0;escaping=allow-utf-8"},
	{name: "external labels", match: []string{"a_labels", "b_plain"}, external: labels.FromStrings("instance", "ext", "island", "e\"1")},
	{name: "external label of the series", match: []string{"a_labels"}, external: labels.FromStrings("zone", "ext")},
	{name: "protobuf", match: everything, accept: protobufDelimited},
}

func (c federateCase) path() string {
	return "/federate?" + url.Values{"match[]": c.match}.Encode()
}

// ask returns status, content type and body as text; families in protobuf come
// one a line.
func (c federateCase) ask(t *testing.T, h http.Handler) string {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, c.path(), http.NoBody)
	if c.accept != "" {
		req.Header.Set("Accept", c.accept)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	body := rec.Body.String()
	if strings.HasPrefix(rec.Header().Get("Content-Type"), "application/vnd.google.protobuf") {
		body = decodeFamilies(t, rec.Body.Bytes())
	}
	return fmt.Sprintf("%d %s\n%s", rec.Code, rec.Header().Get("Content-Type"), body)
}

func decodeFamilies(t *testing.T, b []byte) string {
	t.Helper()
	var out strings.Builder
	for r := bufio.NewReader(bytes.NewReader(b)); ; {
		var f dto.MetricFamily
		if err := protodelim.UnmarshalFrom(r, &f); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			return out.String()
		}
		j, err := protojson.Marshal(&f)
		if err != nil {
			t.Fatal(err)
		}
		// protojson varies its spacing on purpose.
		out.WriteString(strings.ReplaceAll(strings.ReplaceAll(string(j), ", ", ","), ": ", ":") + "\n")
	}
}

func TestFederateGolden(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := newRig(t)
	r.now = func() time.Time { return now }
	federateSeries(t, r.db, now)
	for _, c := range federateCases {
		r.prom.GlobalConfig.ExternalLabels = c.external
		got := c.ask(t, r.Handler())
		file := filepath.Join("testdata", "federate", strings.ReplaceAll(c.name, " ", "_")+".golden")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

func TestFederateFailures(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code int
	}{
		"not ready": {fmt.Errorf("store: %w", tsdb.ErrNotReady), http.StatusServiceUnavailable},
		"broken":    {errDisk, http.StatusInternalServerError},
	} {
		r := newRig(t, func(o *Options) { o.Store = broken{o.Store, c.err} })
		if code, _, body := r.get(t, "/federate?match[]=up"); code != c.code {
			t.Errorf("%s: got %d %s", name, code, body)
		}
		r.metric(t, "# HELP atoll_query_federation_errors_total Errors while answering /federate.\n"+
			"# TYPE atoll_query_federation_errors_total counter\natoll_query_federation_errors_total 1\n", "atoll_query_federation_errors_total")
	}
}

// What an island federates, another can scrape and store again: histograms
// come back with the same shape.
func TestFederatedHistogramsKeepTheirShape(t *testing.T) {
	r := newRig(t)
	federateSeries(t, r.db, time.Now())
	_, h, body := r.get(t, "/federate?match[]=d_mixed", "Accept", protobufDelimited)
	if !strings.HasPrefix(h.Get("Content-Type"), "application/vnd.google.protobuf") {
		t.Fatalf("got %s", h.Get("Content-Type"))
	}
	families := strings.Split(strings.TrimSpace(decodeFamilies(t, []byte(body))), "\n")
	var types []string
	for _, f := range families {
		_, after, _ := strings.Cut(f, `"type":"`)
		typ, _, _ := strings.Cut(after, `"`)
		types = append(types, typ)
	}
	if want := []string{"HISTOGRAM", "GAUGE_HISTOGRAM", "UNTYPED", "HISTOGRAM"}; !slices.Equal(types, want) {
		t.Errorf("families: %v, want %v", types, want)
	}
}
