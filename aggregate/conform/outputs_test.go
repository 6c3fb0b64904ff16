package conform

import (
	"math"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// twoGauges are two series and two windows, small enough to compute by hand.
//
//	window 60:  i1 1@10 5@30 3@50   i2 2@20 2@40
//	window 120: i1 4@70 10@90 1@110 i2 2@80 7@100
func twoGauges() Flight {
	one := labels.FromStrings(labels.MetricName, "depth", "instance", "1", "job", "q")
	two := labels.FromStrings(labels.MetricName, "depth", "instance", "2", "job", "q")
	var f Flight
	put := func(ls labels.Labels, at int64, v float64) {
		f = append(f, Arrival{At: at*Second + transit, Sender: 1, Labels: ls, T: at * Second, V: v})
	}
	for i, v := range []float64{1, 5, 3, 4, 10, 1} {
		put(one, int64(10+20*i), v)
	}
	for i, v := range []float64{2, 2, 2, 7} {
		put(two, []int64{20, 40, 80, 100}[i], v)
	}
	return f
}

// handValues are the outputs for twoGauges in windows 60 and 120.
var handValues = []struct {
	output    string
	more      []string
	first     float64
	second    float64
	tolerance float64
}{
	{"increase", nil, 7, 13, 0}, // 1→5 +4, restart at 3 +3; 3→4 +1, →10 +6, restart at 1 +1, and 2→7 +5
	{"increase_prometheus", nil, 7, 13, 0},
	{"total", nil, 7, 20, 0},
	{"total_prometheus", nil, 7, 20, 0},
	{"rate_sum", nil, 7.0 / 40, 8.0/60 + 5.0/60, 1e-12},
	{"rate_avg", nil, 7.0 / 80, 13.0 / 120, 1e-12},
	{"sum_samples", nil, 13, 24, 0},
	{"sum_samples_total", nil, 13, 37, 0},
	{"count_samples", nil, 5, 5, 0},
	{"count_series", nil, 2, 2, 0},
	{"unique_samples", nil, 4, 5, 0},
	{"avg", nil, 2.6, 4.8, 1e-12},
	{"min", nil, 1, 1, 0},
	{"max", nil, 5, 10, 0},
	{"last", nil, 3, 1, 0},
	{"stdvar", nil, 1.84, 10.96, 1e-12},
	{"stddev", nil, math.Sqrt(1.84), math.Sqrt(10.96), 1e-12},
	{"quantiles", []string{`quantile="0"`}, 1, 1, 0.01},
	{"quantiles", []string{`quantile="0.5"`}, 2, 4, 0.01},
	{"quantiles", []string{`quantile="1"`}, 5, 10, 0.01},
	{"histogram_bucket", []string{`vmrange="8.799e-01...1.000e+00"`}, 1, 2, 0},
	{"histogram_bucket", []string{`vmrange="1.896e+00...2.154e+00"`}, 2, 3, 0},
	{"histogram_bucket", []string{`vmrange="2.783e+00...3.162e+00"`}, 1, 1, 0},
	{"histogram_bucket", []string{`vmrange="4.642e+00...5.275e+00"`}, 1, 1, 0},
}

// TestModelByHand holds the model's own arithmetic to the same hand.
func TestModelByHand(t *testing.T) {
	truth := Compute(params, twoGauges())
	for i, end := range []int64{Minute, 2 * Minute} {
		c := truth[`{job="q"}`][end]
		increase, _ := c.Increase.Float64()
		if want := []float64{7, 13}[i]; increase != want {
			t.Errorf("window %d: increase %v, want %v", end/Second, increase, want)
		}
		if want := []float64{7.0 / 40, 13.0 / 60}[i]; !Near(c.RateSum, want, 1e-12) || c.Rates != 2 {
			t.Errorf("window %d: rate_sum %v of %d series, want %v of 2", end/Second, c.RateSum, c.Rates, want)
		}
		if want := []float64{3, 1}[i]; c.Last != want || len(c.Values) != 5 || c.Series != 2 {
			t.Errorf("window %d: last %v of %d values in %d series, want %v of 5 in 2", end/Second, c.Last, len(c.Values), c.Series, want)
		}
	}
}
