package schedule

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/probe/definition"
)

func islands(n int) (out []Member) {
	for i := range n {
		name := fmt.Sprintf("island-%02d", i)
		out = append(out, Member{Name: name, Labels: map[string]string{"island": name, "region": fmt.Sprintf("r%d", i%3)}})
	}
	return out
}

func TestSpread(t *testing.T) {
	all := islands(30)
	region := labels.MustNewMatcher(labels.MatchNotEqual, "region", "r2")
	for _, tc := range []struct {
		name string
		from definition.From
		want int // islands for each target
	}{
		{"all", definition.From{}, 30},
		{"selected", definition.From{Islands: []*labels.Matcher{region}}, 20},
		{"some", definition.From{Spread: 4}, 4},
		{"some per region", definition.From{Spread: 2, Per: "region"}, 6},
		{"some of each selected region", definition.From{Islands: []*labels.Matcher{region}, Spread: 2, Per: "region"}, 4},
		{"more than there are", definition.From{Spread: 99}, 30},
		{"by a label that nobody has", definition.From{Spread: 3, Per: "rack"}, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := NewSpread(tc.from, all)
			load := map[string]int{}
			const targets = 3000
			for i := range targets {
				key := fmt.Sprintf("target %d", i)
				chosen := s.Chosen(key)
				if len(chosen) != tc.want {
					t.Fatalf("%d islands for %s, want %d", len(chosen), key, tc.want)
				}
				var has []string
				for _, m := range all {
					if s.Has(m.Name, key) {
						has = append(has, m.Name)
						load[m.Name]++
					}
				}
				if diff := cmp.Diff(chosen, has); diff != "" {
					t.Fatalf("Chosen and Has differ:\n%s", diff)
				}
			}
			mean := targets * tc.want / s.Members()
			for name, n := range load {
				if n < mean*7/10 || n > mean*13/10 {
					t.Errorf("%s has %d targets, the mean is %d", name, n, mean)
				}
			}
		})
	}
}

// TestSpreadMovesLittle takes an island away: only its targets go elsewhere.
func TestSpreadMovesLittle(t *testing.T) {
	all := islands(10)
	from := definition.From{Spread: 3}
	before, after := NewSpread(from, all), NewSpread(from, all[1:])
	moved := 0
	for i := range 1000 {
		key := fmt.Sprint(i)
		was, is := before.Chosen(key), after.Chosen(key)
		if slices.Contains(was, all[0].Name) {
			moved++
			was = slices.DeleteFunc(was, func(n string) bool { return n == all[0].Name })
		}
		for _, n := range was {
			if !slices.Contains(is, n) {
				t.Fatalf("%s: %s lost the target without reason: %v became %v", key, n, was, is)
			}
		}
	}
	if moved < 200 || moved > 400 {
		t.Errorf("%d of 1000 targets were on one of ten islands, three each", moved)
	}
}
