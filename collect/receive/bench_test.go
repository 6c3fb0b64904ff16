package receive

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// The hot path: requests of 2000 samples of known series, in memory, without HTTP.

const (
	benchSeries  = 20_000
	benchRequest = 2_000
)

func BenchmarkRemoteWrite(b *testing.B) {
	for _, c := range []struct {
		name string
		new  func(b *testing.B) http.Handler
	}{
		{"atoll", func(b *testing.B) http.Handler { return NewRemoteWrite(options(openDB(b, 0))) }},
		{"prometheus", func(b *testing.B) http.Handler { return upstream(openDB(b, 0)) }},
	} {
		for version, contentType := range map[string]string{"v1": typeV1, "v2": typeV2} {
			b.Run(version+"/"+c.name, func(b *testing.B) { benchmark(b, c.new(b), contentType) })
		}
	}
}

func benchmark(b *testing.B, h http.Handler, contentType string) {
	make := benchV1
	if contentType == typeV2 {
		make = benchV2
	}
	now := time.Now().Add(-24 * time.Hour).UnixMilli()
	round := func(n int) [][]byte {
		var bodies [][]byte
		for from := 0; from < benchSeries; from += benchRequest {
			bodies = append(bodies, make(b, now+int64(n)*1000, from))
		}
		return bodies
	}
	for _, body := range round(0) {
		mustPost(b, h, contentType, body, http.StatusNoContent)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var bodies [][]byte
	for i := range b.N {
		if i%(benchSeries/benchRequest) == 0 {
			b.StopTimer()
			bodies = round(1 + i/(benchSeries/benchRequest))
			b.StartTimer()
		}
		mustPost(b, h, contentType, bodies[i%(benchSeries/benchRequest)], http.StatusNoContent)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchRequest), "ns/sample")
}

func benchLabels(i int) labels.Labels {
	return labels.FromStrings(
		"__name__", fmt.Sprintf("http_request_duration_seconds_bucket_%d", i%50),
		"instance", fmt.Sprintf("10.0.%d.%d:9100", i/5000, i/100%50),
		"job", "payments-api", "method", "GET", "path", fmt.Sprintf("/api/v1/resource/%d", i%100),
		"region", "eu-central-1", "status", "200", "le", fmt.Sprint(i%12))
}

func benchV1(b *testing.B, t0 int64, from int) []byte {
	r := &prompb.WriteRequest{}
	for i := from; i < from+benchRequest; i++ {
		r.Timeseries = append(r.Timeseries, prompb.TimeSeries{
			Labels:  prompb.FromLabels(benchLabels(i), nil),
			Samples: []prompb.Sample{{Timestamp: t0, Value: float64(i)}},
		})
	}
	return encode(b, r)
}

func benchV2(b *testing.B, t0 int64, from int) []byte {
	symbols := writev2.NewSymbolTable()
	r := &writev2.Request{}
	for i := from; i < from+benchRequest; i++ {
		r.Timeseries = append(r.Timeseries, writev2.TimeSeries{
			LabelsRefs: symbols.SymbolizeLabels(benchLabels(i), nil),
			Samples:    []writev2.Sample{{Timestamp: t0, Value: float64(i)}},
			Metadata:   writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER, HelpRef: symbols.Symbolize("help of " + fmt.Sprint(i%50))},
		})
	}
	r.Symbols = symbols.Symbols()
	return encode(b, r)
}

func BenchmarkDecode(b *testing.B) {
	for version, c := range map[string]struct {
		body   []byte
		decode func(*batch, []byte) error
	}{
		"v1": {benchV1(b, 1, 0), func(b *batch, p []byte) error { return b.decodeV1(p, nil) }},
		"v2": {benchV2(b, 1, 0), (*batch).decodeV2},
	} {
		b.Run(version, func(b *testing.B) {
			plain, err := snappy.Decode(nil, c.body)
			if err != nil {
				b.Fatal(err)
			}
			batch := &batch{}
			b.ReportAllocs()
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				batch.reset(1<<20, 1<<30)
				if err := c.decode(batch, plain); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchRequest), "ns/sample")
		})
	}
}
