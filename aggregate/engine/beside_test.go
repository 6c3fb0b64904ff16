package engine

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

const besideRules = `
rules:
- {name: early, match: c, interval: 1m, by: [job], outputs: [total, increase_prometheus], early: true}
- {name: correct, match: d, interval: 30s, by: [job], outputs: [increase], late: correct, max_lag: 20s}
- {name: carry, match: e, interval: 30s, by: [job], outputs: [total], max_lag: 20s}
`

// What batches count side by side is published as if they had come one after the
// other, also where a checkpoint is made and read in between.
func TestSumsBesideAddUp(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		alone, paired := newRig(t, besideRules), newRig(t, besideRules)
		values := [6]float64{}
		besides := 0
		for step := range 80 {
			now := float64(step) * 5
			var points []point
			for i := range values {
				if rnd.IntN(12) == 0 { // lost
					continue
				}
				values[i] += float64(rnd.IntN(1000))
				ls := labels.FromStrings("__name__", string(rune('c'+i%3)), "instance", string(rune('a'+i)), "job", "j")
				points = append(points, point{ls: ls, t: now, v: values[i]})
			}
			points[0].t -= float64(rnd.IntN(20) / 19 * 60)
			alone.send(now+0.5, points...)
			if rnd.IntN(2) == 0 {
				first := paired.e.Begin(2)
				paired.send(now+0.5, points...)
				first.Rollback()
			} else {
				paired.send(now+0.5, points...)
			}
			besides += paired.beside()
			if rnd.IntN(12) == 0 {
				var saved bytes.Buffer
				if err := paired.e.Snapshot(&saved, nil); err != nil {
					t.Fatal(err)
				}
				paired.restart(saved.Bytes(), nil, besideRules)
			}
		}
		for _, r := range []*rig{alone, paired} {
			r.tick(600)
		}
		if besides == 0 {
			t.Fatalf("seed %d: nothing was counted beside", seed)
		}
		if !maps.Equal(alone.totals, paired.totals) || !maps.Equal(alone.prom, paired.prom) {
			t.Errorf("seed %d: totals are %v and %v, want %v and %v", seed, paired.totals, paired.prom, alone.totals, alone.prom)
		}
		if !reflect.DeepEqual(alone.windows, paired.windows) {
			t.Errorf("seed %d: windows are\n%v\nwant\n%v", seed, paired.windows, alone.windows)
		}
	}
}

// beside is how many columns hold something beside.
func (r *rig) beside() (n int) {
	for _, s := range r.e.shards {
		for _, rw := range s.rules {
			if rw == nil {
				continue
			}
			for _, w := range rw.open {
				for _, c := range w.cols {
					if c != nil && c.beside != nil {
						c.beside.each(func(int) { n++ })
					}
				}
			}
		}
	}
	return n
}
