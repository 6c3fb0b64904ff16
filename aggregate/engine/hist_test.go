package engine

import (
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

func nativeHistogram(n float64) *histogram.FloatHistogram {
	return &histogram.FloatHistogram{Schema: 0, Count: n, Sum: 1000 * n, ZeroThreshold: 1e-9,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 1}}, PositiveBuckets: []float64{n}}
}

func (r *rig) sendHistogram(now float64, ls labels.Labels, n float64) {
	r.t.Helper()
	r.tick(now)
	b := r.e.Begin(1)
	b.AppendHistogram(0, ls, 0, at(now), nativeHistogram(n))
	b.Commit(at(now))
}

// grownHistogram is what the native histograms of all windows grew, and how many
// samples were taken for floats.
func (r *rig) grownHistogram() (count float64, floats uint64) {
	for _, a := range r.windows[groupA] {
		if a.Hist != nil {
			count += a.Hist.Count
		}
		floats += a.Count
	}
	return count, floats + r.dropped(dropInf)
}

// A replica that takes native histograms over lets nothing be lost, or be taken for
// floats.
func TestReplicaTakesHistogramsOver(t *testing.T) {
	r := newRig(t, "- interval: 1m\n  without: [instance]\n  outputs: [increase, sum_samples, count_samples]\n")
	a, b := labelsWith("replica", "a"), labelsWith("replica", "b")
	for now := 5.0; now < 300; now += 10 {
		if now < 100 {
			r.sendHistogram(now, a, now)
		}
		r.sendHistogram(now+1, b, now)
	}
	r.tick(500)
	if count, floats := r.grownHistogram(); count != 290 || floats != 0 {
		t.Errorf("histograms grew %v, want 290; %d samples were taken for floats", count, floats)
	}
}

// Histograms that waited for the home of their series are not taken for floats.
func TestHistogramsWaitForTheirHome(t *testing.T) {
	for name, verb := range map[string]Verb{"ours": Mine, "nobody answers": Blind} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "- interval: 1m\n  without: [instance]\n  outputs: [increase, sum_samples, count_samples]\n  distribute: true\n")
			r.tick(0)
			r.decide(1, Decision{Verb: Begin, Series: Series{ID: homeKey}})
			for now := 5.0; now < 100; now += 10 {
				r.sendHistogram(now, series, now)
				if now == 5 {
					r.decide(6, Decision{Verb: verb, Series: of(t, r.e, series)})
				}
			}
			r.tick(300)
			if count, floats := r.grownHistogram(); count != 80 || floats != 0 {
				t.Errorf("histograms grew %v, want 80, from the second one on; %d samples were taken for floats", count, floats)
			}
		})
	}
}
