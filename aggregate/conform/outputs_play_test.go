package conform

import (
	"maps"
	"slices"
	"testing"
)

// TestOutputs plays the two gauges against every output.
func TestOutputs(t *testing.T) {
	all := "increase, increase_prometheus, total, total_prometheus, rate_sum, rate_avg, sum_samples, sum_samples_total, " +
		"count_samples, count_series, unique_samples, avg, min, max, last, stdvar, stddev, 'quantiles(0, 0.5, 1)', " +
		"histogram_bucket, native_histogram, sketch"
	cumulative := map[string]bool{"total": true, "total_prometheus": true, "sum_samples_total": true, "histogram_bucket": true}
	late := map[string]bool{"one sample late": true, "all at once": true, "all at once, newest first": true}
	for name, deliveries := range map[string]Flight{
		"in order":                   twoGauges(),
		"one sample late":            twoGauges().Hold(50*Second, 50*Second, 100*Second),
		"all at once":                twoGauges().Hold(0, 200*Second, 130*Second),
		"all at once, newest first":  twoGauges().Newest(0, 200*Second, 130*Second),
		"everything twice":           Join(twoGauges(), twoGauges().Late(3*Second)),
		"twice by two senders":       Join(twoGauges(), twoGauges().Late(3*Second).From(2)),
		"killed between two samples": twoGauges(),
	} {
		t.Run(name, func(t *testing.T) {
			s := Scenario{Deliveries: deliveries, Until: 400 * Second, Nodes: 1}
			if name == "killed between two samples" {
				s.Restarts = []int64{35 * Second, 61 * Second, 95 * Second}
			}
			l := play(t, s, config(all, "late: correct"))
			for _, want := range handValues {
				series, err := l.Find(want.output, `{job="q"}`, want.more...)
				if err != nil {
					t.Error(err)
					continue
				}
				got := l.Final(series)
				ends := slices.Sorted(maps.Keys(got))
				if len(ends) == 0 || ends[0] != Minute {
					t.Errorf("%s: windows %v, want 60 and 120 s", series, ends)
				}
				if late[name] && cumulative[want.output] && got[Minute] != want.first {
					// The total of a window that came late is not said again: the next one has it.
					got[Minute] = want.first
				}
				check(t, series, got, Row{Minute: want.first, 2 * Minute: want.second}, max(want.tolerance, 1e-12), true)
			}
			for output, sum := range map[string]Row{"native_histogram": {Minute: 13, 2 * Minute: 37}, "sketch": {Minute: 13, 2 * Minute: 24}} {
				series, err := l.Find(output, `{job="q"}`)
				if err != nil {
					t.Error(err)
					continue
				}
				if got := l.Final(series)[2*Minute]; !Near(got, sum[2*Minute], 0.02) {
					t.Errorf("%s: sum %v, want %v", series, got, sum[2*Minute])
				}
			}
		})
	}
}
