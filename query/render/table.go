package render

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
)

const (
	bold     = "\x1b[1m"
	reset    = "\x1b[0m"
	gutter   = 2  // columns between cells
	minCell  = 8  // a cell is not shortened below this
	sparkLen = 20 // columns of a sparkline
)

// cell of a table; numbers are aligned to the right.
type column struct {
	head  string
	right bool
	fixed bool // never shortened
	cells []string
	width int
}

// writeTable writes what is common to all series once, then one line a series.
func writeTable(w io.Writer, v model.Value, o Options) error {
	out := bufio.NewWriter(w)
	if s, ok := v.(*model.String); ok {
		fmt.Fprintln(out, clean(s.Value, o.ASCII))
		return out.Flush()
	}
	rs, ok := rows(v, o.Order)
	if !ok {
		return unsupported(Table, v)
	}
	if s, ok := v.(*model.Scalar); ok {
		fmt.Fprintln(out, number(float64(s.Value)))
		return out.Flush()
	}
	if len(rs) == 0 {
		fmt.Fprintln(out, "no data")
		return out.Flush()
	}
	common, differing := split(rs)
	cols := labelColumns(rs, differing, o)
	var head string
	if _, isRange := v.(model.Matrix); isRange {
		cols = append(cols, rangeColumns(rs, o)...)
		head = span(rs, o)
	} else {
		cols = append(cols, instantColumns(rs, o)...)
		head = "at " + clock(rs[0].points[0].t.Time(), o.Location)
	}
	if len(common) > 0 {
		head = series(common, o.ASCII) + "  " + head
	}
	fmt.Fprintln(out, head)
	writeColumns(out, cols, len(rs), o)
	return out.Flush()
}

// split finds the labels that all series share with one value, and the names
// of the others.
func split(rs []row) (common model.Metric, differing []model.LabelName) {
	common = model.Metric{}
	for _, n := range allNames(rs) {
		first, has := rs[0].metric[n]
		same := has && !slices.ContainsFunc(rs, func(r row) bool { v, ok := r.metric[n]; return !ok || v != first })
		if same {
			common[n] = first
		} else {
			differing = append(differing, n)
		}
	}
	return common, differing
}

func labelColumns(rs []row, names []model.LabelName, o Options) []*column {
	var out []*column
	for _, n := range names {
		c := &column{head: clean(string(n), o.ASCII)}
		if n == model.MetricNameLabel {
			c.head = "metric"
		}
		for _, r := range rs {
			c.cells = append(c.cells, clean(string(r.metric[n]), o.ASCII))
		}
		out = append(out, c)
	}
	return out
}

func instantColumns(rs []row, o Options) []*column {
	value := &column{head: "value", right: true, fixed: true}
	when := &column{head: "time", fixed: true}
	for _, r := range rs {
		value.cells = append(value.cells, r.points[0].String())
		when.cells = append(when.cells, clock(r.points[0].t.Time(), o.Location))
		if r.points[0].h != nil {
			value.right = false
		}
	}
	if len(slices.Compact(slices.Clone(when.cells))) == 1 {
		return []*column{value} // the time is in the header
	}
	return []*column{value, when}
}

// rangeColumns sums up each series: every sample is in CSV and JSON.
func rangeColumns(rs []row, o Options) []*column {
	heads := []string{"samples", "first", "last", "min", "max"}
	cols := make([]*column, len(heads))
	for i, h := range heads {
		cols[i] = &column{head: h, right: true, fixed: true}
	}
	trend := &column{head: "trend", fixed: true}
	axis := axisOf(rs, o)
	for _, r := range rs {
		cols[0].cells = append(cols[0].cells, fmt.Sprint(len(r.points)))
		for i, v := range summary(r) {
			cols[i+1].cells = append(cols[i+1].cells, number(v))
		}
		trend.cells = append(trend.cells, sparkline(axis.sample(r, sparkLen), o.ASCII))
	}
	return append(cols, trend)
}

// summary is first, last, min and max of a series, NaN where there is none; a
// histogram stands for its number of observations.
func summary(r row) [4]float64 {
	nan := math.NaN()
	if len(r.points) == 0 {
		return [4]float64{nan, nan, nan, nan}
	}
	out := [4]float64{r.points[0].plotted(), r.points[len(r.points)-1].plotted(), nan, nan}
	for _, p := range r.points {
		v := p.plotted()
		if v < out[2] || math.IsNaN(out[2]) {
			out[2] = v
		}
		if v > out[3] || math.IsNaN(out[3]) {
			out[3] = v
		}
	}
	return out
}

// span is the time from the first to the last sample of all series.
func span(rs []row, o Options) string {
	a := axisOf(rs, o)
	return "from " + clock(a.start.Time(), o.Location) + " to " + clock(a.end.Time(), o.Location)
}

func writeColumns(w io.Writer, cols []*column, n int, o Options) {
	for _, c := range cols {
		c.width = columns(c.head)
		for _, s := range c.cells {
			c.width = max(c.width, columns(s))
		}
	}
	if o.Width > 0 {
		shrink(cols, o.Width)
	}
	line := func(text func(*column) string, before, after string) {
		var b strings.Builder
		for i, c := range cols {
			if i > 0 {
				b.WriteString(strings.Repeat(" ", gutter))
			}
			s := text(c)
			if !c.fixed {
				s = fit(s, c.width, o.ASCII)
			}
			pad := strings.Repeat(" ", max(0, c.width-columns(s)))
			if c.right {
				b.WriteString(pad + s)
			} else {
				b.WriteString(s + pad)
			}
		}
		fmt.Fprintln(w, before+strings.TrimRight(b.String(), " ")+after)
	}
	before, after := "", ""
	if o.Color {
		before, after = bold, reset
	}
	line(func(c *column) string { return c.head }, before, after)
	for i := range n {
		line(func(c *column) string { return c.cells[i] }, "", "")
	}
}

// shrink narrows the widest label column, again and again, until the line
// fits or nothing more can be taken.
func shrink(cols []*column, limit int) {
	for {
		total := gutter * (len(cols) - 1)
		var widest *column
		for _, c := range cols {
			total += c.width
			if !c.fixed && (widest == nil || c.width > widest.width) {
				widest = c
			}
		}
		if total <= limit || widest == nil || widest.width <= minCell {
			return
		}
		widest.width--
	}
}
