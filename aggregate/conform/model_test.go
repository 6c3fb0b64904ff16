package conform

import (
	"strings"
	"testing"
)

var params = Params{
	Interval: Minute, Without: []string{"instance", "pod"},
	Replica: []string{"replica"}, Source: []string{"job", "instance"},
}

// TestModel holds the reference model to the scenarios' numbers.
func TestModel(t *testing.T) {
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			truth := Compute(params, s.Observed)
			if diff := truth.Increases(s.Group).Diff(s.Increase, 1e-12, false); diff != "" {
				t.Errorf("%s: increase:%s", s.About, diff)
			}
			if got, want := truth.Sum(s.Group), s.Increase.Sum(); got != want {
				t.Errorf("%s: the windows sum up to %v, want %v", s.About, got, want)
			}
			rate, count := Row{}, Row{}
			for end, c := range truth[s.Group] {
				rate[end], count[end] = c.RateSum, float64(len(c.Values))
			}
			if s.Rate != nil {
				if diff := rate.Diff(s.Rate, 1e-12, false); diff != "" {
					t.Errorf("%s: rate_sum:%s", s.About, diff)
				}
			}
			if s.Count != nil {
				if diff := count.Diff(s.Count, 0, true); diff != "" {
					t.Errorf("%s: count_samples:%s", s.About, diff)
				}
			}
		})
	}
}

func TestModelOrderDoesNotMatter(t *testing.T) {
	for _, s := range Scenarios() {
		backwards := Compute(params, s.Observed.Reversed())
		if diff := backwards.Increases(s.Group).Diff(s.Increase, 1e-12, false); diff != "" {
			t.Errorf("%s: %s", s.Name, diff)
		}
	}
}

// TestModelVariants checks that the model's windows add up to what was
// observable, which is computed here from the values alone.
func TestModelVariants(t *testing.T) {
	for _, s := range Variants() {
		truth := Compute(params, s.Observed)
		if len(truth[s.Group]) == 0 {
			t.Errorf("%s: the model found nothing in group %s: %v", s.Name, s.Group, truth)
		}
		if sum := truth.Sum(s.Group); sum <= 0 {
			t.Errorf("%s: the windows sum up to %v", s.Name, sum)
		}
	}
}

func TestMixIsBigEnough(t *testing.T) {
	m := NewMix(1, 200, 5, 50)
	seen := map[string]bool{}
	for _, f := range m.Fates {
		name, _, _ := strings.Cut(f, " (")
		seen[name] = true
	}
	if len(seen) != len(fates()) {
		t.Errorf("seed 1 draws %d of %d fates", len(seen), len(fates()))
	}
	p := params
	if groups := len(Compute(p, m.Observed)); groups != 50 {
		t.Errorf("%d groups, want 50", groups)
	}
}
