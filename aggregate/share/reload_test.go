package share

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// A rule that gets an output, on one island before the other, goes on: no window is
// lost or comes twice, totals go on, and the new output begins with the first window
// of which all islands saw it.
func TestOutputComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Replace(ruleText, `[total, increase, sum_samples, count_samples, "quantiles(0.5)"]`, "[total, increase]", 1)
		few, many := load(t, text), load(t, strings.Replace(text, "increase]", "increase, increase_prometheus, sum_samples_total]", 1))
		x := newTwo(t, few)
		defer x.stopA()
		defer x.stopB()
		round := func(k int64) int64 {
			end := x.base + 10_000*k
			for _, s := range []*Share{x.a, x.b} {
				w := empty(s, end)
				for j := range jobs {
					r := row1(fmt.Sprint("j", j), 10)
					r.Acc.IncreaseProm = r.Acc.Increase
					if s.o.Rules == many {
						r.Acc.Sum, r.Acc.Count = partial.Sum2{Hi: 3}, 1
					}
					w.Rows = append(w.Rows, r)
				}
				seal(t, s, w)
			}
			time.Sleep(10 * time.Second)
			return end
		}
		change := func(s *Share, to int) {
			s.o.Rules = few
			if to > 0 {
				s.o.Rules = many
			}
			s.Reload(s.o.Rules)
		}
		check := func(k int64, fresh int) {
			end := round(k)
			x.all("increase", end, 20)
			x.all("total", end, 20*float64(k+1))
			for j := range jobs {
				job := fmt.Sprint("j", j)
				if es := x.in("increase_prometheus", job, end); fresh == 0 && len(es) > 0 {
					t.Errorf("%s is published before all islands made it: %v", job, es)
				}
				if fresh > 0 {
					x.only("increase_prometheus", job, end, 20)
					x.only("sum_samples_total", job, end, 6*float64(fresh+1)) // a counts since two windows before b does
				}
			}
		}
		check(0, 0)
		check(1, 0)
		change(x.a, 1)
		check(2, 0)
		check(3, 0)
		change(x.b, 1)
		check(4, 1)
		check(5, 2)
		change(x.a, 0)
		check(6, 0)
	})
}
