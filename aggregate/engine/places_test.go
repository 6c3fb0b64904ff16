package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// Places find what was put and not removed, whatever tags it shares.
func TestPlaces(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var prints []uint64 // by place
	x := newPlaces(2, func(val uint32) uint64 { return prints[val] })
	have := map[fingerprint]uint32{}
	look := func(when string) {
		t.Helper()
		for f, want := range have {
			if got, ok := x.find(x.part(f.Hi, 0).Load(), printOf(f.Lo)); !ok || got != want {
				t.Fatalf("%s: %d, %v; want place %d of %d", when, got, ok, want, len(have))
			}
		}
		for range 1000 {
			if p := x.parts[rng.IntN(2)].Load(); p != nil {
				if got, ok := x.find(p, printOf(rng.Uint64()&^0xf8)); ok {
					t.Fatalf("%s: place %d of what was never put", when, got)
				}
			}
		}
	}
	for round := range 6 {
		for range 3000 {
			f := fingerprint{Hi: rng.Uint64(), Lo: rng.Uint64() &^ 0xf8} // eight tags
			have[f] = uint32(len(prints))
			prints = append(prints, printOf(f.Lo))
			x.put(f, 0, have[f])
		}
		look(fmt.Sprintf("round %d", round))
		full := x.bytes()
		gone := map[uint32]bool{}
		for f, val := range have {
			if rng.IntN(10) < 8 {
				gone[val] = true
				delete(have, f)
			}
		}
		for part := range x.parts {
			for from := x.prune(part, 0, func(val uint32) bool { return !gone[val] }); from != 0; {
				from = x.prune(part, from, func(val uint32) bool { return !gone[val] })
			}
		}
		look(fmt.Sprintf("round %d, pruned", round))
		if n := x.bytes(); n > full/2 {
			t.Errorf("round %d: %d bytes after four fifths were removed, %d before", round, n, full)
		}
	}
}

// Whatever the order in which series come, and under whatever labels, each sample goes
// to its own.
func TestOrderOfSeries(t *testing.T) {
	const n = 3000
	text := "replica_labels: [replica]\nrules:\n- {interval: 1m, without: [x], outputs: [total], keep_input: false}\n" +
		"- {match: '{x=~\".*3\"}', interval: 1m, without: [x], outputs: [sum_samples], keep_input: false}\n"
	raws := map[string][][]byte{}
	for _, replica := range []string{"", "a"} {
		for i := range n {
			ls := labels.FromStrings("__name__", "c", "job", fmt.Sprint(i), "replica", replica, "x", fmt.Sprint(i%10))
			raws[replica] = append(raws[replica], appendLabels(nil, ls, nil))
		}
	}
	rng := rand.New(rand.NewPCG(2, 2))
	r := newRig(t, text, func(o *Options) { o.Shards = 2 })
	scratch := labels.NewScratchBuilder(8)
	now, sent := origin, 0.0
	for round := range 12 {
		now += 4_000
		sent++
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		switch round % 4 {
		case 1:
			rng.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
		case 2:
			slices.Reverse(order)
		case 3: // some are missing, some come twice
			order = slices.DeleteFunc(order, func(i int) bool { return i%7 == 3 })
			order = append(order, order[:100]...)
		}
		replica := []string{"", "a"}[round/4%2]
		var all []Raw
		for _, i := range order {
			all = append(all, Raw{Labels: raws[replica][i], T: now, V: sent * float64(i)})
		}
		b := r.e.Begin(1)
		left := b.AppendRaws(all)
		if known := round%4 != 0 || round > 7; known && left > 0 {
			t.Errorf("round %d: %d series are not known", round, left)
		}
		for i := range all {
			if all[i].Taken {
				continue
			}
			ls, err := parseLabels(all[i].Labels, &scratch)
			if err != nil {
				t.Fatal(err)
			}
			b.Learn(all[i].Labels, ls)
			if !b.AppendRaw(all[i].Labels, 0, all[i].T, all[i].V) {
				t.Fatalf("round %d: a series is not taken that was learnt", round)
			}
		}
		b.Commit(now)
		if got, want := r.check(t, now, sent), len(order)-100*(round%4/3); got != want {
			t.Fatalf("round %d: %d series have a sample of it, want %d", round, got, want)
		}
	}
	if err := r.e.Advance(now+300_000, func(*partial.Window) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// Series are found while others come and go next to them.
func TestFindingWhileLearning(t *testing.T) {
	const n = 500
	r := newRig(t, "rules:\n- {interval: 1m, without: [x], outputs: [total], keep_input: false, max_age: 1m, max_lag: 1s, staleness_interval: 1m, forget_after: 1m}\n",
		func(o *Options) { o.Shards = 1 })
	learn := func(b *Batch, name string, now int64) {
		ls := labels.FromStrings("__name__", "c", "job", name)
		raw := appendLabels(nil, ls, nil)
		b.Learn(raw, ls)
		if !b.AppendRaw(raw, 0, now, 1) {
			t.Errorf("%s is not taken though it was learnt", name)
		}
	}
	known := func(now int64) {
		b := r.e.Begin(1)
		var all []Raw
		for i := range n {
			all = append(all, Raw{Labels: appendLabels(nil, labels.FromStrings("__name__", "c", "job", fmt.Sprint(i)), nil), T: now, V: float64(i)})
		}
		if left := b.AppendRaws(all); left > 0 {
			t.Errorf("%d known series are not found", left)
		}
		b.Commit(now)
	}
	others := func(now int64) {
		b := r.e.Begin(1)
		for i := range n / 2 {
			learn(b, fmt.Sprintf("x%d-%d", i, now), now)
		}
		b.Commit(now)
		if err := r.e.Advance(now, func(*partial.Window) error { return nil }); err != nil {
			t.Error(err)
		}
	}
	b := r.e.Begin(1)
	for i := range n {
		learn(b, fmt.Sprint(i), origin)
	}
	b.Commit(origin)
	for now := origin + 1000; now < origin+200_000; now += 5000 {
		var both sync.WaitGroup
		both.Go(func() { known(now) })
		both.Go(func() { others(now) })
		both.Wait()
	}
	for _, s := range r.e.shards {
		s.eachHead(func(id uint32) {
			x := s.at(id)
			group, _ := s.rules[x.slot()].rs.groups.get(x.ordinal())
			if job := group.Get("job"); job[0] != 'x' && fmt.Sprint(x.v) != job {
				t.Errorf("series %s has %v", job, x.v)
			}
		})
	}
}

// check compares the samples at now with what their series were sent, and counts them.
func (r *rig) check(t *testing.T, now int64, sent float64) (n int) {
	t.Helper()
	for _, s := range r.e.shards {
		s.eachHead(func(id uint32) {
			x := s.at(id)
			at, v := x.t, x.v
			if list := s.asideOf(id); len(list) > 0 && at != now {
				at, v = list[len(list)-1].t, list[len(list)-1].v
			}
			if at != now {
				return
			}
			n++
			if want := sent * r.number(t, s, x); v != want {
				t.Fatalf("series %d of shard %d has %v, want %v", id, s.number, v, want)
			}
		})
	}
	return n
}

// number is that of the series, which is its group's job.
func (r *rig) number(t *testing.T, s *shard, x record) (n float64) {
	t.Helper()
	group, _ := s.rules[x.slot()].rs.groups.get(x.ordinal())
	if _, err := fmt.Sscan(group.Get("job"), &n); err != nil {
		t.Fatal(err)
	}
	return n
}
