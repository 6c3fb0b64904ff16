package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
)

// TestDimensionRules: each value of a label has a rule of its own, which the
// rules API shows, and one that appears later gets its own.
func TestDimensionRules(t *testing.T) {
	i := newIsland(t, quiet+`
aggregate:
  dimension_rules:
    - record: series:e2e_sample:sum
      expr: sum by (series) (e2e_sample)
      split_by: [series]
      interval: 1s
      filter: {series: "[0-6]"}
    - record: series:e2e_sample:everywhere
      expr: sum by (series) (e2e_sample)
      split_by: [series]
      interval: 1s
      scope: all
`).up()
	shown := func(want int) func() error {
		return func() error {
			rules, err := prom(t, i.addr).Rules(context.Background(), nil)
			if err != nil {
				return err
			}
			n := 0
			for _, g := range rules.Groups {
				if g.File != "dimension_rules" || !strings.HasPrefix(g.Name, "series:e2e_sample:sum") || len(g.Rules) != 1 {
					continue
				}
				r, ok := g.Rules[0].(v1.RecordingRule)
				if !ok || r.Health != v1.RuleHealthGood || !strings.Contains(r.Query, `series="`) {
					return fmt.Errorf("group %s is shown as %+v", g.Name, g.Rules[0])
				}
				n++
			}
			if n != want {
				return fmt.Errorf("%d groups of narrow rules are shown, want %d", n, want)
			}
			return nil
		}
	}
	for _, series := range []int{5, 9} { // of the nine the filter takes seven
		w := newWriter(t, i, series)
		if err := w.send(time.Now().UnixMilli()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "all narrow rules shown", shown(min(series, 7)))
		eventually(t, 20*time.Second, "all results", func() error {
			for name, want := range map[string]int{"series:e2e_sample:sum": min(series, 7), "series:e2e_sample:everywhere": series} {
				v, err := i.value(`count(` + name + ` == on (series) e2e_sample)`)
				if err == nil && v != float64(want) {
					err = fmt.Errorf("%v results of %s are right, want %d", v, name, want)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
}
