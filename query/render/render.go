package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"golang.org/x/term"
)

// Format is a way to show a value.
type Format string

// The formats.
const (
	Table Format = "table"
	JSON  Format = "json"
	CSV   Format = "csv"
	Chart Format = "chart"
)

// Formats lists every format by the name that ParseFormat takes.
func Formats() []string {
	return []string{string(Table), string(JSON), string(CSV), string(Chart)}
}

// ParseFormat reads a format's name.
func ParseFormat(s string) (Format, error) {
	if !slices.Contains(Formats(), s) {
		return "", fmt.Errorf("output format: got %q, must be one of %s", s, strings.Join(Formats(), ", "))
	}
	return Format(s), nil
}

// Order is how the rows of a table and of CSV are sorted.
type Order string

// The orders.
const (
	ByLabels Order = ""      // metric name, then labels
	ByValue  Order = "value" // largest first; of a range, the last value counts
	AsGiven  Order = "given" // as the engine ordered it: for sort() and topk()
)

// Options says how to draw. The zero value is plain text of any width, in UTF-8
// and UTC.
type Options struct {
	// Width is the number of columns to fit into; 0 means 80 for a chart and
	// no bound for a table.
	Width int
	// Height is the number of rows of a chart's plot; 0 means 15.
	Height int
	// Color allows ANSI colours.
	Color bool
	// ASCII draws without characters beyond ASCII and escapes those in labels.
	ASCII bool
	// Location is the time zone of tables and charts; nil means UTC. JSON and
	// CSV are always in UTC.
	Location *time.Location
	// Series is how many series a chart draws; 0 means 8.
	Series int
	// Order sorts tables and CSV.
	Order Order
	// Start, End and Step are the question's, for the time axis and to tell a
	// gap; zero means they are taken from the samples.
	Start, End time.Time
	Step       time.Duration
}

// Detect returns the options that suit w: the width and colours of a terminal
// (unless NO_COLOR is set or TERM is dumb), and ASCII where the locale is not
// UTF-8. getenv is os.Getenv in production.
func Detect(w io.Writer, getenv func(string) string) Options {
	o := Options{Location: time.Local}
	locale := cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG"))
	utf8 := strings.Contains(strings.ToLower(strings.ReplaceAll(locale, "-", "")), "utf8")
	o.ASCII = locale != "" && !utf8
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return o
	}
	o.Color = getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		o.Width = width
	}
	return o
}

// Write shows v on w. The caller prints the API's warnings and infos.
func Write(w io.Writer, f Format, v model.Value, o Options) error {
	if o.Location == nil {
		o.Location = time.UTC
	}
	switch f {
	case Table:
		return writeTable(w, v, o)
	case JSON:
		return writeJSON(w, v)
	case CSV:
		return writeCSV(w, v, o)
	case Chart:
		return writeChart(w, v, o)
	default:
		_, err := ParseFormat(string(f))
		return err
	}
}

// writeJSON writes the API's `data` object.
func writeJSON(w io.Writer, v model.Value) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Type   model.ValueType `json:"resultType"`
		Result model.Value     `json:"result"`
	}{v.Type(), v})
}

// unsupported reports a value that a format cannot show.
func unsupported(f Format, v model.Value) error {
	return fmt.Errorf("rendering as %s: got a result of type %s, which it cannot show; use %s", f, v.Type(), JSON)
}

// row is one series with its samples, whatever the value's type was.
type row struct {
	metric model.Metric
	points []point
}

// point is a sample: a number or a histogram.
type point struct {
	t model.Time
	v model.SampleValue
	h *model.SampleHistogram
}

// rows takes a value apart; ok is false for a string.
func rows(v model.Value, order Order) (out []row, ok bool) {
	switch v := v.(type) {
	case *model.Scalar:
		return []row{{points: []point{{t: v.Timestamp, v: v.Value}}}}, true
	case model.Vector:
		for _, s := range v {
			out = append(out, row{s.Metric, []point{{s.Timestamp, s.Value, s.Histogram}}})
		}
	case model.Matrix:
		for _, s := range v {
			out = append(out, row{s.Metric, points(s)})
		}
	default:
		return nil, false
	}
	byLabels := func(a, b row) int { return compareMetrics(a.metric, b.metric) }
	switch order {
	case ByLabels:
		slices.SortStableFunc(out, byLabels)
	case ByValue:
		slices.SortStableFunc(out, func(a, b row) int {
			return cmp.Or(cmp.Compare(b.last(), a.last()), byLabels(a, b))
		})
	}
	return out, true
}

// points merges the floats and histograms of a stream by time.
func points(s *model.SampleStream) []point {
	var out []point
	for _, p := range s.Values {
		out = append(out, point{t: p.Timestamp, v: p.Value})
	}
	for _, p := range s.Histograms {
		out = append(out, point{t: p.Timestamp, h: p.Histogram})
	}
	slices.SortStableFunc(out, func(a, b point) int { return cmp.Compare(a.t, b.t) })
	return out
}

// last is what a series is ranked by: its newest value, or a histogram's count.
func (r row) last() float64 {
	if len(r.points) == 0 {
		return 0
	}
	p := r.points[len(r.points)-1]
	if p.h != nil {
		return float64(p.h.Count)
	}
	return float64(p.v)
}

func compareMetrics(a, b model.Metric) int {
	names := slices.AppendSeq(labelNames(a), slices.Values(labelNames(b)))
	slices.SortFunc(names, compareNames)
	for _, n := range slices.Compact(names) {
		if c := cmp.Compare(a[n], b[n]); c != 0 {
			return c
		}
	}
	return 0
}

func labelNames(m model.Metric) []model.LabelName {
	out := make([]model.LabelName, 0, len(m))
	for n := range m {
		out = append(out, n)
	}
	slices.SortFunc(out, compareNames)
	return out
}

// compareNames puts the metric name before all labels.
func compareNames(a, b model.LabelName) int {
	rank := func(n model.LabelName) int {
		if n == model.MetricNameLabel {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

// allNames is every label name that occurs, the metric name first.
func allNames(rs []row) []model.LabelName {
	var out []model.LabelName
	for _, r := range rs {
		for n := range r.metric {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, compareNames)
	return slices.Compact(out)
}
