package home

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/atoll-mesh/atoll/aggregate/conform"
)

const (
	second = conform.Second
	minute = conform.Minute
)

func (w *world) run(until int64, f conform.Flight, events ...event) {
	w.play(f, until, events...)
}

// moved lets a flight go to another island from an instant on.
func moved(f conform.Flight, at int64, from, to int) conform.Flight {
	return f.Map(func(a *conform.Arrival) {
		a.Node = from
		if a.T >= at {
			a.Node = to
		}
	})
}

// A series that a balancer moves to another island at any scrape loses nothing and
// counts nothing twice, with its target's other series or without them.
func TestMoveAtAnyScrape(t *testing.T) {
	for at := 205 * second; at <= 405*second; at += 10 * second {
		t.Run(fmt.Sprint(at/second), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, uint64(at), 3, ruleText)
				whole := moved(scrape("a"), at, 0, 1)
				part := moved(scrape("b", "pod", "1"), at, 1, 2)
				stays := scrape("b", "pod", "2").To(2)
				f := conform.Join(whole, part, stays)
				w.run(720*second, f)
				w.exact(f)
				w.settled()
				w.close()
			})
		})
	}
}

// pair are two replicas that scrape the same targets, on two islands.
func pair() (a, b conform.Flight) {
	for k := range 5 {
		ls := conform.Pod(fmt.Sprint("h", k))
		value := conform.Linear(1_000_000, 100)
		a = append(a, conform.Scrape(ls, 5*second, 595*second, 10*second, value).Label("replica", "a")...)
		b = append(b, conform.Scrape(ls, 8*second, 598*second, 10*second, value).Label("replica", "b").To(1).From(2)...)
	}
	return a, b
}

// Two replicas on two islands count once, whoever is out of reach meanwhile.
func TestReplicasOnTwoIslands(t *testing.T) {
	a, b := pair()
	down := func(k int, from, to int64) func(*world) []event {
		return func(w *world) []event {
			return []event{{from, func() { w.islands[k].kill() }}, {to, func() { w.islands[k].boot() }}}
		}
	}
	for _, c := range []struct {
		name   string
		sent   conform.Flight
		want   conform.Flight
		events func(*world) []event
	}{
		{name: "steady", sent: conform.Join(a, b), want: a},
		{name: "replica b alone before", sent: conform.Join(a.Between(205*second, 600*second), b), want: b},
		{
			name: "replica a dies", sent: conform.Join(a.Between(0, 295*second), b),
			want: conform.Join(a.Between(0, 295*second), b.Between(305*second, 600*second)),
		},
		{
			name: "replica a dies and comes back", sent: conform.Join(a.Without(296*second, 400*second), b),
			want: conform.Join(a.Between(0, 295*second), b.Between(305*second, 600*second)),
		},
		{name: "third island down", sent: conform.Join(a, b), want: a, events: down(2, 222*second, 300*second)},
		{name: "follower down", sent: conform.Join(a, b), want: a, events: down(1, 222*second, 301*second)},
		{name: "home down for 8 s", sent: conform.Join(a, b), want: a, events: down(0, 222*second, 230*second)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 3, ruleText)
				var events []event
				if c.events != nil {
					events = c.events(w)
				}
				w.run(760*second, c.sent, events...)
				w.exact(c.want)
				w.settled()
				if t.Failed() {
					t.Log(w.describe())
				}
				w.close()
			})
		})
	}
}

// between holds the sum of all that was published to bounds.
func (w *world) between(least, most float64) {
	w.t.Helper()
	got, total := w.sum("increase"), w.sum("total")
	if total < least || total > most {
		w.t.Errorf("totals are %v together, want %v to %v (increases %v)", total, least, most, got)
	}
	w.once()
}

// An island that dies loses its series to those that hear them too; what is counted
// wrongly is one step of each at most. When it is back, it follows.
func TestHomeDies(t *testing.T) {
	a, b := pair()
	want := 5 * 59_000.0
	for back := 270 * second; back <= 470*second; back += 50 * second {
		t.Run(fmt.Sprint(back/second), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, uint64(back), 3, ruleText)
				w.run(800*second, conform.Join(a, b), event{222_300, func() { w.islands[0].kill() }}, event{back, func() { w.islands[0].boot() }})
				w.between(want-5*1000, want+5*1300)
				w.settled()
				if n := w.islands[1].engine.Homes(); len(n) != 0 {
					t.Errorf("n1 follows %v, want to be home of all", n)
				}
				if t.Failed() {
					t.Log(w.describe())
				}
				w.close()
			})
		})
	}
}

// isolate cuts one island off.
func (w *world) isolate(k int, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.islands {
		if o != w.islands[k] {
			w.cut[[2]string{o.name, w.islands[k].name}] = cut
		}
	}
}

// Islands that are cut off from each other count both what both receive, for as long
// as they are and a while, and agree again afterwards. What moves meanwhile loses one
// step at most.
func TestPartition(t *testing.T) {
	a, b := pair()
	for length := 20 * second; length <= 120*second; length += 20 * second {
		t.Run(fmt.Sprint(length/second), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, uint64(length), 3, ruleText)
				mover := moved(scrape("m"), 265*second, 0, 1)
				w.run(860*second, conform.Join(a, b, mover),
					event{251 * second, func() { w.isolate(0, true) }}, event{251*second + length, func() { w.isolate(0, false) }})
				most := 6 * 59_000.0
				if length > 25*second {
					most += 5 * 100 * float64(length/second+5)
				}
				w.between(6*59_000-1000, most)
				w.settled()
				if t.Failed() {
					t.Log(w.describe())
				}
				w.close()
			})
		})
	}
}

// A series that moves away from an island that is down, and whose last samples are
// still on their way to that one, is whole when that island is back.
func TestMoveAwayFromDead(t *testing.T) {
	for at := 225 * second; at <= 305*second; at += 20 * second {
		t.Run(fmt.Sprint(at/second), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, uint64(at), 3, ruleText)
				f := moved(scrape("m"), at, 0, 1)
				w.run(800*second, f, event{222_300, func() { w.islands[0].kill() }}, event{310 * second, func() { w.islands[0].boot() }})
				w.between(59_000, 59_000)
				w.settled()
				if t.Failed() {
					t.Log(w.describe())
				}
				w.close()
			})
		})
	}
}

// An island that is killed and back before anybody misses it changes nothing, whoever
// it is and whenever.
func TestRestartAtAnyInstant(t *testing.T) {
	a, b := pair()
	step := 7 * second
	if testing.Short() {
		step = 31 * second
	}
	for at := 150 * second; at <= 330*second; at += step {
		t.Run(fmt.Sprint(at/second), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, uint64(at), 3, ruleText)
				k := int(at/step) % 3
				mover := moved(scrape("m"), 235*second, 0, 1)
				w.run(760*second, conform.Join(a, b, mover),
					event{at - 13*second, func() { w.islands[k].checkpoint() }},
					event{at + 300, func() { w.islands[k].kill() }}, event{at + 8300, func() { w.islands[k].boot() }})
				w.exact(conform.Join(a, mover))
				w.settled()
				if t.Failed() {
					t.Log(w.describe())
				}
				w.close()
			})
		})
	}
}

// A series that is born counts from zero where its source is known, on the island
// that is its home; one that moves to where its source is known does not.
func TestBornAndMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, ruleText)
		stays := conform.Join(scrape("a"), scrape("a", "pod", "s").To(1))
		born := conform.Scrape(conform.Pod("a", "pod", "b"), 205*second, 595*second, 10*second, conform.Linear(-20_000, 100))
		f := conform.Join(stays, born, moved(scrape("a", "pod", "m"), 305*second, 2, 1))
		w.run(720*second, f)
		w.exact(f)
		w.settled()
		w.close()
	})
}

// A series goes to and fro between islands.
func TestToAndFro(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, ruleText)
		f := scrape("a").Map(func(a *conform.Arrival) { a.Node = int(a.T/(70*second)) % 3 })
		w.run(760*second, f)
		w.between(59_000, 59_000)
		w.settled()
		w.close()
	})
}

// One island has nothing to agree on.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, ruleText)
		w.run(720*second, scrape("a"))
		w.exact(scrape("a"))
		if n := testutil.ToFloat64(w.islands[0].home.m.sent); n != 0 {
			t.Errorf("%v bytes were sent, want 0", n)
		}
		if claims := w.islands[0].engine.TakeClaims(); len(claims) != 0 {
			t.Errorf("claims %v, want none", claims)
		}
		w.close()
	})
}

// Islands without series of distributed rules say nothing by themselves.
func TestIdleIslandsAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3, ruleText)
		w.run(300*second, nil)
		for _, i := range w.islands {
			if n := testutil.ToFloat64(i.home.m.sent); n != 0 {
				t.Errorf("%s sent %v bytes, want 0", i.name, n)
			}
		}
		w.close()
	})
}

// leave ends an island's part in the network as Aggregator.HandOver does.
func (i *island) leave(k int) {
	ctx, cancel := context.WithTimeout(i.w.t.Context(), 15*time.Second)
	defer cancel()
	i.home.Leave(ctx)
	i.mu.Lock()
	err := i.engine.HandOver(i.w.clock().UnixMilli(), i.push)
	i.mu.Unlock()
	if err = errors.Join(err, i.share.Leave(ctx)); err != nil {
		i.w.t.Errorf("%s leaves: %v", i.name, err)
	}
	i.kill()
	i.left = true
	i.w.see(k, false)
}

// What an island has counted that leaves goes on where it is received afterwards, also
// of series that nobody else received, wherever it is.
func TestLeave(t *testing.T) {
	for _, n := range []int{2, 3} {
		for at := 296 * second; at < 306*second; at += 3 * second {
			t.Run(fmt.Sprint(n, " islands/", at/second), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, uint64(at), n, ruleText)
					var f conform.Flight
					want := 0.0
					for k := range 12 {
						first := int64(1+k%10) * second
						s := conform.Scrape(conform.Pod(fmt.Sprint("i", k)), first, 595*second, 10*second, conform.Linear(1_000_000, 100))
						f = append(f, moved(s, at+4*second, 0, 1+k%(n-1))...)
						want += 100 * float64((595*second-first)/(10*second)*10)
					}
					var leaving sync.WaitGroup
					w.run(860*second, f, event{at, func() { leaving.Go(func() { w.islands[0].leave(0) }) }})
					leaving.Wait()
					w.between(want, want)
					w.settled()
					if t.Failed() {
						t.Log(w.describe())
					}
					w.close()
				})
			})
		}
	}
}

// An island that cannot leave after all goes on as if it had not tried.
func TestStay(t *testing.T) {
	for n := 2; n <= 3; n++ {
		t.Run(fmt.Sprint(n, " islands"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, uint64(n), n, ruleText)
				var f conform.Flight
				want := 0.0
				for k := range 12 {
					first := int64(1+k%10) * second
					f = append(f, conform.Scrape(conform.Pod(fmt.Sprint("i", k)), first, 595*second, 10*second, conform.Linear(1_000_000, 100))...)
					want += 100 * float64((595*second-first)/(10*second)*10)
				}
				w.run(720*second, f, event{300 * second, func() {
					i := w.islands[0]
					i.home.Leave(t.Context())
					if n := i.engine.Homes(); len(n) == 0 {
						t.Error("it counts all that it counted before")
					}
					i.home.Stay()
				}})
				w.between(want, want)
				w.settled()
				if t.Failed() {
					t.Log(w.describe())
				}
				w.close()
			})
		})
	}
}

// Whatever moves away from an island before, while and after it leaves, and whoever
// receives the same, all that series grew is counted once.
func TestLeaveWhileSeriesMove(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 4 // with the race detector
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, r := newWorld(t, seed, 3, strings.Replace(ruleText, ", pod", "", 1)), rand.New(rand.NewPCG(seed, 22))
				at := 280*second + r.Int64N(60*second)
				var f conform.Flight
				want := 0.0
				for k := range series {
					first := 1 + r.Int64N(9*second)
					w.note("pod %d: first %d, wants %v", k, first, perSecond*float64((scheduleEnd-first)/(10*second)*10))
					s := conform.Scrape(conform.Pod(fmt.Sprint("i", r.IntN(5)), "pod", fmt.Sprint(k)), first, scheduleEnd, 10*second, conform.Linear(1_000_000, perSecond))
					want += perSecond * float64((scheduleEnd-first)/(10*second)*10)
					if k < 6 {
						moves, to := at-20*second+r.Int64N(30*second), 1+r.IntN(2)
						w.note("pod %d moves to n%d at %d", k, to, moves)
						f = append(f, moved(s, moves, 0, to)...)
						continue
					}
					other := s.Map(func(a *conform.Arrival) {
						a.T += 3 * second
						a.At += 3 * second
						a.V += betweenHA
					})
					f = append(f, conform.Join(s.Label("replica", "a"), other.Label("replica", "b").To(1+k%2).From(2))...)
				}
				var leaving sync.WaitGroup
				w.run(900*second, f, event{at, func() { leaving.Go(func() { w.islands[0].leave(0) }) }},
					event{at + 20*second, func() { w.islands[1+seed%2].kill() }}, event{at + 25*second, func() { w.islands[1+seed%2].boot() }}) // an heir
				leaving.Wait()
				w.between(want-3*betweenHA-1, want+3*betweenHA+1)
				w.settled()
				if t.Failed() {
					for _, series := range slices.Sorted(maps.Keys(w.said)) {
						if row := w.said[series]; conform.OutputOf(series) == "total" {
							t.Log(series, row[slices.Max(slices.Collect(maps.Keys(row)))])
						}
					}
					t.Log(w.describe())
				}
				w.close()
			})
		})
	}
}
