package conform

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"testing"
)

func sortedEnds(row Row) []int64 { return slices.Sorted(maps.Keys(row)) }

// play runs a scenario and returns its ledger.
func play(t *testing.T, s Scenario, text string) *Ledger {
	t.Helper()
	ledger, err := Play(s, newWorld(t, s.Nodes, text))
	if err != nil {
		t.Fatalf("%s: %v", s.About, err)
	}
	return ledger
}

func find(t *testing.T, l *Ledger, output, group string, more ...string) string {
	t.Helper()
	series, err := l.Find(output, group, more...)
	if err != nil {
		t.Fatal(err)
	}
	return series
}

func check(t *testing.T, what string, got, want Row, tolerance float64, strict bool) {
	t.Helper()
	if diff := got.Diff(want, tolerance, strict); diff != "" {
		t.Errorf("%s:%s", what, diff)
	}
}

// exact holds the final values of all outputs to the scenario's.
func exact(t *testing.T, s Scenario, l *Ledger) {
	t.Helper()
	increase := l.Final(find(t, l, "increase", s.Group))
	for end, want := range s.Increase {
		if got := increase[end]; math.Abs(got-want) <= s.Slack {
			increase[end] = want
		}
	}
	check(t, "increase, final", increase, s.Increase, 1e-9, false)
	increase = l.Final(find(t, l, "increase", s.Group))
	if got, want := increase.Sum(), s.Increase.Sum(); !Near(got, want, 1e-12) {
		t.Errorf("the windows add up to %v, the counters grew %v", got, want)
	}
	totals(t, s, l)
	if s.Rate != nil && s.Slack == 0 {
		check(t, "rate_sum, final", l.Final(find(t, l, "rate_sum", s.Group)), s.Rate, 1e-9, false)
	}
	if s.Count != nil && s.Slack == 0 {
		check(t, "count_samples, final", l.Final(find(t, l, "count_samples", s.Group)), s.Count, 0, false)
	}
	revisions(t, l)
}

// totals holds the cumulative output to the true increase at its end, and to
// never going down.
func totals(t *testing.T, s Scenario, l *Ledger) {
	t.Helper()
	total := l.Final(find(t, l, "total", s.Group))
	ends := sortedEnds(total)
	if got, want := total[ends[len(ends)-1]], s.Increase.Sum(); !Near(got, want, 1e-12) {
		t.Errorf("total ends at %v, the counters grew %v", got, want)
	}
	if down := monotone(total); down != "" {
		t.Errorf("total goes down:%s", down)
	}
}

// revisions: every publication of a window is new and numbered in order, and
// none comes before the window's end.
func revisions(t *testing.T, l *Ledger) {
	t.Helper()
	for _, series := range l.Series() {
		for end, all := range l.Windows(series) {
			for i, p := range all {
				if p.At < end {
					t.Errorf("%s window %d was published at %d ms, before its end", series, end/Second, p.At)
				}
				if i > 0 && p.Revision <= all[i-1].Revision {
					t.Errorf("%s window %d: revision %d after %d", series, end/Second, p.Revision, all[i-1].Revision)
				}
			}
		}
	}
}

// TestFactsPatient waits beyond every delay: the first publication is exact.
func TestFactsPatient(t *testing.T) {
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			l := play(t, s, config(counters, "late: correct", "max_lag: 15m", "max_age: 2h"))
			check(t, "increase, as first published", l.First(find(t, l, "increase", s.Group)), s.First, 1e-9, false)
			exact(t, s, l)
		})
	}
}

// TestFactsCorrect uses the default max_lag: exact after corrections.
func TestFactsCorrect(t *testing.T) {
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			exact(t, s, play(t, s, config(counters, "late: correct")))
		})
	}
}

// TestFactsCarry uses the defaults: every window once, none above its truth,
// the total exact.
func TestFactsCarry(t *testing.T) {
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			once(t, s, play(t, s, config(counters)))
		})
	}
}

// once holds what late: carry gives to the scenario.
func once(t *testing.T, s Scenario, l *Ledger) {
	t.Helper()
	if twice := l.Twice(); twice != "" {
		t.Errorf("published more than once:\n%s", twice)
	}
	for end, v := range l.Final(find(t, l, "increase", s.Group)) {
		if v > s.Increase[end] && !Near(v, s.Increase[end], 1e-9) {
			t.Errorf("a spike: window %d is %v, the truth %v", end/Second, v, s.Increase[end])
		}
	}
	totals(t, s, l)
}

// modelled fills in a variant's truth from the reference model.
func modelled(s Scenario) Scenario {
	p := params
	p.MaxGap = s.MaxGap
	truth := Compute(p, s.Observed)
	s.Increase, s.Rate, s.Count = Row{}, Row{}, Row{}
	for end, c := range truth[s.Group] {
		s.Increase[end], _ = c.Increase.Float64()
		s.Rate[end], s.Count[end] = c.RateSum, float64(len(c.Values))
	}
	return s
}

// TestVariantsCorrect: exact after corrections, whatever happens.
func TestVariantsCorrect(t *testing.T) {
	for _, s := range Variants() {
		t.Run(s.Name, func(t *testing.T) {
			s := modelled(s)
			exact(t, s, play(t, s, config(counters, "late: correct")))
		})
	}
}

// TestVariantsCarry: the total is exact, each window comes once and is never
// far above its truth: at most what one step too many adds.
func TestVariantsCarry(t *testing.T) {
	for _, s := range Variants() {
		t.Run(s.Name, func(t *testing.T) {
			s := modelled(s)
			l := play(t, s, config(counters))
			if twice := l.Twice(); twice != "" {
				t.Errorf("published more than once:\n%s", twice)
			}
			most := slices.MaxFunc(slices.Collect(maps.Values(s.Increase)), cmp.Compare[float64])
			for end, v := range l.Final(find(t, l, "increase", s.Group)) {
				if v > most*1.5 {
					t.Errorf("a spike: window %d is %v, the largest truth %v", end/Second, v, most)
				}
			}
			totals(t, s, l)
		})
	}
}
