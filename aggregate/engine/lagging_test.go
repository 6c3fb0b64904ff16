package engine

import (
	"fmt"
	"testing"
)

// A source that begins with a lag begins in a window that was sealed when nobody was
// there to wait for, or only others: it is published once, whole.
func TestLaggingSourceBegins(t *testing.T) {
	for _, step := range []float64{10, 15, 30} {
		for _, beside := range []bool{false, true} {
			t.Run(fmt.Sprintf("every %v s, beside another %v", step, beside), func(t *testing.T) {
				r := newRig(t, "- interval: 1m\n  by: [instance]\n  outputs: [increase]\n  max_lag: 5m\n")
				r.tick(0)
				for now := 5.0; now < 500; now++ {
					var ps []point
					if beside && int(now)%10 == 5 {
						ps = append(ps, point{ls: labelsWith("instance", "b"), t: now, v: counter(now)})
					}
					if at := now - 70; at > 0 && int(at-5)%int(step) == 0 {
						ps = append(ps, point{ls: series, t: at, v: counter(at)})
					}
					r.send(now, ps...)
				}
				r.tick(700)
				const g = `{__name__="c", instance="a"}`
				r.want("increase", r.row(g, 60, 240, 60, increase), fmt.Sprintf("%v 6000 6000 6000", 6000-100*step))
				for end := 60; end <= 240; end += 60 {
					if n := r.count[fmt.Sprintf("%s@%d", g, end)]; n != 1 {
						t.Errorf("window %d was published %d times, want once", end, n)
					}
				}
			})
		}
	}
}
