package conform

import (
	"cmp"
	"math"
	"math/big"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// Params is what the truth depends on. Times are milliseconds.
type Params struct {
	Interval  int64    // of the windows
	MaxGap    int64    // a longer step is spread over time; 0 is Interval
	Staleness int64    // how long a source is known before new series are births; 0 is Interval
	Without   []string // labels that the group leaves out
	By        []string // if set: the only labels that the group keeps
	Replica   []string // labels that do not belong to a series' identity
	Source    []string // labels that name a source
	Others    Flight   // samples that other rules take: they make sources known
}

// Cell is the truth of one group and window.
type Cell struct {
	Increase, IncreaseProm *big.Float
	RateSum                float64 // per second
	Rates                  int     // series that have a rate
	Values                 []float64
	Last                   float64
	Series                 int
	lastT                  int64
}

// Truth holds cells by group (its labels as text, without the metric's name)
// and window end.
type Truth map[string]map[int64]*Cell

// precision in bits: 2^60 and thousandths add up without rounding.
const precision = 320

// Compute returns the truth of what one perfect observer saw: f holds every
// sample once per delivery, of the leading replica only, in any order.
//
// Per series the samples are sorted by time; a step of at most MaxGap belongs
// to the window of its later sample, a longer one is spread over the windows
// in proportion to time. It is slow and keeps everything, and shares nothing
// with the engine.
func Compute(p Params, f Flight) Truth {
	p.MaxGap, p.Staleness = cmp.Or(p.MaxGap, p.Interval), cmp.Or(p.Staleness, p.Interval)
	series := map[string][]Arrival{}
	known := map[string]int64{}
	for _, a := range f {
		id := labels.NewBuilder(a.Labels).Del(p.Replica...).Labels().String()
		series[id] = append(series[id], a)
	}
	for _, a := range slices.Concat(f, p.Others) {
		source := p.source(a)
		if first, ok := known[source]; !ok || a.T < first {
			known[source] = a.T
		}
	}
	truth := Truth{}
	for _, samples := range series {
		slices.SortStableFunc(samples, func(a, b Arrival) int { return cmp.Compare(a.T, b.T) })
		samples = slices.CompactFunc(samples, func(a, b Arrival) bool { return a.T == b.T })
		p.series(truth, samples, known)
	}
	return truth
}

func (p Params) source(a Arrival) string {
	return labels.NewBuilder(a.Labels).Keep(p.Source...).Labels().String()
}

func (p Params) group(a Arrival) string {
	if len(p.By) > 0 {
		return labels.NewBuilder(a.Labels).Keep(p.By...).Labels().String()
	}
	b := labels.NewBuilder(a.Labels).Del(p.Without...).Del(p.Replica...).Del(labels.MetricName)
	return b.Labels().String()
}

// End is the window that t belongs to.
func (p Params) End(t int64) int64 {
	return int64(math.Ceil(float64(t)/float64(p.Interval))) * p.Interval
}

// part is a piece of a step that lies in one window.
type part struct {
	end     int64
	amount  *big.Float
	covered int64
}

func (p Params) series(truth Truth, samples []Arrival, known map[string]int64) {
	var prev *Arrival
	type rate struct {
		amount  *big.Float
		covered int64
	}
	rates, seen := map[int64]*rate{}, map[int64]bool{}
	group := p.group(samples[0])
	for i := range samples {
		s := &samples[i]
		if value.IsStaleNaN(s.V) || math.IsNaN(s.V) {
			continue
		}
		cell := truth.cell(group, p.End(s.T))
		cell.Values = append(cell.Values, s.V)
		if s.T > cell.lastT || s.T == cell.lastT && s.V > cell.Last || len(cell.Values) == 1 {
			cell.Last, cell.lastT = s.V, s.T
		}
		if math.IsInf(s.V, 0) {
			continue // no value of a counter
		}
		if !seen[p.End(s.T)] {
			seen[p.End(s.T)] = true
			cell.Series++
		}
		for _, part := range p.step(prev, s, known[p.source(*s)]) {
			c := truth.cell(group, part.end)
			c.Increase.Add(c.Increase, part.amount)
			if prev == nil {
				continue
			}
			c.IncreaseProm.Add(c.IncreaseProm, part.amount)
			r := rates[part.end]
			if r == nil {
				r = &rate{amount: zero()}
				rates[part.end] = r
			}
			r.amount.Add(r.amount, part.amount)
			r.covered += part.covered
		}
		prev = s
	}
	for end, r := range rates {
		c := truth.cell(group, end)
		amount, _ := r.amount.Float64()
		c.RateSum += amount / float64(r.covered) * float64(Second)
		c.Rates++
	}
}

// step returns what s adds after prev (nil: nothing before it).
func (p Params) step(prev, s *Arrival, sourceSince int64) []part {
	switch {
	case prev == nil && s.ST != 0 && s.ST <= s.T:
		return p.spread(s.ST, s.T, big.NewFloat(s.V))
	case prev == nil && s.T-sourceSince >= p.Staleness:
		return []part{{end: p.End(s.T), amount: big.NewFloat(s.V)}}
	case prev == nil:
		return nil
	case s.ST != 0 && s.ST > prev.T && s.ST <= s.T:
		return p.spread(s.ST, s.T, big.NewFloat(s.V))
	case s.V < prev.V:
		return p.spread(prev.T, s.T, big.NewFloat(s.V))
	}
	delta := zero().Sub(big.NewFloat(s.V), big.NewFloat(prev.V))
	return p.spread(prev.T, s.T, delta)
}

func (p Params) spread(from, to int64, delta *big.Float) []part {
	if to-from <= p.MaxGap {
		return []part{{end: p.End(to), amount: delta, covered: to - from}}
	}
	var parts []part
	for at := from; at < to; {
		end := p.End(at + 1)
		upto := min(end, to)
		share := zero().Mul(delta, big.NewFloat(float64(upto-at)))
		share.Quo(share, big.NewFloat(float64(to-from)))
		parts = append(parts, part{end: end, amount: share, covered: upto - at})
		at = upto
	}
	return parts
}

func zero() *big.Float { return new(big.Float).SetPrec(precision) }

func (t Truth) cell(group string, end int64) *Cell {
	windows := t[group]
	if windows == nil {
		windows = map[int64]*Cell{}
		t[group] = windows
	}
	c := windows[end]
	if c == nil {
		c = &Cell{Increase: zero(), IncreaseProm: zero()}
		windows[end] = c
	}
	return c
}

// Increases returns the group's increase by window end.
func (t Truth) Increases(group string) Row {
	row := Row{}
	for end, c := range t[group] {
		row[end], _ = c.Increase.Float64()
	}
	return row
}

// Sum is the whole increase of a group.
func (t Truth) Sum(group string) float64 {
	sum := zero()
	for _, c := range t[group] {
		sum.Add(sum, c.Increase)
	}
	f, _ := sum.Float64()
	return f
}
