package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// The data: targets of 400 series each, of the kinds that fleets have: counters
// by method, path and status, 12-bucket histograms, gauges. 40 % of the samples
// do not change from one scrape to the next.

const (
	perTarget = 400
	interval  = 15 * time.Second
)

func seriesLabels(i int) labels.Labels {
	target, s := i/perTarget, i%perTarget
	instance := fmt.Sprintf("10.%d.%d.%d:9100", target/4096, target/64%64, target%64)
	const job, region, cluster = "payments-api", "eu-central-1", "prod-eu-01"
	switch {
	case s < 240: // 20 histograms of 12 buckets
		bounds := []string{"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"}
		return labels.FromStrings("__name__", "http_request_duration_seconds_bucket", "cluster", cluster, "instance", instance,
			"job", job, "le", bounds[s%12], "method", []string{"GET", "POST"}[s/12%2], "path", fmt.Sprintf("/api/v1/resource/%d", s/24), "region", region)
	case s < 320:
		return labels.FromStrings("__name__", "http_requests_total", "cluster", cluster, "instance", instance,
			"job", job, "method", []string{"GET", "POST"}[s%2], "path", fmt.Sprintf("/api/v1/resource/%d", s/8%10), "region", region, "status", []string{"200", "404", "429", "500"}[s/2%4])
	default:
		return labels.FromStrings("__name__", fmt.Sprintf("process_metric_%d_bytes", s-320), "cluster", cluster, "instance", instance, "job", job, "region", region)
	}
}

// encodeScrapes returns the requests of scrapes from to from+n, one sample per
// series and scrape.
func encodeScrapes(o options, version string, from, n int) (bodies [][]byte) {
	start := time.Now().Add(-time.Duration(o.scrapes+10) * interval).Truncate(time.Second)
	values := make([]float64, o.series)
	rng := rand.New(rand.NewPCG(1, uint64(from)))
	for i := range values {
		values[i] = float64(from * 1000)
	}
	sets := make([]labels.Labels, o.series)
	for i := range sets {
		sets[i] = seriesLabels(i)
	}
	for scrape := from; scrape < from+n; scrape++ {
		t := start.Add(time.Duration(scrape) * interval).UnixMilli()
		for i := range values {
			if rng.IntN(10) >= 4 {
				values[i] += math.Floor(rng.ExpFloat64() * 20)
			}
		}
		for lo := 0; lo < o.series; lo += o.request {
			hi := min(lo+o.request, o.series)
			if version == "v1" {
				bodies = append(bodies, encodeV1(sets[lo:hi], values[lo:hi], t))
			} else {
				bodies = append(bodies, encodeV2(sets[lo:hi], values[lo:hi], t))
			}
		}
		if ((o.series+o.request-1)/o.request)%connections != 0 {
			bodies = append(bodies, encodeV1(nil, nil, t)) // keeps each series on its connection
		}
	}
	return bodies
}

func encodeV1(sets []labels.Labels, values []float64, t int64) []byte {
	r := &prompb.WriteRequest{}
	for i, l := range sets {
		r.Timeseries = append(r.Timeseries, prompb.TimeSeries{
			Labels:  prompb.FromLabels(l, nil),
			Samples: []prompb.Sample{{Timestamp: t, Value: values[i]}},
		})
	}
	return pack(r.Marshal())
}

func encodeV2(sets []labels.Labels, values []float64, t int64) []byte {
	symbols := writev2.NewSymbolTable()
	r := &writev2.Request{}
	for i, l := range sets {
		r.Timeseries = append(r.Timeseries, writev2.TimeSeries{
			LabelsRefs: symbols.SymbolizeLabels(l, nil),
			Samples:    []writev2.Sample{{Timestamp: t, Value: values[i]}},
			Metadata: writev2.Metadata{
				Type:    writev2.Metadata_METRIC_TYPE_COUNTER,
				HelpRef: symbols.Symbolize("What " + l.Get("__name__") + " counts."),
			},
		})
	}
	r.Symbols = symbols.Symbols()
	return pack(r.OptimizedMarshal(nil))
}

func pack(p []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return snappy.Encode(nil, p)
}
