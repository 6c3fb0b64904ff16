package engine

import "testing"

// A scrape that a sender cuts into several requests is one: the window waits for all
// of it, also where it is of the very instant at which the window ends, and where all
// of it comes late.
func TestScrapeInSeveralRequests(t *testing.T) {
	for _, lag := range []float64{0, 10, 40} {
		r := newRig(t, total)
		for now := 0.0; now <= 180; now += 10 {
			for n, part := range []string{"1", "2", "3"} {
				r.send(now+lag+0.1+2*float64(n), point{ls: labelsWith("part", part), t: now, v: counter(now)})
			}
		}
		r.tick(300)
		for _, part := range []string{"1", "2", "3"} {
			group := `{__name__="c", job="j", part="` + part + `", path="x"}`
			r.want("part "+part, r.row(group, 60, 180, 60, increase), "6000 6000 6000")
		}
	}
}
