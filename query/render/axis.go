package render

import (
	"math"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// axis is the stretch of time that is drawn.
type axis struct {
	start, end model.Time
	step       time.Duration // further apart than 1.5 steps is a gap
}

// axisOf takes the question's range, or that of the samples.
func axisOf(rs []row, o Options) axis {
	a := axis{start: math.MaxInt64, end: math.MinInt64, step: o.Step}
	for _, r := range rs {
		for i, p := range r.points {
			a.start, a.end = min(a.start, p.t), max(a.end, p.t)
			if i > 0 && o.Step == 0 {
				if d := p.t.Sub(r.points[i-1].t); d > 0 && (a.step == 0 || d < a.step) {
					a.step = d
				}
			}
		}
	}
	if !o.Start.IsZero() {
		a.start = model.TimeFromUnixNano(o.Start.UnixNano())
	}
	if !o.End.IsZero() {
		a.end = model.TimeFromUnixNano(o.End.UnixNano())
	}
	if a.start > a.end { // no sample at all
		a.start = a.end
	}
	return a
}

// sample spreads a series over n columns. Of several samples in one column the
// one furthest from the series' mean is kept, so that neither a spike nor a dip
// is lost; between samples the line is straight; a gap is NaN, and so is what
// cannot be drawn.
func (a axis) sample(r row, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	mean := r.mean()
	span := float64(a.end - a.start)
	at := func(t model.Time) float64 { // column, as a fraction
		if span <= 0 {
			return 0
		}
		return float64(t-a.start) / span * float64(n-1)
	}
	for _, p := range r.points {
		c := int(math.Round(at(p.t)))
		if v := p.plotted(); c >= 0 && c < n && finite(v) && (math.IsNaN(out[c]) || math.Abs(v-mean) > math.Abs(out[c]-mean)) {
			out[c] = v
		}
	}
	for i := 1; i < len(r.points); i++ {
		p, q := r.points[i-1], r.points[i]
		if finite(p.plotted()) && finite(q.plotted()) && (a.step == 0 || q.t.Sub(p.t) <= a.step+a.step/2) {
			bridge(out, at(p.t), at(q.t), p.plotted(), q.plotted())
		}
	}
	return out
}

// bridge fills the empty columns between two neighbouring samples.
func bridge(out []float64, from, to, v, w float64) {
	for c := max(0, int(math.Ceil(from))); c < len(out) && float64(c) < to; c++ {
		if math.IsNaN(out[c]) {
			f := (float64(c) - from) / (to - from)
			out[c] = v*(1-f) + w*f
		}
	}
}

// plotted is the number that stands for a sample in a picture: a histogram's
// is its count.
func (p point) plotted() float64 {
	if p.h != nil {
		return float64(p.h.Count)
	}
	return float64(p.v)
}

// mean of the values that can be drawn; NaN if there is none.
func (r row) mean() float64 {
	mean, n := 0.0, 0.0
	for _, p := range r.points {
		if v := p.plotted(); finite(v) {
			n++
			mean += v/n - mean/n
		}
	}
	if n == 0 {
		return math.NaN()
	}
	return mean
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// sparkline draws values in one line of text, a gap as a space.
func sparkline(values []float64, ascii bool) string {
	levels := []rune("▁▂▃▄▅▆▇█")
	if ascii {
		levels = []rune("_.:-=+*#")
	}
	low, high := bounds(values)
	var b strings.Builder
	for _, v := range values {
		if math.IsNaN(v) {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(levels[int(scale(v, low, high)*float64(len(levels)-1)+0.5)])
	}
	return b.String()
}

func bounds(values []float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if finite(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	return low, high
}

// scale maps v from [low, high] to [0, 1] without overflow.
func scale(v, low, high float64) float64 {
	if high <= low {
		return 0
	}
	return min(1, max(0, (v/2-low/2)/(high/2-low/2)))
}
