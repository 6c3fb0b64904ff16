package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/prompb"
)

// writer sends remote write 1.0 and remembers what was acknowledged.
type writer struct {
	t      *testing.T
	url    string
	series int
	acked  map[int64]bool // timestamps, ms; each holds one sample of every series
}

func newWriter(t *testing.T, i *island, series int) *writer {
	return &writer{t: t, url: i.url("/api/v1/write"), series: series, acked: map[int64]bool{}}
}

// errRefused is an answer other than 2xx; the text of the answer follows it.
var errRefused = errors.New("refused")

// send writes one sample of every series at ts. The value is a function of
// series and time, so that a wrong value is found as well as a missing one.
func (w *writer) send(ts int64) error {
	req := prompb.WriteRequest{}
	for s := range w.series {
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: "e2e_sample"},
				{Name: "series", Value: fmt.Sprint(s)},
			},
			Samples: []prompb.Sample{{Timestamp: ts, Value: sampleValue(s, ts)}},
		})
	}
	raw, err := req.Marshal()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(snappy.Encode(nil, raw)))
	if err != nil {
		return err
	}
	hr.Header.Set("Content-Type", "application/x-protobuf")
	hr.Header.Set("Content-Encoding", "snappy")
	hr.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	resp, err := http.DefaultClient.Do(hr)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%w: %s: %s", errRefused, resp.Status, strings.TrimSpace(string(body)))
	}
	w.acked[ts] = true
	return nil
}

func sampleValue(series int, ts int64) float64 { return float64(ts%1_000_003) + float64(series)/1024 }

// verify reads everything back and fails for each acknowledged sample that is
// missing or has another value.
func (w *writer) verify(i *island) {
	w.t.Helper()
	end := time.UnixMilli(slices.Max(slices.Collect(maps.Keys(w.acked)))) // writers may be ahead of the clock
	v, _, _, err := prom(w.t, i.addr).Query(context.Background(), "e2e_sample[1h]", end)
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]map[int64]float64{}
	for _, s := range v.(model.Matrix) {
		points := map[int64]float64{}
		for _, p := range s.Values {
			points[int64(p.Timestamp)] = float64(p.Value)
		}
		found[string(s.Metric["series"])] = points
	}
	missing := 0
	for s := range w.series {
		points := found[fmt.Sprint(s)]
		for ts := range maps.Keys(w.acked) {
			if got, ok := points[ts]; !ok || got != sampleValue(s, ts) {
				missing++
			}
		}
	}
	if missing > 0 {
		w.t.Errorf("%d of %d acknowledged samples are missing or wrong", missing, w.series*len(w.acked))
	}
}
