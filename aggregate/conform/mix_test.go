package conform

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

// long reports whether more than CI's share is asked for.
func long() bool { return os.Getenv("ATOLL_LONG") != "" }

func seeds(few, many int) []uint64 {
	n := few
	switch {
	case long():
		n = many
	case testing.Short(): // with the race detector
		n = max(1, few/10)
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i + 1)
	}
	return out
}

// TestMixCorrect: 1,000 series with every trouble at once are exact, window by
// window and group by group.
func TestMixCorrect(t *testing.T) {
	for _, seed := range seeds(4, 60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := NewMix(seed, 200, 5, 50)
			truth := Compute(params, m.Observed)
			l := playMix(t, m, config(counters, "late: correct"))
			for group := range truth {
				series := find(t, l, "increase", group)
				if diff := l.Final(series).Diff(truth.Increases(group), 1e-9, false); diff != "" {
					t.Errorf("%s:%s", group, diff)
				}
				mixTotal(t, l, group, truth)
			}
			revisions(t, l)
		})
	}
}

// TestMixCarry: the totals of the same are exact and each window comes once.
func TestMixCarry(t *testing.T) {
	for _, seed := range seeds(2, 60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := NewMix(seed, 200, 5, 50)
			truth := Compute(params, m.Observed)
			l := playMix(t, m, config(counters))
			if twice := l.Twice(); twice != "" {
				t.Errorf("published more than once:\n%.2000s", twice)
			}
			for group := range truth {
				mixTotal(t, l, group, truth)
			}
		})
	}
}

func mixTotal(t *testing.T, l *Ledger, group string, truth Truth) {
	t.Helper()
	total := l.Final(find(t, l, "total", group))
	ends := sortedEnds(total)
	if got, want := total[ends[len(ends)-1]], truth.Sum(group); !Near(got, want, 1e-9) {
		t.Errorf("%s: total ends at %v, the counters grew %v", group, got, want)
	}
}

func playMix(t *testing.T, m Mix, text string) *Ledger {
	t.Helper()
	l, err := Play(Scenario{Deliveries: m.Deliveries, Until: m.Until}, newWorld(t, 1, text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestEachFate plays every fate alone, so that a failure says what it is about.
func TestEachFate(t *testing.T) {
	for _, f := range fates() {
		t.Run(f.name, func(t *testing.T) {
			for _, seed := range seeds(12, 300) {
				m := newMix(seed, 2, 3, 1, []fate{f})
				truth := Compute(params, m.Observed)
				l := playMix(t, m, config(many, "late: correct"))
				for group := range truth {
					for _, diff := range differences(t, l, truth, group) {
						t.Errorf("seed %d %v: %s", seed, m.Fates, diff)
					}
					mixTotal(t, l, group, truth)
				}
				revisions(t, l)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// many are the outputs that the model computes.
const many = counters + ", increase_prometheus, rate_avg, sum_samples, count_series, min, max, last"

// differences compares all of many but total, window by window.
func differences(t *testing.T, l *Ledger, truth Truth, group string) []string {
	t.Helper()
	want := map[string]Row{}
	put := func(output string, end int64, v float64) {
		if want[output] == nil {
			want[output] = Row{}
		}
		want[output][end] = v
	}
	for end, c := range truth[group] {
		increase, _ := c.Increase.Float64()
		prom, _ := c.IncreaseProm.Float64()
		put("increase", end, increase)
		put("increase_prometheus", end, prom)
		put("rate_sum", end, c.RateSum)
		if c.Rates > 0 {
			put("rate_avg", end, c.RateSum/float64(c.Rates))
		}
		if len(c.Values) == 0 {
			continue
		}
		sum := 0.0
		for _, v := range c.Values {
			sum += v
		}
		put("sum_samples", end, sum)
		put("count_samples", end, float64(len(c.Values)))
		put("count_series", end, float64(c.Series))
		put("min", end, slices.Min(c.Values))
		put("max", end, slices.Max(c.Values))
		put("last", end, c.Last)
	}
	var out []string
	for output, row := range want {
		if diff := l.Final(find(t, l, output, group)).Diff(row, 1e-9, false); diff != "" {
			out = append(out, output+":"+diff)
		}
	}
	slices.Sort(out)
	return out
}
