package sketch

import (
	"fmt"
	"math"
	"sync"
)

// The ranges of VictoriaMetrics' histogram: 18 per power of ten from 1e-9 to 1e18.
const (
	lowestPower  = -9
	highestPower = 18
	perDecade    = 18
	decades      = highestPower - lowestPower
	ranges       = decades * perDecade
)

// VMRange counts values in the ranges of VictoriaMetrics' vmrange label, so that
// its histogram_quantile and buckets_limit work on them. Negative values and NaN
// are ignored, as there. The zero value is ready for use.
type VMRange struct {
	decade       [decades]*[perDecade]uint64
	lower, upper uint64
}

// Add counts one value.
func (h *VMRange) Add(v float64) {
	if math.IsNaN(v) || v < 0 {
		return
	}
	at := (math.Log10(v) - lowestPower) * perDecade
	switch {
	case at < 0:
		h.lower++
	case at >= ranges:
		h.upper++
	default:
		i := int(at)
		if at == float64(i) && i > 0 {
			i-- // a power of ten belongs to the range that it ends
		}
		h.addTo(i, 1)
	}
}

func (h *VMRange) addTo(i int, n uint64) {
	d := &h.decade[i/perDecade]
	if *d == nil {
		*d = new([perDecade]uint64)
	}
	(*d)[i%perDecade] += n
}

// Merge adds all that o counted. o may be nil.
func (h *VMRange) Merge(o *VMRange) {
	if o == nil {
		return
	}
	h.lower += o.lower
	h.upper += o.upper
	o.each(h.addTo)
}

// Subtract takes away what o counted; h must have counted it.
func (h *VMRange) Subtract(o *VMRange) {
	if o == nil {
		return
	}
	h.lower -= o.lower
	h.upper -= o.upper
	o.each(func(i int, n uint64) { h.addTo(i, -n) })
}

// Clone is an independent copy.
func (h *VMRange) Clone() *VMRange {
	c := &VMRange{}
	c.Merge(h)
	return c
}

// Count is the number of values.
func (h *VMRange) Count() uint64 {
	total := h.lower + h.upper
	h.each(func(_ int, n uint64) { total += n })
	return total
}

func (h *VMRange) each(f func(i int, n uint64)) {
	for d, counts := range h.decade {
		if counts == nil {
			continue
		}
		for j, n := range counts {
			if n != 0 {
				f(d*perDecade+j, n)
			}
		}
	}
}

// Buckets visits the ranges that hold values, from the lowest, with the text of
// the vmrange label.
func (h *VMRange) Buckets(f func(vmrange string, n uint64)) {
	if h.lower > 0 {
		f(fmt.Sprintf("0...%.3e", math.Pow10(lowestPower)), h.lower)
	}
	names := rangeNames()
	h.each(func(i int, n uint64) { f(names[i], n) })
	if h.upper > 0 {
		f(fmt.Sprintf("%.3e...+Inf", math.Pow10(highestPower)), h.upper)
	}
}

// rangeNames are the labels. The bounds are multiplied up one by one: what is
// rounded on the way shows in the labels, and they must equal VictoriaMetrics'.
var rangeNames = sync.OnceValue(func() []string {
	step := math.Pow(10, 1.0/perDecade)
	v := math.Pow10(lowestPower)
	start := fmt.Sprintf("%.3e", v)
	names := make([]string, ranges)
	for i := range names {
		v *= step
		end := fmt.Sprintf("%.3e", v)
		names[i] = start + "..." + end
		start = end
	}
	return names
})
