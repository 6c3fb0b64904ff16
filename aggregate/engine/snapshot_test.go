package engine

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// tape is a journal in memory.
type tape struct{ frames [][]byte }

func (j *tape) Append(frame []byte) error {
	j.frames = append(j.frames, slices.Clone(frame))
	return nil
}

const manyRules = `
rules:
- interval: 1m
  without: [instance]
  outputs: [total, rate_sum, count_series]
- interval: 30s
  by: [job]
  late: correct
  outputs: [sum_samples, count_samples, "quantiles(0.5)", unique_samples, max, last, histogram_bucket, increase_prometheus, stddev]
- interval: 2m
  by: [path]
  dedup_interval: 20s
  outputs: [increase, rate_avg]
`

// A node that is killed at any instant and comes back from its last snapshot and
// its journal publishes what one that never stopped publishes.
func TestRestartsChangeNothing(t *testing.T) {
	for seed := range uint64(25) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		j := &tape{}
		journalled := func(o *Options) { o.Journal = j }
		straight, torn := newRig(t, manyRules), newRig(t, manyRules, journalled)
		var saved []byte
		from := 0
		for step := range 70 {
			now := float64(step) * 10
			var points []point
			for i := range 6 {
				if step < i*5 || rnd.IntN(8) == 0 { // born later; lost or late
					continue
				}
				ls := labels.FromStrings("__name__", "c", "instance", string(rune('a'+i%3)), "job", "j", "path", string(rune('x'+i%2)), "n", string(rune('0'+i)))
				back := 0.0
				if rnd.IntN(6) == 0 {
					back = 40
				}
				points = append(points, point{ls: ls, t: now - back, v: counter(now-back) + float64(i)})
			}
			straight.send(now+0.5, points...)
			torn.send(now+0.5, points...)
			if rnd.IntN(9) == 0 {
				var b bytes.Buffer
				if err := torn.e.Snapshot(&b, func() error { from = len(j.frames); return nil }); err != nil {
					t.Fatal(err)
				}
				saved = b.Bytes()
			}
			if rnd.IntN(9) == 0 {
				torn.restart(saved, j.frames[from:], manyRules, journalled)
			}
		}
		straight.tick(1200)
		torn.tick(1200)
		compare(t, straight, torn)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (r *rig) restart(saved []byte, frames [][]byte, text string, change ...func(*Options)) {
	r.t.Helper()
	fresh := newRig(r.t, text, append(change, func(o *Options) { o.Seed = 99 })...)
	if saved != nil {
		in := bytes.NewReader(append(slices.Clone(saved), "more"...))
		if err := fresh.e.Restore(in); err != nil {
			r.t.Fatal(err)
		}
		if rest, _ := io.ReadAll(in); string(rest) != "more" {
			r.t.Fatalf("Restore left %q", rest)
		}
	}
	for _, f := range frames {
		if err := fresh.e.ReplayFrame(f, func(*partial.Window) error { return nil }); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, s := range fresh.e.shards {
		if len(s.chores) != 0 || s.imaging != nil {
			r.t.Errorf("%d chores are left", len(s.chores))
		}
	}
	r.e = fresh.e
}

func compare(t *testing.T, want, got *rig) {
	t.Helper()
	if len(want.windows) < 4 {
		t.Fatalf("%d groups, want more to compare", len(want.windows))
	}
	for g, windows := range want.windows {
		for end, a := range windows {
			b, ok := got.windows[g][end]
			if !ok {
				t.Errorf("%s window %d is missing", g, end)
				continue
			}
			for _, v := range []struct {
				name string
				a, b float64
			}{
				{"increase", a.Increase.Value(), b.Increase.Value()}, {"prom", a.IncreaseProm.Value(), b.IncreaseProm.Value()},
				{"rate", a.Rate, b.Rate}, {"sum", a.Sum.Value(), b.Sum.Value()}, {"count", float64(a.Count), float64(b.Count)},
				{"series", float64(a.Series), float64(b.Series)}, {"max", a.Max, b.Max}, {"last", a.Last, b.Last},
			} {
				if d := v.a - v.b; d > 1e-6 || d < -1e-6 {
					t.Errorf("%s window %d: %s is %v, want %v", g, end, v.name, v.b, v.a)
				}
			}
			if (a.Unique == nil) != (b.Unique == nil) || a.Unique != nil && a.Unique.Estimate() != b.Unique.Estimate() {
				t.Errorf("%s window %d: unique differs", g, end)
			}
		}
	}
	for g, v := range want.totals {
		if d := v - got.totals[g]; d > 1e-6 || d < -1e-6 {
			t.Errorf("%s: total is %v, want %v", g, got.totals[g], v)
		}
	}
}

func TestRestoreUnderOtherRules(t *testing.T) {
	r := newRig(t, manyRules)
	for step := range 20 {
		r.send(float64(step*10)+0.5, point{ls: series, t: float64(step * 10), v: counter(float64(step * 10))})
	}
	var b bytes.Buffer
	if err := r.e.Snapshot(&b, nil); err != nil {
		t.Fatal(err)
	}
	const fewer = "rules:\n- interval: 1m\n  without: [instance]\n  outputs: [total, rate_sum, count_series]\n- interval: 1m\n  outputs: [count_samples]\n"
	r.restart(b.Bytes(), nil, fewer)
	for step := 20; step < 40; step++ {
		r.send(float64(step*10)+0.5, point{ls: series, t: float64(step * 10), v: counter(float64(step * 10))})
	}
	r.tick(600)
	r.want("increase", r.row(groupA, 60, 360, 60, increase), "6000 6000 6000 6000 6000 6000")
	r.want("new rule", r.row(series.String(), 240, 360, 60, func(a partial.Acc) float64 { return float64(a.Count) }), "5 6 6")
}

func FuzzRestore(f *testing.F) {
	r := newRig(f, manyRules)
	for step := range 30 {
		now := float64(step) * 10
		r.send(now+0.5, point{ls: series, t: now, v: counter(now)}, point{ls: labelsWith("instance", "b"), t: now - float64(step%3)*30, v: 1})
	}
	r.decide(301, Decision{Verb: Begin, Series: Series{ID: homeKey}})
	r.send(311, scrape(310))
	r.decide(312, Decision{Verb: Follow, Series: of(f, r.e, series), Home: island, There: 1, T: at(312)})
	r.send(321, scrape(320))
	var b bytes.Buffer
	if err := r.e.Snapshot(&b, nil); err != nil {
		f.Fatal(err)
	}
	shards, rules, err := readSections(bytes.NewReader(b.Bytes()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rules, shards[0], shards[1], shards[2], shards[3])
	set := loadRules(f, manyRules)
	f.Fuzz(func(t *testing.T, rules, a, b, c, d []byte) {
		var out bytes.Buffer
		out.WriteString(snapshotMagic)
		for _, p := range [][]byte{a, b, c, d} {
			_ = writeSection(&out, sectionShard, p)
		}
		_ = writeSection(&out, sectionRules, rules)
		tryState(t, set, out.Bytes(), nil)
	})
}

// tryState restores or replays foreign bytes and uses the engine after it.
func tryState(t *testing.T, set *rule.Set, snapshot, frame []byte) {
	e, err := New(Options{Rules: set, Shards: 4, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	emit := func(*partial.Window) error { return nil }
	if snapshot != nil {
		_ = e.Restore(bytes.NewReader(snapshot))
	}
	if frame != nil {
		_ = e.ReplayFrame(frame, emit)
	}
	now := max(at(1000), min(e.newest.Load(), at(1e6)))
	for i := range int64(3) {
		b := e.Begin(1)
		b.Append(0, series, 0, now+i*10_000, float64(i))
		b.Append(0, labelsWith("instance", "b"), 0, now+i*10_000-70_000, 5)
		b.Commit(now + i*10_000)
		if err := e.Advance(now+i*100_000, emit); err != nil {
			t.Fatal(err)
		}
	}
	e.sweepAll(e.rules.Load(), now+1e9)
	if err := e.Snapshot(io.Discard, nil); err != nil {
		t.Fatal(err)
	}
}

func FuzzReplayFrame(f *testing.F) {
	j := &tape{}
	r := newRig(f, manyRules, func(o *Options) { o.Journal = j })
	for step := range 12 {
		now := float64(step) * 10
		r.send(now+0.5, point{ls: series, t: now, v: counter(now), st: 1})
	}
	r.tick(300)
	homes := begun(f, manyRules, func(o *Options) { o.Journal = j })
	for step := range storyEnd {
		story(f, homes, step)
	}
	for _, frame := range j.frames {
		f.Add(frame)
	}
	set := loadRules(f, manyRules)
	f.Fuzz(func(t *testing.T, frame []byte) { tryState(t, set, nil, frame) })
}
