package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

const inputRules = `
rules:
  - match: e2e_otlp_total
    interval: 5s
    by: [group]
    outputs: [increase, total, count_samples, count_series]
    keep_input: false
  - match: e2e_v2_total
    interval: 5s
    by: [group]
    outputs: [increase, total, count_samples, count_series]
    keep_input: false
  - match: e2e_scraped_total
    interval: 5s
    by: [group]
    outputs: [increase, count_samples]
`

const (
	inputInstances = 3
	inputSeconds   = 21
)

// TestAggregateInputs: OTLP, remote write 2.0 and what is scraped pass
// aggregation, and each window has exactly what its samples say.
func TestAggregateInputs(t *testing.T) {
	i := newIsland(t, quiet+fmt.Sprintf(`
aggregate: {rules: streamaggr.yml}
prometheus:
  scrape_configs:
    - job_name: scraped
      scrape_interval: 1s
      static_configs: [{targets: [%s]}]
`, strings.Join(countingTargets(t), ", ")))
	i.write("streamaggr.yml", inputRules)
	i.up()
	// Counters that say since when they count are whole from the first window on.
	begin := time.Now().Truncate(5 * time.Second).Add(5 * time.Second)
	for n := 1; n <= inputSeconds; n++ {
		at := begin.Add(time.Duration(n) * time.Second)
		<-time.After(time.Until(at))
		if err := post(i.url("/api/v1/otlp/v1/metrics"), otlpCounters(t, begin, at), map[string]string{"Content-Type": "application/x-protobuf"}); err != nil {
			t.Fatalf("OTLP: %v", err)
		}
		if err := post(i.url("/api/v1/write"), v2Counters(t, begin, at), map[string]string{
			"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request", "Content-Encoding": "snappy",
			"X-Prometheus-Remote-Write-Version": "2.0.0",
		}); err != nil {
			t.Fatalf("remote write 2.0: %v", err)
		}
	}
	last := begin.Add(inputSeconds * time.Second).Truncate(5 * time.Second)
	for _, name := range []string{"e2e_otlp_total", "e2e_v2_total"} {
		eventually(t, 20*time.Second, "every window of "+name, func() error { return inputWindows(i, name, begin, last) })
		if raw := i.matrix(name+"[10m]", time.Now()); len(raw) > 0 {
			t.Errorf("%d raw series of %s are stored, want none", len(raw), name)
		}
	}
	eventually(t, 20*time.Second, "every window of what is scraped", func() error { return scrapedWindows(i, begin, last) })
	contains(t, output(t, i.dir, binary, "check", "--live", "-u", i.url(""), "atoll.yaml"),
		`e2e_scraped_total:5s_by_group (line 13): {__name__="e2e_scraped_total"}`, "takes 6 series, their samples are stored as well", "makes 2 groups",
		`{__name__="e2e_scraped_total:5s_by_group_count_samples", group="a"}`,
		"takes 12 series, their samples are not stored", "as the island says", `{__name__="e2e_v2_total:5s_by_group_count_series", group="`)
	contains(t, output(t, i.dir, binary, "top", "series", "-u", i.url("")), "12      4       0     e2e_v2_total:5s_by_group")
	metrics, err := i.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, metrics, `atoll_aggregate_groups{rule="e2e_otlp_total:5s_by_group"} 4`)
}

// countingTargets serve counters that grow with every scrape, each otherwise.
func countingTargets(t *testing.T) []string {
	t.Helper()
	var targets []string
	for n := range inputInstances {
		var scrapes atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			v := scrapes.Add(int64(n + 1))
			fmt.Fprintf(w, "# TYPE e2e_scraped_total counter\ne2e_scraped_total{group=\"a\"} %d\ne2e_scraped_total{group=\"b\"} %d\n", v, 7*v)
		}))
		t.Cleanup(server.Close)
		targets = append(targets, fmt.Sprintf("%q", strings.TrimPrefix(server.URL, "http://")))
	}
	return targets
}

// inputValue is a counter that is 0 at begin.
func inputValue(group, instance int, begin, at time.Time) float64 {
	return float64((group+1)*(instance+1)) * 1.5 * at.Sub(begin).Seconds()
}

func otlpCounters(t *testing.T, begin, at time.Time) []byte {
	t.Helper()
	m := pmetric.NewMetrics()
	for instance := range inputInstances {
		r := m.ResourceMetrics().AppendEmpty()
		r.Resource().Attributes().PutStr("service.name", "shop")
		r.Resource().Attributes().PutStr("service.instance.id", fmt.Sprint(instance))
		metric := r.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		metric.SetName("e2e.otlp")
		sum := metric.SetEmptySum()
		sum.SetIsMonotonic(true)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		for group := range foldedGroups {
			p := sum.DataPoints().AppendEmpty()
			p.SetStartTimestamp(pcommon.NewTimestampFromTime(begin))
			p.SetTimestamp(pcommon.NewTimestampFromTime(at))
			p.SetDoubleValue(inputValue(group, instance, begin, at))
			p.Attributes().PutStr("group", fmt.Sprint(group))
		}
	}
	body, err := pmetricotlp.NewExportRequestFromMetrics(m).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func v2Counters(t *testing.T, begin, at time.Time) []byte {
	t.Helper()
	symbols := writev2.NewSymbolTable()
	r := &writev2.Request{}
	for instance := range inputInstances {
		for group := range foldedGroups {
			ls := labels.FromStrings("__name__", "e2e_v2_total", "group", fmt.Sprint(group), "instance", fmt.Sprint(instance), "job", "e2e")
			r.Timeseries = append(r.Timeseries, writev2.TimeSeries{
				LabelsRefs: symbols.SymbolizeLabels(ls, nil),
				Samples:    []writev2.Sample{{StartTimestamp: begin.UnixMilli(), Timestamp: at.UnixMilli(), Value: inputValue(group, instance, begin, at)}},
				Metadata:   writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER},
			})
		}
	}
	r.Symbols = symbols.Symbols()
	raw, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, raw)
}

func post(url string, body []byte, header map[string]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%w: %s: %s", errRefused, resp.Status, said)
	}
	return nil
}

// matrix evaluates a range selector and returns its series.
func (i *island) matrix(expr string, at time.Time) model.Matrix {
	i.t.Helper()
	v, _, _, err := prom(i.t, i.addr).Query(context.Background(), expr, at)
	if err != nil {
		i.t.Fatalf("%s: %v", expr, err)
	}
	return v.(model.Matrix)
}

// byWindow are the values of a result by group and window end, in Unix ms.
func (i *island) byWindow(name string, last time.Time) map[string]map[int64]float64 {
	i.t.Helper()
	out := map[string]map[int64]float64{}
	for _, s := range i.matrix(name+"[10m]", last) {
		windows := map[int64]float64{}
		for _, p := range s.Values {
			windows[int64(p.Timestamp)] = float64(p.Value)
		}
		out[string(s.Metric["group"])] = windows
	}
	return out
}

func inputWindows(i *island, name string, begin, last time.Time) error {
	for output, want := range map[string]func(group int, end time.Time) float64{
		"increase": func(group int, end time.Time) float64 {
			return inputSum(group, begin, end) - inputSum(group, begin, end.Add(-5*time.Second))
		},
		"total":         func(group int, end time.Time) float64 { return inputSum(group, begin, end) },
		"count_samples": func(int, time.Time) float64 { return 5 * inputInstances },
		"count_series":  func(int, time.Time) float64 { return inputInstances },
	} {
		got := i.byWindow(name+":5s_by_group_"+output, last)
		for group := range foldedGroups {
			for end := begin.Add(5 * time.Second); !end.After(last); end = end.Add(5 * time.Second) {
				v, ok := got[fmt.Sprint(group)][end.UnixMilli()]
				if w := want(group, end); !ok || v != w {
					return fmt.Errorf("%s of group %d, window %d s: got %v (there: %v), want %v", output, group, int(end.Sub(begin).Seconds()), v, ok, w)
				}
			}
		}
	}
	return nil
}

func inputSum(group int, begin, at time.Time) float64 {
	sum := 0.0
	for instance := range inputInstances {
		sum += inputValue(group, instance, begin, at)
	}
	return sum
}

// scrapedWindows compares with the raw samples, which are stored.
func scrapedWindows(i *island, begin, last time.Time) error {
	increase, count := map[string]map[int64]float64{}, map[string]map[int64]float64{}
	for _, s := range i.matrix("e2e_scraped_total[10m]", last) {
		group := string(s.Metric["group"])
		if increase[group] == nil {
			increase[group], count[group] = map[int64]float64{}, map[int64]float64{}
		}
		for n, p := range s.Values {
			end := (int64(p.Timestamp) + 4999) / 5000 * 5000
			count[group][end]++
			if n > 0 {
				increase[group][end] += float64(p.Value - s.Values[n-1].Value)
			}
		}
	}
	for name, want := range map[string]map[string]map[int64]float64{
		"e2e_scraped_total:5s_by_group_increase": increase, "e2e_scraped_total:5s_by_group_count_samples": count,
	} {
		got := i.byWindow(name, last)
		for _, group := range []string{"a", "b"} {
			for end := begin.Add(5 * time.Second); !end.After(last); end = end.Add(5 * time.Second) {
				v, ok := got[group][end.UnixMilli()]
				if w := want[group][end.UnixMilli()]; !ok || v != w || w == 0 {
					return fmt.Errorf("%s of group %s, window %d s: got %v (there: %v), want %v", name, group, int(end.Sub(begin).Seconds()), v, ok, w)
				}
			}
		}
	}
	return nil
}
