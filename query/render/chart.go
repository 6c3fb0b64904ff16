package render

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/guptarohit/asciigraph"
	"github.com/prometheus/common/model"
)

const (
	defaultWidth  = 80
	defaultHeight = 15
	defaultSeries = 8
	minPlot       = 20 // columns of the plot, however narrow the terminal
	axisColumns   = 3  // what asciigraph puts between the labels and the plot
	tickEvery     = 15 // columns between ticks of the time axis
)

// palette is told apart on dark and light backgrounds.
var palette = [...]asciigraph.AnsiColor{
	asciigraph.DodgerBlue, asciigraph.DarkOrange, asciigraph.LimeGreen, asciigraph.Crimson,
	asciigraph.MediumPurple, asciigraph.DarkTurquoise, asciigraph.Goldenrod, asciigraph.HotPink,
}

// markers draw series apart where there are no colours.
const markers = "*+xo#@%&"

// toASCII replaces what asciigraph draws with.
var toASCII = strings.NewReplacer("─", "-", "│", "|", "╭", ".", "╮", ".", "╰", "'", "╯", "'", "╴", "-", "╶", "-",
	"┤", "|", "┼", "+", "└", "+", "┬", "+")

// writeChart draws the series with the largest means over time.
func writeChart(w io.Writer, v model.Value, o Options) error {
	if _, ok := v.(model.Matrix); !ok {
		return fmt.Errorf("drawing a chart: got a result of type %s, must be a range (%s); ask over a time range, or use %s", v.Type(), model.ValMatrix, Table)
	}
	rs, _ := rows(v, ByLabels)
	all := len(rs)
	rs = slices.DeleteFunc(rs, func(r row) bool { return math.IsNaN(r.mean()) })
	slices.SortStableFunc(rs, func(a, b row) int { return cmp.Compare(b.mean(), a.mean()) })
	rs = rs[:min(len(rs), cmp.Or(max(0, o.Series), defaultSeries))]
	out := bufio.NewWriter(w)
	if len(rs) == 0 {
		fmt.Fprintln(out, "no data")
		return out.Flush()
	}
	plot := newPlot(rs, o)
	fmt.Fprintln(out, plot.draw())
	fmt.Fprintln(out, fit(span(rs, o), o.Width, o.ASCII))
	common, _ := split(rs)
	if len(rs) == 1 {
		common = nil
	}
	if len(common) > 0 {
		fmt.Fprintln(out, fit(series(common, o.ASCII), o.Width, o.ASCII))
	}
	for i, r := range rs {
		fmt.Fprintln(out, plot.legend(i, r, common))
	}
	if all > len(rs) {
		fmt.Fprintf(out, "series not drawn: %d\n", all-len(rs))
	}
	return out.Flush()
}

type plot struct {
	rows      []row
	options   Options
	axis      axis
	low, high float64
	height    int
}

func newPlot(rs []row, o Options) plot {
	p := plot{rows: rs, options: o, axis: axisOf(rs, o), low: math.Inf(1), high: math.Inf(-1), height: cmp.Or(max(0, o.Height), defaultHeight)}
	for _, r := range rs {
		for _, pt := range r.points {
			if v := pt.plotted(); finite(v) {
				p.low, p.high = min(p.low, v), max(p.high, v)
			}
		}
	}
	return p
}

// draw hands asciigraph values scaled to the rows of the plot: its own
// arithmetic overflows for large numbers.
func (p plot) draw() string {
	start, end := float64(p.axis.start), float64(p.axis.end)
	half := (len(p.tick(end)) + 1) / 2 // the last tick's text reaches beyond the plot
	width := max(minPlot, cmp.Or(max(0, p.options.Width), defaultWidth)-axisColumns-p.labelWidth()-half)
	data := make([][]float64, len(p.rows))
	for i, r := range p.rows {
		data[i] = p.axis.sample(r, width)
		for j, v := range data[i] {
			if !math.IsNaN(v) {
				data[i][j] = scale(v, p.low, p.high) * float64(p.height)
			}
		}
	}
	top := float64(p.height)
	if p.high <= p.low {
		top = 0
	}
	opts := []asciigraph.Option{
		asciigraph.Height(p.height),
		asciigraph.LowerBound(0),
		asciigraph.UpperBound(top),
		asciigraph.YAxisValueFormatter(p.label),
		asciigraph.XAxisRange(start, end),
		asciigraph.XAxisTickCount(max(2, width/tickEvery)),
		asciigraph.XAxisValueFormatter(p.tick),
	}
	switch {
	case p.options.Color:
		opts = append(opts, asciigraph.SeriesColors(p.colors()...))
	case len(p.rows) > 1:
		var sets []asciigraph.CharSet
		for i := range p.rows {
			sets = append(sets, asciigraph.CreateCharSet(marker(i)))
		}
		opts = append(opts, asciigraph.SeriesChars(sets...))
	}
	s := asciigraph.PlotMany(data, opts...)
	if p.options.ASCII {
		s = toASCII.Replace(s)
	}
	return s
}

func (p plot) colors() []asciigraph.AnsiColor {
	var out []asciigraph.AnsiColor
	for i := range p.rows {
		out = append(out, palette[i%len(palette)])
	}
	return out
}

func marker(i int) string { return markers[i%len(markers) : i%len(markers)+1] }

// label is the value at a height of the plot, with as many digits as tell one
// row from the next.
func (p plot) label(height float64) string {
	if p.high <= p.low {
		return number(p.low)
	}
	f := height / float64(p.height)
	v := p.low*(1-f) + p.high*f
	step := (p.high/2 - p.low/2) / float64(p.height) * 2
	if math.Abs(v) < step/1e6 {
		v = 0
	}
	digits := int(math.Ceil(math.Log10(max(math.Abs(p.high), math.Abs(p.low))/step))) + 1
	return strconv.FormatFloat(v, 'g', min(15, max(3, digits)), 64)
}

func (p plot) labelWidth() int {
	n := 0
	for i := range p.height + 1 {
		n = max(n, len(p.label(float64(i))))
	}
	return n
}

// tick is a time on the axis, as short as the span allows.
func (p plot) tick(ms float64) string {
	layout := "01-02 15:04"
	switch span := p.axis.end.Sub(p.axis.start); {
	case span < 10*time.Minute:
		layout = "15:04:05"
	case span <= 24*time.Hour:
		layout = "15:04"
	case span > 7*24*time.Hour:
		layout = "2006-01-02"
	}
	return model.Time(ms).Time().In(p.options.Location).Format(layout)
}

// legend is one line for a series: how it is drawn, what sets it apart, and
// its numbers.
func (p plot) legend(i int, r row, common model.Metric) string {
	o := p.options
	own := model.Metric{}
	for n, v := range r.metric {
		if _, ok := common[n]; !ok {
			own[n] = v
		}
	}
	mark := marker(i)
	if len(p.rows) == 1 {
		mark = "-"
	}
	s := summary(r)
	tail := fmt.Sprintf("  last %s  min %s  max %s", short(s[1]), short(s[2]), short(s[3]))
	name := series(own, o.ASCII)
	if o.Width > 0 {
		name = fit(name, max(minCell, o.Width-len(tail)-len(mark)-1), o.ASCII)
	}
	if o.Color {
		square := "■"
		if o.ASCII {
			square = mark
		}
		mark = palette[i%len(palette)].String() + square + asciigraph.Default.String()
	}
	return mark + " " + name + tail
}

// short is a number for a legend, to six digits.
func short(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
