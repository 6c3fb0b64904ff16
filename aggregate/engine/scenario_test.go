package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
)

const steady = "5000 6000 6000 6000 6000 6000 6000 6000 6000 6000"

// delivery is when a sample arrives.
type delivery struct {
	now float64
	p   point
}

func regular() (ds []delivery) {
	for t := 5.0; t < 600; t += 10 {
		ds = append(ds, delivery{t + 0.1, scrape(t)})
	}
	return ds
}

func play(r *rig, ds []delivery) {
	slices.SortStableFunc(ds, func(a, b delivery) int {
		switch {
		case a.now < b.now:
			return -1
		case a.now > b.now:
			return 1
		}
		return 0
	})
	r.tick(0)
	for _, d := range ds {
		r.send(d.now, d.p)
	}
	r.tick(960)
}

func between(t, from, to float64) bool { return t >= from && t <= to }

func TestScenarios(t *testing.T) {
	gap := func(ds []delivery, move func(i int, d delivery) (float64, bool)) (out []delivery) {
		n := 0
		for _, d := range ds {
			if !between(d.p.t, 185, 295) {
				out = append(out, d)
				continue
			}
			if now, ok := move(n, d); ok {
				out = append(out, delivery{now, d.p})
			}
			n++
		}
		return out
	}
	reset := func(ds []delivery) (out []delivery) {
		for _, d := range ds {
			if d.p.t >= 240 {
				d.p.v = 100 * (d.p.t - 240)
			}
			out = append(out, d)
		}
		return out
	}
	lost := func(int, delivery) (float64, bool) { return 0, false }
	for _, c := range []struct {
		name string
		ds   []delivery
		want string
	}{
		{"steady", regular(), steady},
		{"collection gap", gap(regular(), lost), "5000 6000 6500 6000 6000 5500 6000 6000 6000 6000"},
		{"delivery gap", gap(regular(), func(n int, _ delivery) (float64, bool) { return 300.5, true }), steady},
		{"live first", gap(regular(), func(n int, _ delivery) (float64, bool) { return 350.5 + float64(n)/1000, true }), steady},
		{"newest first", gap(regular(), func(n int, _ delivery) (float64, bool) { return 350.5 - float64(n)/1000, true }), steady},
		{"reset in a gap", gap(reset(regular()), lost), "5000 6000 6250 3000 3000 5250 6000 6000 6000 6000"},
		{"reset in a delivery gap", gap(reset(regular()), func(n int, _ delivery) (float64, bool) { return 300.5, true }), "5000 6000 6000 6000 5500 6000 6000 6000 6000 6000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, corrected)
			play(r, c.ds)
			r.want("increase", r.row(groupA, 60, 600, 60, increase), c.want)
			carry := newRig(t, total)
			play(carry, c.ds)
			if got := carry.totals[groupA]; got != r.totals[groupA] {
				t.Errorf("total with late: carry is %v, with correct %v", got, r.totals[groupA])
			}
			for k, n := range carry.count {
				if n != 1 {
					t.Errorf("%s was published %d times with late: carry", k, n)
				}
			}
		})
	}
}

func TestLateByConstantLag(t *testing.T) {
	for _, lag := range []float64{8, 70, 200, 1500} {
		r := newRig(t, total)
		var ds []delivery
		for _, d := range regular() {
			ds = append(ds, delivery{d.now + lag, d.p})
		}
		play(r, ds)
		r.tick(960 + lag)
		r.want("increase", r.row(groupA, 60, 600, 60, increase), steady)
		for k, n := range r.count {
			if n != 1 {
				t.Errorf("lag %v: %s was published %d times", lag, k, n)
			}
		}
	}
}

func TestOldBacklog(t *testing.T) {
	r := newRig(t, total)
	other := point{ls: labelsWith("instance", "b")}
	var ds []delivery
	ds = append(ds, regular()...)
	for at := -1795.0; at < 600; at += 10 {
		p := other
		p.t, p.v = at, counter(at)
		ds = append(ds, delivery{max(300.5, at+0.1), p})
	}
	play(r, ds)
	r.want("before", r.row(groupA, -1740, 0, 60, increase), "5000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000 6000")
	if got, want := r.totals[groupA], 59000+59000+180000.0; got != want {
		t.Errorf("total %v, want %v", got, want)
	}
}

// Any order and split of the deliveries leads to the same final windows.
func TestOrderDoesNotMatter(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var ds []delivery
		for i := range 4 {
			ls := labelsWith("instance", string(rune('a'+i)))
			v, jump := 1000.0*float64(i), 37+rnd.Float64()
			for at := 5.0; at < 600; at += 10 {
				v += jump
				if rnd.IntN(40) == 0 {
					v = 3 // a reset
				}
				ds = append(ds, delivery{at + 0.1, point{ls: ls, t: at + float64(i), v: float64(int(v))}})
			}
		}
		straight := newRig(t, corrected)
		play(straight, ds)
		var mixed []delivery
		for _, d := range ds {
			late := 0.0
			if d.p.t > 35 && rnd.IntN(3) == 0 {
				late = rnd.Float64() * 300
			}
			mixed = append(mixed, delivery{d.now + late, d.p})
		}
		bent := newRig(t, corrected)
		play(bent, mixed)
		// The pace of a series is learnt from its first samples; those come in order.
		if lost := bent.dropped(dropDuplicate); lost != 0 {
			t.Errorf("seed %d: %d samples were lost", seed, lost)
		}
		bent.want("increase", bent.row(groupA, 60, 600, 60, increase), straight.row(groupA, 60, 600, 60, increase))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
