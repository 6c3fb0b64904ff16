package engine

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// A rule whose outputs change, while it runs or over a restart, goes on for those that
// were there; what is new is whole in each window that began after the change, and
// said to be missing in those that were under way.
func TestOutputsComeAndGo(t *testing.T) {
	const (
		few  = "- {interval: 1m, by: [job], late: correct, outputs: [total, count_samples]}\n"
		many = "- {interval: 1m, by: [job], late: correct, outputs: [total, count_samples, max, rate_sum, count_series, increase_prometheus]}\n"
	)
	change := map[string]func(*rig, string){
		"reload": func(r *rig, text string) {
			if err := r.e.Reload(loadRules(t, text)); err != nil {
				t.Fatal(err)
			}
		},
		"reload that samples come amidst": func(r *rig, text string) {
			r.e.turn.Lock()
			defer r.e.turn.Unlock()
			if err := r.e.goOver(loadRules(t, text)); err != nil {
				t.Fatal(err)
			}
			b := r.e.Begin(1)
			for i := range 6 {
				b.Append(0, labels.FromStrings("__name__", "c", "instance", string(rune('a'+i)), "job", string(rune('x'+i%2))), 0, r.now, math.NaN()) // counts for nothing
			}
			b.Commit(r.now)
			r.e.finishChores()
		},
		"restart": func(r *rig, text string) {
			var b bytes.Buffer
			if err := r.e.Snapshot(&b, nil); err != nil {
				t.Fatal(err)
			}
			r.restart(b.Bytes(), nil, text)
		},
	}
	for how, change := range change {
		t.Run(how, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, 2))
			before, after, changed := newRig(t, few), newRig(t, many), newRig(t, few)
			for step := range 90 {
				now := float64(step) * 10
				var points []point
				for i := range 6 {
					back := 0.0
					if rnd.IntN(6) == 0 {
						back = 70
					}
					ls := labels.FromStrings("__name__", "c", "instance", string(rune('a'+i)), "job", string(rune('x'+i%2)))
					points = append(points, point{ls: ls, t: now - back, v: counter(now-back) + float64(i)})
				}
				for _, r := range []*rig{before, after, changed} {
					r.send(now+0.5, points...)
				}
				switch step {
				case 33:
					change(changed, many)
				case 66:
					change(changed, few)
				}
			}
			for _, r := range []*rig{before, after, changed} {
				r.tick(1200)
			}
			compareOutputs(t, before, after, changed)
		})
	}
}

func compareOutputs(t *testing.T, before, after, changed *rig) {
	whole, under := 0, 0
	for g, windows := range before.windows {
		for end, a := range windows {
			b, c := changed.windows[g][end], after.windows[g][end]
			if a.Increase.Value() != b.Increase.Value() || a.Count != b.Count {
				t.Errorf("%s window %d is %v of %d samples, want %v of %d", g, end, b.Increase.Value(), b.Count, a.Increase.Value(), a.Count)
			}
			switch {
			case end > 300 && end <= 360:
				under++
				if b.Lacks != rule.NeedMinMax|rule.NeedRate|rule.NeedSeries|rule.NeedCounterProm {
					t.Errorf("%s window %d lacks %q: the rule began to need more while it was under way", g, end, b.Lacks)
				}
			case end > 360 && end <= 600:
				whole++
				if b.Lacks != 0 || b.Max != c.Max || b.Series != c.Series || b.IncreaseProm.Value() != c.IncreaseProm.Value() || math.Abs(b.Rate-c.Rate) > 1e-9 {
					t.Errorf("%s window %d is\n%+v, want\n%+v", g, end, b, c)
				}
			}
		}
	}
	if whole != 8 || under != 2 {
		t.Errorf("%d whole windows and %d under way are compared, want 8 and 2", whole, under)
	}
}

// Times that a rule changes hold from then on, as its state stays.
func TestReloadOfTimes(t *testing.T) {
	const text = "- {interval: 1m, by: [job], max_lag: 30s, outputs: [count_samples]}\n"
	r := newRig(t, "- {interval: 1m, by: [job], max_lag: 10m, outputs: [count_samples]}\n")
	other := labels.FromStrings("__name__", "c", "instance", "b", "job", "j")
	r.send(10, point{ls: series, t: 10, v: 1}, point{ls: other, t: 10, v: 1})
	if err := r.e.Reload(loadRules(t, text)); err != nil {
		t.Fatal(err)
	}
	r.send(70, point{ls: series, t: 70, v: 1}) // the other one is late
	r.tick(95)
	if n := r.count[`{__name__="c", job="j"}@60`]; n != 1 {
		t.Errorf("30 s after its end the window was published %d times, want once", n)
	}
}
