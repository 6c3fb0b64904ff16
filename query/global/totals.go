package global

import (
	"math"

	"github.com/prometheus/prometheus/promql"
)

// cancelled is the part of the largest partial sum below which a total is no
// longer trusted. A partial sum is exact to 1e-16 of itself, so a total is exact
// to 1e-10 at worst, and almost always to its last digits.
const cancelled = 1e-6

// totals are the rows of a leaf of partial sums, by the hash of their labels.
type totals map[uint64][]*promql.Series

func (ts totals) add(rows []promql.Series) {
	for i := range rows {
		hash := rows[i].Metric.Hash()
		ts[hash] = append(ts[hash], &rows[i])
	}
}

// unusable reports whether any total cannot be trusted: partial sums cancel each
// other out or, for a mean, may overflow where the mean would not.
func (ts totals) unusable(mean bool, islands int) bool {
	limit := math.MaxFloat64 / float64(islands+1)
	for _, rows := range ts {
		if mean && huge(rows, limit) || len(rows) > 1 && (cancel(rows, floatAt) || cancel(rows, sumAt)) {
			return true
		}
	}
	return false
}

func huge(rows []*promql.Series, limit float64) bool {
	for _, s := range rows {
		for _, p := range s.Floats {
			if math.Abs(p.F) > limit {
				return true
			}
		}
		for _, p := range s.Histograms {
			if p.H.HasOverflow() || math.Abs(p.H.Sum) > limit || math.Abs(p.H.Count) > limit {
				return true
			}
		}
	}
	return false
}

// floatAt and sumAt are the i-th value of a row: a float, or a histogram's sum of
// observations.
func floatAt(s *promql.Series, i int) (t int64, v float64, ok bool) {
	if i >= len(s.Floats) {
		return 0, 0, false
	}
	return s.Floats[i].T, s.Floats[i].F, true
}

func sumAt(s *promql.Series, i int) (t int64, v float64, ok bool) {
	if i >= len(s.Histograms) {
		return 0, 0, false
	}
	return s.Histograms[i].T, s.Histograms[i].H.Sum, true
}

// cancel adds up what the rows have at each time. Integers that floats hold
// exactly lose nothing; infinities and NaN come out the same in any order.
func cancel(rows []*promql.Series, at func(*promql.Series, int) (int64, float64, bool)) bool {
	next := make([]int, len(rows))
	for {
		now := int64(math.MaxInt64)
		for r, s := range rows {
			if t, _, ok := at(s, next[r]); ok {
				now = min(now, t)
			}
		}
		if now == math.MaxInt64 {
			return false
		}
		var sum, largest float64
		whole := true
		for r, s := range rows {
			t, v, ok := at(s, next[r])
			if !ok || t != now {
				continue
			}
			next[r]++
			sum += v
			largest = math.Max(largest, math.Abs(v))
			whole = whole && v == math.Trunc(v) && math.Abs(v) < 1<<53
		}
		if !whole && !math.IsInf(largest, 0) && math.Abs(sum) < cancelled*largest {
			return true
		}
	}
}
