package conform

import (
	"fmt"
	"testing"
)

// TestSeveralRules: one sample feeds several rules with windows of their own.
func TestSeveralRules(t *testing.T) {
	text := config(many, "late: correct", "max_gap: 1m") + `
- interval: 10s
  by: [path]
  outputs: [` + many + `]
  late: correct
  max_gap: 10s
- interval: 2m
  by: [job]
  outputs: [` + many + `]
  late: correct
- match: '{pod="1"}'
  interval: 30s
  max_gap: 30s
  by: [path, pod]
  outputs: [` + many + `]
  late: correct
`
	rules := []struct {
		p     Params
		match func(Arrival) bool
	}{
		{Params{Interval: Minute, Without: params.Without}, nil},
		{Params{Interval: 10 * Second, By: []string{"path"}}, nil},
		{Params{Interval: 2 * Minute, By: []string{"job"}}, nil},
		{Params{Interval: 30 * Second, By: []string{"path", "pod"}}, func(a Arrival) bool { return a.Labels.Get("pod") == "1" }},
	}
	for _, seed := range seeds(3, 40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := NewMix(seed+1000, 20, 3, 4)
			l := playMix(t, m, text)
			for _, r := range rules {
				r.p.Replica, r.p.Source = params.Replica, params.Source
				observed := m.Observed
				if r.match != nil {
					observed, r.p.Others = observed.Keep(r.match), observed
				}
				truth := Compute(r.p, observed)
				for group := range truth {
					for _, diff := range differences(t, l, truth, group) {
						t.Errorf("interval %d s, %s: %.600s", r.p.Interval/Second, group, diff)
					}
				}
			}
			if t.Failed() {
				t.Log(m.Fates)
			}
		})
	}
}

// TestBirthInEveryRule: a series that is born counts for every rule that takes it.
func TestBirthInEveryRule(t *testing.T) {
	s := scenario(t, "S10")
	l := play(t, s, config(counters)+"\n- {interval: 1m, by: [job], outputs: [increase]}\n- {interval: 1m, by: [path], outputs: [increase]}\n")
	for _, group := range []string{s.Group, `{job="shop"}`, `{path="/"}`} {
		check(t, group, l.Final(find(t, l, "increase", group)), s.Increase, 1e-9, false)
	}
}
