package conform

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
)

// latencies is a counter of kind and n: n observations around 1.3 s, of which a
// tenth are around 11 s.
func latencies(custom bool, n float64) *histogram.FloatHistogram {
	h := &histogram.FloatHistogram{
		Schema: 3, Count: n, Sum: 2 * n, // buckets 4 and 28: (1.297, 1.414] and (10.37, 11.31]
		PositiveSpans:   []histogram.Span{{Offset: 4, Length: 1}, {Offset: 23, Length: 1}},
		PositiveBuckets: []float64{0.9 * n, 0.1 * n},
	}
	if custom {
		h.Schema, h.CustomValues = histogram.CustomBucketsSchema, []float64{1.2, 1.4, 10, 12}
		h.PositiveSpans = []histogram.Span{{Offset: 1, Length: 1}, {Offset: 1, Length: 1}}
	}
	return h
}

// TestQuantilesOfNativeHistograms: of what they grew in a window, not of what they
// had counted before, and over a kill.
func TestQuantilesOfNativeHistograms(t *testing.T) {
	for name, custom := range map[string]bool{"exponential": false, "custom": true} {
		t.Run(name, func(t *testing.T) {
			var got []Point
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, config(`"quantiles(0.5, 0.99)"`), 37*time.Second)
				for at := 5 * Second; at < 240*Second; at += 10 * Second {
					if err := r.until(at); err != nil {
						t.Fatal(err)
					}
					app := r.life.door.AppenderV2(flow.WithSender(t.Context(), 1))
					for _, instance := range []string{"a", "b"} {
						h := latencies(custom, 1000+float64(at/100))
						if _, err := app.Append(0, Pod(instance), 0, at+Origin, 0, nil, h, storage.AOptions{}); err != nil {
							t.Fatal(err)
						}
					}
					if err := app.Commit(); err != nil {
						t.Fatal(err)
					}
					if at == 95*Second {
						if _, err := r.Restart(at + Second); err != nil {
							t.Fatal(err)
						}
					}
				}
				var err error
				if got, err = r.Tick(400 * Second); err != nil {
					t.Fatal(err)
				}
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
			})
			// The middle of the two buckets, and how far off it may be.
			want, off := map[string]float64{"0.5": 1.354, "0.99": 10.83}, 0.045
			if custom {
				want, off = map[string]float64{"0.5": 1.3, "0.99": 11}, 0.01
			}
			windows := 0
			for _, p := range got {
				q := p.Labels.Get("quantile")
				if p.T < Minute || p.T > 4*Minute || !Near(p.V, want[q], off) {
					t.Errorf("window %d: quantile %s is %v, want %v", p.T/Second, q, p.V, want[q])
				}
				windows++
			}
			if windows < 6 || got[0].Labels.Get(labels.MetricName) != CounterName+":1m_without_instance_pod_quantiles" {
				t.Errorf("published %v", got)
			}
		})
	}
}
