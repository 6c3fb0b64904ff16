package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// Rules of all kinds that the road tells apart; each test matches one kind of series.
const roadRules = `
rules:
- {name: sums, match: sums, interval: 1m, without: [instance], outputs: [total, increase_prometheus]}
- {name: counter, match: counter, interval: 1m, without: [instance], outputs: [increase]}
- {name: both, match: both, interval: 1m, without: [instance], outputs: [total, count_series, "quantiles(0.5)", last, stddev]}
- {name: gauge, match: gauge, interval: 1m, without: [instance], outputs: [avg, min]}
- {name: rate, match: rate, interval: 1m, without: [instance], outputs: [rate_sum]}
- {name: dedup, match: dedup, interval: 1m, without: [instance], outputs: [total], dedup_interval: 20s}
- {name: twice, match: twice, interval: 1m, without: [instance], outputs: [total]}
- {name: again, match: twice, interval: 30s, by: [job], outputs: [increase]}
- {name: short, match: short, interval: 1m, max_gap: 12s, without: [instance], outputs: [increase]}
- {name: correct, match: correct, interval: 1m, without: [instance], outputs: [increase], late: correct, max_lag: 20s}
- {name: early, match: early, interval: 1m, without: [instance], outputs: [increase], early: true}
`

var roadKinds = []string{"sums", "counter", "both", "gauge", "rate", "dedup", "twice", "short", "correct", "early"}

// roadSeries is a counter that is scraped more or less every step.
type roadSeries struct {
	ls   labels.Labels
	t    int64
	v    float64
	step int64
}

// next is mostly a usual sample.
func (x *roadSeries) next(rng *rand.Rand) (t int64, v float64) {
	switch p := rng.IntN(100); {
	case p < 70:
		x.t += x.step
	case p < 90: // about as far as still counts as a usual step, and over it
		x.t += x.step * int64(70+rng.IntN(90)) / 100
	case p < 93:
		x.t += x.step * int64(2+rng.IntN(9))
	case p < 96:
		return x.t - int64(rng.IntN(40_000)), x.v // late, or again
	case p < 97:
		return x.t + 20*60*1000, x.v // far ahead
	case p < 98:
		x.t++
	case p < 99:
		x.t += x.step
		x.v = 0 // a reset
	default:
		return x.t + x.step/2, []float64{math.NaN(), math.Inf(1), math.Float64frombits(value.StaleNaN)}[rng.IntN(3)]
	}
	x.v += rng.ExpFloat64() * math.Pow(10, float64(rng.IntN(9)))
	return x.t, x.v
}

// twin is two engines, of which one never takes the road.
type twin struct {
	t      *testing.T
	short  *Engine
	long   *Engine
	shorts []string
	longs  []string
}

func (w *twin) commit(now int64, sender uint64, points []item, series []*roadSeries) {
	w.t.Helper()
	for _, e := range []*Engine{w.short, w.long} {
		b := e.Begin(sender)
		for i, p := range points {
			b.Append(0, series[i].ls, 0, p.t, p.v)
		}
		for k := range b.parts {
			for i := range b.parts[k].items {
				if it := &b.parts[k].items[i]; e == w.long && it.ext == 0 {
					b.exts = append(b.exts, extra{}) // says nothing, but the road is for items without
					it.ext = uint32(len(b.exts))
				}
			}
		}
		b.Commit(now)
	}
}

func (w *twin) advance(now int64) {
	w.t.Helper()
	into := func(all *[]string) func(*partial.Window) error {
		return func(x *partial.Window) error {
			said := fmt.Sprintf("%s at %d, revision %d, open %v:", x.Rule.Name, x.End, x.Revision, x.Open)
			for _, row := range x.Rows {
				said += fmt.Sprintf("\n%s %x", row.Group, partial.AppendAcc(nil, x.Rule.Needs(), x.End, &row.Acc))
			}
			*all = append(*all, said)
			return nil
		}
	}
	if err := w.short.Advance(now, into(&w.shorts)); err != nil {
		w.t.Fatal(err)
	}
	if err := w.long.Advance(now, into(&w.longs)); err != nil {
		w.t.Fatal(err)
	}
}

// state is all that samples change.
func (s *shard) state() map[string]any {
	all := map[string]any{
		"records": *s.chunks.Load(), "odd": s.odd,
		"usual": s.usual, "counts": s.count, "now": s.now,
	}
	for slot, rw := range s.rules {
		if rw == nil {
			continue
		}
		for end, open := range rw.open {
			all[fmt.Sprintf("window %d of rule %d", end, slot)] = *open
		}
	}
	return all
}

func (w *twin) compare(when string) {
	w.t.Helper()
	slices.Sort(w.shorts) // windows of one Advance have no order
	slices.Sort(w.longs)
	if d := cmp.Diff(w.longs, w.shorts); d != "" {
		w.t.Fatalf("%s: the road publishes other windows (+):\n%s", when, d)
	}
	if a, b := w.short.src.all, w.long.src.all; !reflect.DeepEqual(a, b) {
		w.t.Fatalf("%s: sources differ:\nroad %+v\nlong %+v", when, a, b)
	}
	for k := range w.short.shards {
		a, b := w.short.shards[k].state(), w.long.shards[k].state()
		for what := range a {
			if !reflect.DeepEqual(a[what], b[what]) {
				w.t.Fatalf("%s, shard %d: %s differs:\nroad %+v\nlong %+v", when, k, what, a[what], b[what])
			}
		}
		if len(a) != len(b) {
			w.t.Fatalf("%s, shard %d: %d windows are open, without the road %d", when, k, len(a), len(b))
		}
	}
}

// Whatever comes, the short way leaves what the long one does.
func TestRoadIsTheLongWay(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := &twin{t: t, short: newRig(t, roadRules).e, long: newRig(t, roadRules).e}
		var fleet []*roadSeries
		for i := range 40 {
			fleet = append(fleet, &roadSeries{
				ls:   labels.FromStrings("__name__", roadKinds[i%len(roadKinds)], "instance", fmt.Sprint(i/8), "job", "j"),
				t:    origin + rng.Int64N(10_000),
				step: []int64{5_000, 10_000, 15_000}[rng.IntN(3)],
			})
		}
		now := origin
		for round := range 60 {
			now += 5_000
			w.advance(now)
			var points []item
			var series []*roadSeries
			for _, x := range fleet {
				for x.t+x.step <= now {
					at, v := x.next(rng)
					points, series = append(points, item{t: at, v: v}), append(series, x)
				}
			}
			sender := uint64(1)
			if rng.IntN(20) == 0 {
				sender = 2 // a replica
			}
			w.commit(now, sender, points, series)
			if round%6 == 5 {
				w.compare(fmt.Sprintf("seed %d, round %d", seed, round))
			}
		}
		w.advance(now + 120_000)
		w.compare(fmt.Sprintf("seed %d, at the end", seed))
	}
}

// The road is there for usual samples of a counter, and only of one rule.
func TestRoadIsTaken(t *testing.T) {
	for kind, want := range map[string]bool{"sums": true, "counter": true, "both": true, "short": true, "correct": true, "early": true, "gauge": true, "rate": false, "dedup": false, "twice": false} {
		e := newRig(t, roadRules).e
		ls := labels.FromStrings("__name__", kind, "instance", "a", "job", "j")
		var ref Ref
		for n := range int64(3) {
			b := e.Begin(1)
			ref, _ = b.Append(ref, ls, 0, origin+10_000*(n+1), float64(n))
			b.Commit(origin + 10_000*(n+1))
		}
		s, id := e.locate(ref.Index())
		r := s.at(id)
		it := item{v: 5, t: origin + 40_000, id: id, gen: r.gen(), rep: r.leader()}
		var d road
		if got := d.take(s, r, &it); got != want {
			t.Errorf("a usual sample of %s: taken %v, want %v", kind, got, want)
		}
		if taken := r.t == it.t; taken != want {
			t.Errorf("a usual sample of %s: its record has it: %v, want %v", kind, taken, want)
		}
	}
}
