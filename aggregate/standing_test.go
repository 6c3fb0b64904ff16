package aggregate

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

func TestStandings(t *testing.T) {
	m := newMemory()
	r := newRig(t, topRules, m)
	c := newClient(t, r.Appendable(m))
	both := []labels.Labels{series("kept", "a"), series("kept", "b"), series("dropped", "a"), series("dropped", "b"), series("dropped", "c")}
	for s := int64(10); s <= 60; s += 10 {
		r.now = at(s)
		c.send(s, float64(s), both...)
	}
	before := r.Standings()
	equal(t, "order", []string{before[0].Rule, before[1].Rule}, []string{"small", "big"})
	if before[0].Sealed != nil {
		t.Errorf("sealed %v before any window was", before[0].Sealed)
	}
	r.finish(60)
	small, big := r.Standings()[0], r.Standings()[1]
	end := time.UnixMilli(at(60)).UTC()
	if small.Sealed == nil || small.Sealed.Before(end) || small.Lag <= 0 {
		t.Errorf("sealed %v after %v s, want at least %v", small.Sealed, small.Lag, end)
	}
	equal(t, "small", []int{small.Series, small.Groups, small.Made, small.Line}, []int{2, 1, 1, 3})
	equal(t, "big", []int{big.Series, big.Groups, big.Made, big.MaxGroups, int(big.Overflow)}, []int{3, 2, 2, 2, 1})
	equal(t, "what it does", []any{small.Interval, small.By, small.Outputs, small.Match, small.KeepInput, big.KeepInput}, []any{
		60.0, []string{"__name__", "job"}, []string{"total"}, `{__name__="kept"}`, true, false,
	})
	equal(t, "late", small.LateGroups, map[string]uint64{"carried": 0, "corrected": 0, "dropped": 0, "published": 0})
}
