package dimension

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
)

// asked finds values by questions, where nothing lists them: how many series of
// each have a sample that an evaluation may read. It is not for concurrent use.
type asked struct {
	query  rules.QueryFunc
	plan   *plan
	series map[string]int // of the last answer, by key
}

// list asks anew.
func (a *asked) list(ctx context.Context, now time.Time) (found map[string]value, more bool, err error) {
	found, a.series = map[string]value{}, map[string]int{}
	names := a.plan.splitter.labels
	for _, ms := range a.plan.selectors {
		answer, err := a.query(ctx, a.question(ms), now)
		if err != nil {
			return nil, false, fmt.Errorf("asking for the values of %s: %w", a.plan.name, err)
		}
		for _, s := range answer {
			v := make(value, len(names))
			for i, name := range names {
				v[i] = s.Metric.Get(name)
			}
			if len(found) >= listAtMost {
				return found, true, nil
			}
			key := v.key(names)
			found[key] = v
			a.series[key] += int(s.F)
		}
	}
	return found, false, nil
}

func (a *asked) question(ms []*labels.Matcher) string {
	selector := make([]string, len(ms))
	for i, m := range ms {
		selector[i] = m.String()
	}
	names := make([]string, len(a.plan.splitter.labels))
	for i, name := range a.plan.splitter.labels {
		names[i] = name
		if !model.LegacyValidation.IsValidLabelName(name) {
			names[i] = fmt.Sprintf("%q", name)
		}
	}
	reach := max(a.plan.reach.Round(time.Millisecond), time.Millisecond)
	return fmt.Sprintf("count by (%s) (present_over_time({%s}[%s]))", strings.Join(names, ", "), strings.Join(selector, ","), model.Duration(reach))
}

// count is from the last answer.
func (a *asked) count(values []value) []int {
	out := make([]int, len(values))
	for i, v := range values {
		out[i] = a.series[v.key(a.plan.splitter.labels)]
	}
	return out
}
