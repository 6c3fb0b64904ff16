package engine

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

const imageRules = `
rules:
- {interval: 1m, without: [instance], outputs: [total, rate_sum, count_series], distribute: true}
- {interval: 30s, by: [job], match: '{path=~"[0-3]"}', outputs: [sum_samples, "quantiles(0.5)", unique_samples, histogram_bucket, stddev], distribute: false}
- {interval: 30s, by: [path], outputs: [native_histogram], match: '{path="x"}'}
- {interval: 2m, by: [path], dedup_interval: 20s, outputs: [increase, rate_avg], distribute: true}
`

// stirred is a rig with some of all that there is to be kept, in several chunks.
func stirred(t *testing.T) (r *rig, round func(sender uint64, seconds float64), all []Decision) {
	r = newRig(t, imageRules, func(o *Options) { o.Shards = 2 })
	r.e.Decide(at(0), []Decision{{Verb: Begin, Series: Series{ID: homeKey}}})
	var series []labels.Labels
	for i := range 3000 {
		series = append(series, labels.FromStrings("__name__", "c", "instance", fmt.Sprint(i), "job", fmt.Sprint(i%5), "path", fmt.Sprint(i%7)))
	}
	round = func(sender uint64, seconds float64) {
		b := r.e.Begin(sender)
		for i, ls := range series {
			v := counter(seconds) + float64(i)
			switch {
			case i%11 == int(seconds)/10%11:
				continue // gaps
			case i%101 == 1:
				v = math.Inf(1)
			case i%103 == 1 && seconds > 50:
				v = math.Float64frombits(value.StaleNaN)
			}
			b.Append(0, ls, 0, at(seconds), v)
		}
		b.AppendHistogram(0, labels.FromStrings("__name__", "h", "path", "x"), 0, at(seconds), nativeHistogram(seconds))
		b.Commit(at(seconds + 0.5))
	}
	round(1, 5)
	r.tick(7)
	for _, s := range r.e.shards {
		s.eachHead(func(id uint32) {
			x := Series{s.idOf(id), r.e.dense(s, id)}
			verb := []Verb{Mine, Mine, Follow, Offer}[len(all)%4]
			if verb == Offer {
				all = append(all, Decision{Verb: Follow, Series: x, Home: island, T: at(5)})
			}
			all = append(all, Decision{Verb: verb, Series: x, Home: island, T: at(5), V: 3})
		})
	}
	r.e.Decide(at(7), all)
	for i := range 8 {
		now := at(float64(15 + 10*i))
		r.e.Decide(now, []Decision{{Verb: Heard, Home: island, T: at(6), Due: now + 9000, Newest: now}})
		round(1, float64(15+10*i))
		round(2, float64(15+10*i))
		r.tick(float64(16 + 10*i))
	}
	round(2, 94) // set aside
	return r, round, all
}

// What changes while a shard is copied is in the copy as it was when that began,
// whatever it is that changes it; and what is written can be read.
func TestImageIsOfOneInstant(t *testing.T) {
	changes := map[string]func(r *rig, round func(uint64, float64), all []Decision){
		"nothing": func(*rig, func(uint64, float64), []Decision) {},
		"samples": func(_ *rig, round func(uint64, float64), _ []Decision) {
			for i := range 50 {
				round(1, 95+float64(i))
				round(2, 95+float64(i))
			}
			round(1, 305)
		},
		"replica": func(_ *rig, round func(uint64, float64), _ []Decision) { round(2, 100) },
		"decision": func(r *rig, _ func(uint64, float64), all []Decision) {
			for i := range all {
				all[i].Verb = Give
				if i%2 == 0 {
					all[i].Verb = Alone
				}
				all[i].T = at(300)
			}
			r.e.Decide(at(96), all)
		},
		"doubt": func(r *rig, round func(uint64, float64), _ []Decision) {
			r.e.Decide(at(96), []Decision{{Verb: Doubt}})
			round(1, 97)
		},
		"key": func(r *rig, round func(uint64, float64), _ []Decision) {
			r.e.Decide(at(96), []Decision{{Verb: Begin, Series: Series{ID: homeKey + 1}}})
			round(1, 97)
		},
		"new series": func(r *rig, _ func(uint64, float64), _ []Decision) {
			b := r.e.Begin(3)
			for i := range 5000 {
				b.Append(0, labels.FromStrings("__name__", "n", "instance", fmt.Sprint(i), "job", "j", "path", "x"), 0, at(96), 1)
			}
			b.Commit(at(96))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			r, round, all := stirred(t)
			var want [2][]byte
			for k, s := range r.e.shards {
				m := &image{}
				m.copy(s)
				want[k] = m.appendRest(m.appendRecords(nil))
				m.end(s)
				if has := []int{m.n - 2, len(m.heard), len(s.odd), s.holding, s.asides, s.gapCount(), s.away.n, len(s.away.offered), len(s.away.mixed)}; slices.Min(has) <= 0 {
					t.Fatalf("shard %d has too little to look at: %v", k, has)
				}
			}
			var images [2]image
			for k, s := range r.e.shards {
				images[k].begin(s)
			}
			change(r, round, all)
			out := bytes.NewBufferString(snapshotMagic)
			for k, s := range r.e.shards {
				m := &images[k]
				m.finish(s)
				if got := m.appendRest(m.appendRecords(nil)); !bytes.Equal(got, want[k]) {
					t.Errorf("shard %d: the copy differs from one that was made before the change", k)
				}
				if err := writeSection(out, sectionShard, m.append(nil, s)); err != nil {
					t.Fatal(err)
				}
				m.end(s)
				if len(s.chores) != 0 {
					t.Errorf("%d chores are left", len(s.chores))
				}
			}
			if err := writeSection(out, sectionRules, r.e.appendRules(nil)); err != nil {
				t.Fatal(err)
			}
			fresh := newRig(t, imageRules)
			if err := fresh.e.Restore(out); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// What a copy shares with the windows does not change them: they publish what those
// of an engine publish that was never copied.
func TestImageLeavesWindowsAlone(t *testing.T) {
	copied, alone := newRig(t, manyRules), newRig(t, manyRules)
	for step := range 60 {
		now := float64(step) * 10
		for _, r := range []*rig{copied, alone} {
			var images []*image
			for _, s := range r.e.shards {
				if m := (&image{}); r == copied {
					m.begin(s)
					images = append(images, m)
				}
			}
			for i := range 9 {
				r.send(now+float64(i)/10, point{ls: labels.FromStrings("__name__", "c", "instance", fmt.Sprint(i), "job", "j", "path", fmt.Sprint(i%4)), t: now - float64(i%3)*20, v: counter(now) + float64(i)})
			}
			for k, m := range images {
				m.finish(r.e.shards[k])
				m.append(nil, r.e.shards[k])
				m.end(r.e.shards[k])
			}
		}
	}
	copied.tick(1000)
	alone.tick(1000)
	compare(t, alone, copied)
	for g, windows := range alone.windows {
		for end, a := range windows {
			var texts [2]string
			for i, x := range []partial.Acc{a, copied.windows[g][end]} {
				texts[i] = fmt.Sprint(x.Quant, x.Unique, x.Buckets, x.Mean, x.M2)
			}
			if a.Quant != nil && a.Quant.Quantile(0.5) != copied.windows[g][end].Quant.Quantile(0.5) || a.Mean != copied.windows[g][end].Mean {
				t.Errorf("%s window %d: %s and %s", g, end, texts[0], texts[1])
			}
		}
	}
}
