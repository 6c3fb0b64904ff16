package conform

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// Point is one published sample. T is milliseconds relative to Origin;
// Revision 0 is the first publication of a window.
type Point struct {
	Labels   labels.Labels
	T        int64
	V        float64
	Revision uint32
}

// Target is what scenarios are played against. It reads no clock: now comes in.
type Target interface {
	// Deliver hands over one request.
	Deliver(now int64, r Request) error
	// Tick lets a second pass and returns what was published.
	Tick(now int64) ([]Point, error)
	// Restart kills a node without notice and brings it back as it was. It returns
	// what is published meanwhile: here and in the next Tick, what had been published
	// may come again to the letter.
	Restart(now int64) ([]Point, error)
}

// Play delivers a scenario to a target, a tick every second, and returns what
// was published.
func Play(s Scenario, target Target) (*Ledger, error) {
	ledger := NewLedger()
	requests, restarts := s.Deliveries.Requests(), slices.Clone(s.Restarts)
	if len(requests) == 0 {
		return ledger, nil
	}
	first := requests[0].At / Second * Second
	for now := first; now <= s.Until; now += Second {
		for len(requests) > 0 && requests[0].At <= now {
			if err := target.Deliver(requests[0].At, requests[0]); err != nil {
				return nil, fmt.Errorf("deliver at %d ms: %w", requests[0].At, err)
			}
			requests = requests[1:]
		}
		restarted := false
		for len(restarts) > 0 && restarts[0] <= now {
			restarted = true
			points, err := target.Restart(restarts[0])
			if err != nil {
				return nil, fmt.Errorf("restart at %d ms: %w", restarts[0], err)
			}
			ledger.Again(now, points)
			restarts = restarts[1:]
		}
		points, err := target.Tick(now)
		if err != nil {
			return nil, fmt.Errorf("tick at %d ms: %w", now, err)
		}
		if restarted {
			ledger.Again(now, points)
			continue
		}
		ledger.Add(now, points)
	}
	return ledger, nil
}

// Publication is one value of a window and when it was published.
type Publication struct {
	At       int64
	V        float64
	Revision uint32
}

// Ledger holds everything that was published: by output series, then window
// end, in order.
type Ledger struct {
	series map[string]map[int64][]Publication
}

// NewLedger returns an empty one.
func NewLedger() *Ledger { return &Ledger{series: map[string]map[int64][]Publication{}} }

// Add notes points that were published at now.
func (l *Ledger) Add(now int64, points []Point) {
	for _, p := range points {
		key := p.Labels.String()
		windows := l.series[key]
		if windows == nil {
			windows = map[int64][]Publication{}
			l.series[key] = windows
		}
		windows[p.T] = append(windows[p.T], Publication{At: now, V: p.V, Revision: p.Revision})
	}
}

// Again notes points that a restart brought: those that repeat a publication to
// the letter are forgotten, for whoever takes them sees no difference.
func (l *Ledger) Again(now int64, points []Point) {
	for _, p := range points {
		same := func(o Publication) bool { return o.Revision == p.Revision && Near(o.V, p.V, 1e-12) }
		if !slices.ContainsFunc(l.series[p.Labels.String()][p.T], same) {
			l.Add(now, []Point{p})
		}
	}
}

// Series lists the output series, sorted.
func (l *Ledger) Series() []string { return slices.Sorted(maps.Keys(l.series)) }

// Windows returns the publications of one output series by window.
func (l *Ledger) Windows(series string) map[int64][]Publication { return l.series[series] }

// Find returns the one series whose name ends in "_"+output and whose other
// labels are group; more stands for labels that the output adds.
func (l *Ledger) Find(output, group string, more ...string) (string, error) {
	var found []string
	for name := range l.series {
		if OutputOf(name) == output && sameGroup(name, group, more) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("output %s of %s: found %d series %v of %v, want one", output, group, len(found), found, l.Series())
	}
	return found[0], nil
}

// First and Final return a series' value by window as published first and last.
func (l *Ledger) First(series string) Row {
	row := Row{}
	for end, all := range l.series[series] {
		row[end] = all[0].V
	}
	return row
}

// Final returns the value that was published last.
func (l *Ledger) Final(series string) Row {
	row := Row{}
	for end, all := range l.series[series] {
		row[end] = all[len(all)-1].V
	}
	return row
}

// Twice says which windows were published more than once, or "".
func (l *Ledger) Twice() string {
	var out strings.Builder
	for _, series := range l.Series() {
		windows := l.series[series]
		for _, end := range slices.Sorted(maps.Keys(windows)) {
			if len(windows[end]) > 1 {
				fmt.Fprintf(&out, "%s window %d: %+v\n", series, end/Second, windows[end])
			}
		}
	}
	return out.String()
}

// OutputOf returns the output that a series' name ends in, "" for none.
func OutputOf(series string) string {
	name := metricName(series)
	best := ""
	for _, o := range outputs {
		if strings.HasSuffix(name, "_"+o) && len(o) > len(best) {
			best = o
		}
	}
	return best
}

// outputs are the names of all outputs, as in configuration.
var outputs = []string{
	"avg", "count_samples", "count_series", "histogram_bucket", "increase", "increase_prometheus", "last", "max", "min",
	"quantiles", "rate_avg", "rate_sum", "stddev", "stdvar", "sum_samples", "sum_samples_total", "total",
	"total_prometheus", "unique_samples", "native_histogram", "sketch",
}

// A series' text is that of labels.Labels.String: {__name__="x", a="b"}.
func metricName(series string) string {
	_, rest, _ := strings.Cut(series, labels.MetricName+`="`)
	name, _, _ := strings.Cut(rest, `"`)
	return name
}

func sameGroup(series, group string, more []string) bool {
	got := pairs(series)
	got = slices.DeleteFunc(got, func(p string) bool { return strings.HasPrefix(p, labels.MetricName+"=") })
	want := append(pairs(group), more...)
	slices.SortFunc(want, cmp.Compare[string])
	slices.Sort(got)
	return slices.Equal(got, want)
}

func pairs(series string) []string {
	inner := strings.TrimSuffix(strings.TrimPrefix(series, "{"), "}")
	if inner == "" {
		return nil
	}
	return strings.Split(inner, ", ")
}
