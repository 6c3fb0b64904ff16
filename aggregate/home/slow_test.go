package home

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/conform"
)

// Windows wait for the series of which it is not known yet who counts them, however
// long the answer takes, and for max_lag at most: so what comes in first, in a window
// that is short, is in it.
func TestWindowsWaitForAnswers(t *testing.T) {
	for slow := time.Duration(0); slow <= 3*time.Second; slow += 500 * time.Millisecond {
		t.Run(slow.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, uint64(slow), 3, strings.Replace(ruleText, "interval: 1m", "interval: 1m\n  max_lag: 20s", 1))
				w.slow = slow
				var f conform.Flight
				for k := range 12 {
					first := []int64{5, 356, 357}[k%3] * second
					f = append(f, conform.Scrape(conform.Pod(fmt.Sprint("i", k)), first, 595*second, 5*second, conform.Linear(1_000_000, 100)).To(k/3%3)...)
				}
				w.run(720*second, f)
				w.exact(f)
				w.settled()
				if t.Failed() {
					t.Log(w.describe())
				}
				w.close()
			})
		})
	}
}
