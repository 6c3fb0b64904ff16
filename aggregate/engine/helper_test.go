package engine

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// origin is a whole number of hours, so that windows of all intervals begin there.
const origin = int64(1_700_000_000/3600*3600) * 1000

// rig plays samples to an engine and keeps what it publishes. Times are seconds
// from origin.
type rig struct {
	t       testing.TB
	e       *Engine
	now     int64
	windows map[string]map[int64]partial.Acc // group → end in seconds
	totals  map[string]float64               // increase and carry, of the newest revisions
	prom    map[string]float64
	count   map[string]int // publications by group and end
}

func loadRules(t testing.TB, text string) *rule.Set {
	t.Helper()
	set, err := rule.Load("rules.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func newRig(t testing.TB, text string, change ...func(*Options)) *rig {
	t.Helper()
	o := Options{Rules: loadRules(t, text), Shards: 4, Seed: 7}
	for _, c := range change {
		c(&o)
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return rigOf(t, e)
}

func rigOf(t testing.TB, e *Engine) *rig {
	return &rig{t: t, e: e, windows: map[string]map[int64]partial.Acc{}, totals: map[string]float64{}, prom: map[string]float64{}, count: map[string]int{}}
}

func at(seconds float64) int64 { return origin + int64(math.Round(seconds*1000)) }

// point is one sample of a delivery.
type point struct {
	ls     labels.Labels
	st, t  float64
	v      float64
	sender uint64
}

func (r *rig) send(now float64, points ...point) {
	r.t.Helper()
	r.tick(now)
	b := r.e.Begin(1)
	for _, p := range points {
		if p.sender != 0 && b.sender != p.sender {
			b.Commit(at(now))
			b = r.e.Begin(p.sender)
		}
		st := int64(0)
		if p.st != 0 {
			st = at(p.st)
		}
		b.Append(0, p.ls, st, at(p.t), p.v)
	}
	b.Commit(at(now))
}

// tick advances second by second.
func (r *rig) tick(now float64) {
	r.t.Helper()
	until := at(now)
	if r.now == 0 {
		r.now = until
	}
	for r.now+1000 <= until {
		r.now += 1000
		if err := r.e.Advance(r.now, r.take); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) take(w *partial.Window) error {
	end := (w.End - origin) / 1000
	for _, row := range w.Rows {
		g := row.Group.String()
		if r.windows[g] == nil {
			r.windows[g] = map[int64]partial.Acc{}
		}
		old := r.windows[g][end]
		r.totals[g] += row.Acc.Increase.Value() - old.Increase.Value() + row.Acc.Carry.Value()
		r.prom[g] += row.Acc.IncreaseProm.Value() - old.IncreaseProm.Value() + row.Acc.CarryProm.Value()
		r.windows[g][end] = row.Acc
		r.count[fmt.Sprintf("%s@%d", g, end)]++
	}
	return nil
}

// row formats a value of a group's windows from first to last, "-" where there is none.
func (r *rig) row(group string, first, last, step int64, f func(partial.Acc) float64) string {
	r.t.Helper()
	w, ok := r.windows[group]
	if !ok {
		r.t.Fatalf("no group %s, have %v", group, slices.Sorted(maps.Keys(r.windows)))
	}
	var out []string
	for end := first; end <= last; end += step {
		if a, ok := w[end]; ok {
			out = append(out, fmt.Sprintf("%.10g", f(a)))
		} else {
			out = append(out, "-")
		}
	}
	return strings.Join(out, " ")
}

func increase(a partial.Acc) float64 { return a.Increase.Value() }

func (r *rig) want(name, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s:\n got %s\nwant %s", name, got, want)
	}
}

func (r *rig) dropped(reason dropReason) (n uint64) {
	for _, s := range r.e.shards {
		n += s.count.dropped[reason]
	}
	return n
}

var series = labels.FromStrings("__name__", "c", "instance", "a", "job", "j", "path", "x")

const groupA = `{__name__="c", job="j", path="x"}`

// counter is the scenario's: 1,000,000 + 100 a second, scraped every 10 s from 5.
func counter(t float64) float64 { return 1_000_000 + 100*t }

func scrape(t float64) point { return point{ls: series, t: t, v: counter(t)} }

const total = "- interval: 1m\n  without: [instance]\n  outputs: [total]\n"
const corrected = "rules:\n- interval: 1m\n  without: [instance]\n  outputs: [total]\n  late: correct\n"

func labelsWith(name, value string) labels.Labels {
	return labels.NewBuilder(series).Set(name, value).Labels()
}
