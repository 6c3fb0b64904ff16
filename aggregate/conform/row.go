package conform

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Row is one output series: value by window end (milliseconds from Origin).
type Row map[int64]float64

// ParseRow reads "5000 6000x9" as the values of consecutive windows, the first
// of which ends at first; "-" is a window that has no value. It panics on
// anything else: rows are written in source.
func ParseRow(first, interval int64, text string) Row {
	row, end := Row{}, first
	for _, field := range strings.Fields(text) {
		v, times, _ := strings.Cut(field, "x")
		n := 1
		if times != "" {
			n = must(strconv.Atoi(times))
		}
		for range n {
			if v != "-" {
				row[end] = must(strconv.ParseFloat(v, 64))
			}
			end += interval
		}
	}
	return row
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Sum adds the values up.
func (r Row) Sum() float64 {
	var sum float64
	for _, end := range slices.Sorted(maps.Keys(r)) {
		sum += r[end]
	}
	return sum
}

// Diff says in what r differs from want, "" if in nothing. A value of 0 and a
// missing window are the same unless strict. Values may differ by tolerance
// relative to the larger (1e-9: rounding of shares).
func (r Row) Diff(want Row, tolerance float64, strict bool) string {
	ends := map[int64]bool{}
	for end := range r {
		ends[end] = true
	}
	for end := range want {
		ends[end] = true
	}
	var out strings.Builder
	for _, end := range slices.Sorted(maps.Keys(ends)) {
		got, has := r[end]
		should, wanted := want[end]
		if Near(got, should, tolerance) && (has == wanted || !strict) {
			continue
		}
		fmt.Fprintf(&out, " window %d: got %s, want %s;", end/Second, show(got, has), show(should, wanted))
	}
	return out.String()
}

func show(v float64, ok bool) string {
	if !ok {
		return "nothing"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// Near reports whether a and b are equal but for a relative error of tolerance.
func Near(a, b, tolerance float64) bool {
	switch {
	case math.IsNaN(a) || math.IsNaN(b):
		return math.IsNaN(a) && math.IsNaN(b)
	case a == b:
		return true
	}
	return math.Abs(a-b) <= tolerance*max(math.Abs(a), math.Abs(b), 1)
}
