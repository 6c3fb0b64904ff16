package home

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/atoll-mesh/atoll/aggregate/conform"
)

// schedule is what happens to a world, and what that may cost.
type schedule struct {
	flight conform.Flight
	events []event
	want   float64 // growth of all series
	// lost and more are how far the totals may be below and above.
	lost, more float64
}

const (
	series      = 9
	perSecond   = 100.0
	oneStep     = 10 * perSecond
	betweenHA   = 3 * perSecond // replicas scrape 3 s apart
	scheduleEnd = 595 * second
)

// newSchedule draws one: three series stay, three move now and then, three come from
// two replicas; islands die, are cut off, and lose messages.
func newSchedule(w *world, seed uint64) schedule {
	r := rand.New(rand.NewPCG(seed, 21))
	var s schedule
	for k := range series {
		ls := conform.Pod(fmt.Sprint("i", r.IntN(5)), "pod", fmt.Sprint(k))
		first := 1 + r.Int64N(9*second)
		f := conform.Scrape(ls, first, scheduleEnd, 10*second, conform.Linear(1_000_000, perSecond))
		at := r.IntN(3)
		var moves []int64
		switch {
		case k < 3:
			f = f.To(at)
		case k < 6:
			moves = []int64{65*second + r.Int64N(200*second), 300*second + r.Int64N(200*second)}
			f = f.Map(func(a *conform.Arrival) {
				a.Node = at
				for i, m := range moves {
					if a.T >= m {
						a.Node = (at + 1 + i) % 3
					}
				}
			})
		default:
			other := f.Map(func(a *conform.Arrival) {
				a.T += 3 * second
				a.At += 3 * second
				a.V += betweenHA
			})
			f = conform.Join(f.Label("replica", "a").To(at), other.Label("replica", "b").To((at+1)%3).From(2))
		}
		s.flight = append(s.flight, f...)
		w.note("pod %d: at %d, first %d, moves %v, wants %v", k, at, first, moves, perSecond*float64((scheduleEnd-first)/(10*second)*10))
		s.want += perSecond * float64((scheduleEnd-first)/(10*second)*10)
	}
	s.more += 3 * betweenHA // the last sample may be of the other replica
	s.lost += 3 * betweenHA // or the first
	for at := 70 * second; at < 420*second; at += 60*second + r.Int64N(60*second) {
		s.add(w, r, at)
	}
	return s
}

func (s *schedule) add(w *world, r *rand.Rand, at int64) {
	k, length := r.IntN(3), second+r.Int64N(55*second)
	switch r.IntN(4) {
	case 0, 1:
		s.event(at, func() { w.islands[k].kill() })
		s.event(at+length, func() { w.islands[k].boot() })
		if r.IntN(2) == 0 && length > 20*second { // the others come to know
			s.event(at+15*second, func() { w.see(k, false) })
			s.event(at+length+2*second, func() { w.see(k, true) })
		}
		if length > 12*second {
			s.more += series * oneStep
			s.lost += 3 * betweenHA
		}
	case 2:
		s.event(at, func() { w.isolate(k, true); w.note("%s is cut off", w.islands[k].name) })
		s.event(at+length, func() { w.isolate(k, false); w.note("%s is back", w.islands[k].name) })
		if length > 4*second {
			s.lost += 3*oneStep + 3*betweenHA
		}
		if length > 20*second {
			s.more += 3*perSecond*float64(length/second+10) + series*oneStep
		}
	default:
		s.event(at, func() { w.lose(0.15) })
		s.event(at+length, func() { w.lose(0) })
	}
	for i := range w.islands {
		if r.IntN(2) == 0 {
			s.event(at-5*second, func() { w.islands[i].checkpoint() })
		}
	}
}

func (s *schedule) event(at int64, do func()) { s.events = append(s.events, event{at, do}) }

func (w *world) lose(p float64) {
	w.note("messages are lost: %v", p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss = p
}

func (w *world) see(k int, in bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.islands {
		if o != w.islands[k] {
			w.out[[2]string{o.name, w.islands[k].name}] = !in
		}
	}
}

func (i *island) checkpoint() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.up {
		i.keep()
	}
}

// Whatever happens, in the end each series has one home, and the totals are right but
// for what is said of islands that die or are cut off.
func TestSchedules(t *testing.T) {
	from, n := uint64(0), uint64(120)
	switch {
	case os.Getenv("ATOLL_LONG") != "":
		n = 1200
	case testing.Short():
		n = 12 // with the race detector
	}
	if text := os.Getenv("HOME_SEEDS"); text != "" { // "17", or "100 200", to look into some
		if k, _ := fmt.Sscan(text, &from, &n); k == 0 {
			t.Fatalf("HOME_SEEDS=%q: want one number, or two", text)
		} else if k == 1 {
			n = from + 1
		}
	}
	for seed := from; seed < n; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			playSchedule(t, seed)
		})
	}
}

func playSchedule(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed, 3, strings.Replace(ruleText, ", pod", "", 1))
		s := newSchedule(w, seed)
		w.play(s.flight, 900*second, s.events...)
		if got := w.sum("total"); got < s.want-s.lost || got > s.want+s.more {
			t.Errorf("seed %d: totals are %v together, want %v: %v", seed, got, s.want, got-s.want)
		}
		if t.Failed() {
			for _, series := range slices.Sorted(maps.Keys(w.said)) {
				if row := w.said[series]; conform.OutputOf(series) == "total" {
					t.Log(series, row[slices.Max(slices.Collect(maps.Keys(row)))])
				}
			}
		}
		w.once()
		w.settled()
		if t.Failed() {
			t.Logf("seed %d, allowed -%v to +%v:\n%s", seed, s.lost, s.more, w.describe())
		}
		w.close()
	})
}
