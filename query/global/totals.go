package global

import (
	"math"

	"github.com/prometheus/prometheus/promql"
)

// cancelled is the part of the largest partial sum below which a total is no
// longer trusted. A partial sum is exact to 1e-16 of itself, so a total is exact
// to 1e-10 at worst, and almost always to its last digits.
const cancelled = 1e-6

// totals adds partial sums up to see whether they can be trusted: they cannot if
// they cancel each other out, nor, for a mean, if they may overflow.
type totals struct {
	groups  map[group]*total
	largest float64
}

// group is a value of a sum: of a row, by the hash of its labels, at a time. Of a
// histogram it is the sum of observations.
type group struct {
	row uint64
	t   int64
}

type total struct {
	sum, largest float64
	parts        int
	whole        bool // all parts are integers that floats hold exactly
}

func newTotals() *totals { return &totals{groups: map[group]*total{}} }

func (ts *totals) add(rows []promql.Series) {
	for i := range rows {
		hash := rows[i].Metric.Hash()
		for _, p := range rows[i].Floats {
			ts.value(group{hash, p.T}, p.F)
		}
		for _, p := range rows[i].Histograms {
			ts.value(group{hash, p.T}, p.H.Sum)
			if p.H.HasOverflow() {
				ts.largest = math.Inf(1)
			}
		}
	}
}

func (ts *totals) value(g group, v float64) {
	size := math.Abs(v)
	ts.largest = math.Max(ts.largest, size)
	t := ts.groups[g]
	if t == nil {
		t = &total{whole: true}
		ts.groups[g] = t
	}
	t.sum += v
	t.parts++
	t.largest = math.Max(t.largest, size)
	t.whole = t.whole && v == math.Trunc(v) && size < 1<<53
}

// unusable reports whether any total cannot be trusted. Infinities and NaN come
// out the same in any order.
func (ts *totals) unusable(mean bool, islands int) bool {
	if mean && ts.largest > math.MaxFloat64/float64(islands+1) {
		return true
	}
	for _, t := range ts.groups {
		if t.parts > 1 && !t.whole && !math.IsInf(t.largest, 0) && math.Abs(t.sum) < cancelled*t.largest {
			return true
		}
	}
	return false
}
