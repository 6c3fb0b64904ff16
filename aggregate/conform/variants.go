package conform

import (
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// Variants returns further cases whose truth comes from the reference model:
// their Increase is left nil.
func Variants() []Scenario {
	all := skewed()
	all = append(all, moved()...)
	all = append(all, failovers()...)
	all = append(all, coarse()...)
	all = append(all, resets()...)
	all = append(all, oddValues()...)
	all = append(all, created()...)
	for i := range all {
		s := &all[i]
		s.Interval, s.Group, s.Nodes, s.Until = Minute, group, 1, 720*Second
		if s.Observed == nil {
			s.Observed = s.Deliveries
		}
	}
	return all
}

// skewed are replicas whose clocks differ: the one that arrives first leads,
// by its own clock.
func skewed() []Scenario {
	var all []Scenario
	for _, skew := range []int64{-12, -7, -3, 3, 7, 12} {
		shift := func(f Flight) Flight { return f.Map(func(a *Arrival) { a.T += skew * Second }) }
		for _, labelled := range []bool{true, false} {
			for _, leads := range []bool{true, false} {
				right, wrong := steady(), shift(steady())
				if labelled {
					right, wrong = right.Label("replica", "a"), wrong.Label("replica", "b")
				}
				first, second := right, wrong
				if leads {
					first, second = wrong, right
				}
				all = append(all, Scenario{
					Name:       fmt.Sprintf("skew %+d s, label=%v, skewed one leads=%v", skew, labelled, leads),
					About:      "replicas with skewed clocks",
					Deliveries: Join(first, second.From(2).Late(800)), Observed: first,
				})
			}
		}
	}
	return all
}

// moved are series that change their sender at every scrape in turn.
func moved() []Scenario {
	var all []Scenario
	for at := 105 * Second; at <= 305*Second; at += 10 * Second {
		all = append(all,
			Scenario{
				Name: fmt.Sprintf("moved to another sender at %d s", at/Second), About: "a series moves",
				Deliveries: steady().Map(func(a *Arrival) {
					if a.T >= at {
						a.Sender = 2
					}
				}),
			},
			Scenario{
				Name: fmt.Sprintf("moved to another replica at %d s", at/Second), About: "a series moves",
				Deliveries: Join(steady().Label("replica", "a").Between(0, at-1),
					steady().Label("replica", "b").From(2).Between(at, math.MaxInt64)),
			})
	}
	return all
}

// failovers are pairs of replicas whose leader dies, at every scrape in turn; the
// other one's samples count from the leader's last on; of two that both delivered
// all the time one step may slide to the next window.
func failovers() []Scenario {
	var all []Scenario
	shifted := Scrape(Pod("a"), 8*Second, 598*Second, 10*Second, Linear(1_000_000, 100))
	for at := 185 * Second; at <= 245*Second; at += 10 * Second {
		last := at - 10*Second
		for _, labelled := range []bool{true, false} {
			for name, other := range map[string]Flight{"at the same times": steady().Late(700), "3 s later": shifted} {
				a, b := steady().Between(0, last), other.From(2)
				if labelled {
					a, b = a.Label("replica", "a"), b.Label("replica", "b")
				}
				all = append(all, Scenario{
					Name:  fmt.Sprintf("leader dies at %d s, follower scrapes %s, label=%v", at/Second, name, labelled),
					About: "a replica takes over", Slack: 1300,
					Deliveries: Join(a, b), Observed: Join(a, b.Between(last+1, math.MaxInt64)),
				})
			}
		}
	}
	a, b := steady().Label("replica", "a").Without(205*Second, 395*Second), steady().Label("replica", "b").Late(700).From(2)
	return append(all, Scenario{
		Name: "leader dies and comes back", About: "nothing is counted twice", Slack: 1000,
		Deliveries: Join(a, b), Observed: steady(),
	})
}

// coarse are scrape intervals as long as the window, and single missed scrapes.
func coarse() []Scenario {
	v := Linear(1_000_000, 100)
	all := []Scenario{
		{
			Name: "one scrape per window", About: "in the middle of the window",
			Deliveries: Scrape(Pod("a"), 30*Second, 570*Second, Minute, v),
		},
		{
			Name: "one scrape per window, at its end", About: "a sample at the end belongs to the window",
			Deliveries: Scrape(Pod("a"), 60*Second, 600*Second, Minute, v),
		},
		{
			Name: "one scrape per window, just after its end", About: "the first millisecond of the window",
			Deliveries: Scrape(Pod("a"), 1, 540*Second+1, Minute, v),
		},
		{
			Name: "one scrape per window, jitter", About: "a few milliseconds more or less are no gap", MaxGap: 90 * Second,
			Deliveries: Scrape(Pod("a"), 30*Second, 570*Second, Minute, v).Map(func(a *Arrival) {
				jitter := a.T / Second * 7919 % 9
				a.T, a.At = a.T+jitter-4, a.At+jitter
			}),
		},
		{
			Name: "one scrape per window, one missed", About: "a gap of two intervals is spread",
			Deliveries: Scrape(Pod("a"), 30*Second, 570*Second, Minute, v).Without(150*Second, 150*Second),
		},
	}
	for _, at := range []int64{5, 15, 25, 35, 105, 115, 125, 135, 145, 155, 165, 175} {
		missed := steady().Without(at*Second, at*Second)
		all = append(all,
			Scenario{Name: fmt.Sprintf("missed scrape at %d s", at), About: "one scrape failed", Deliveries: missed},
			Scenario{
				Name: fmt.Sprintf("scrape at %d s arrives 65 s later", at), About: "one sample out of order",
				Deliveries: steady().Hold(at*Second, at*Second, (at+65)*Second+transit),
			})
	}
	return all
}

// resets are restarts of the counter at every offset inside a window, at once
// and inside a gap.
func resets() []Scenario {
	var all []Scenario
	for at := int64(175); at <= 245; at++ {
		v := ResetAt(Linear(1_000_000, 100), at*Second, 70)
		f := scrapeTen(Pod("a"), v)
		all = append(all,
			Scenario{Name: fmt.Sprintf("restart at %d s", at), About: "the counter restarts", Deliveries: f},
			Scenario{
				Name: fmt.Sprintf("restart at %d s in a delivery gap", at), About: "the counter restarts, newest first",
				Deliveries: f.Newest(165*Second, 255*Second, 300_500),
			},
			Scenario{
				Name: fmt.Sprintf("restart at %d s in a collection gap", at), About: "the counter restarts unseen",
				Deliveries: f.Without(165*Second, 255*Second),
			})
	}
	twice := ResetAt(ResetAt(Linear(1_000_000, 100), 200*Second, 100), 203*Second, 50)
	all = append(all, Scenario{
		Name: "old backlog in pieces", About: "30 minutes of instance b arrive within 25 s",
		Deliveries: Join(steady(), Scrape(Pod("b"), -1795*Second, 595*Second, 10*Second, Linear(1_000_000, 100)).Map(func(a *Arrival) {
			if a.T <= 295*Second {
				a.At = 300_500 + (a.T+1795*Second)/84
			}
		})),
	})
	return append(all, Scenario{Name: "two restarts between two scrapes", About: "the counter restarts",
		Deliveries: scrapeTen(Pod("a"), twice)})
}

// oddValues are counters beyond what float64 counts one by one, and values
// that are none.
func oddValues() []Scenario {
	put := func(f Flight, v float64, at ...int64) Flight {
		return f.Map(func(a *Arrival) {
			for _, t := range at {
				if a.T == t*Second {
					a.V = v
				}
			}
		})
	}
	insert := func(v float64, at int64) Flight {
		return Join(steady(), Flight{{At: at*Second + transit, Sender: 1, Labels: Pod("a"), T: at * Second, V: v}})
	}
	all := []Scenario{
		{
			Name: "above 2^53", About: "steps of 2 at 2^54",
			Deliveries: scrapeTen(Pod("a"), Linear(1<<54, 2)),
		},
		{
			Name: "across 2^53", About: "2^53 - 300 and one more per second",
			Deliveries: scrapeTen(Pod("a"), Linear(1<<53-300, 2)),
		},
		{
			Name: "a giant and an ant", About: "steps of 2^60 and of 1 in one group",
			Deliveries: Join(scrapeTen(Pod("a"), Linear(1<<60, 1<<56)), scrapeTen(Pod("b"), Linear(0, 0.1))),
		},
		{
			Name: "a giant restarts beside an ant", About: "what a giant added does not swallow an ant's steps",
			Deliveries: Join(scrapeTen(Pod("a"), ResetAt(Linear(0, 1<<58), 300*Second, 1<<30)), scrapeTen(Pod("b"), Linear(0, 0.1))),
		},
		{Name: "stale marker in the middle", About: "between two scrapes", Deliveries: insert(math.Float64frombits(value.StaleNaN), 200)},
		{Name: "NaN between", About: "a NaN between two scrapes", Deliveries: insert(math.NaN(), 200)},
		{Name: "Inf between", About: "an infinity between two scrapes", Deliveries: insert(math.Inf(1), 200)},
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Float64frombits(value.StaleNaN)} {
		name := fmt.Sprint(v)
		if value.IsStaleNaN(v) {
			name = "stale"
		}
		all = append(all, Scenario{
			Name: name + " instead of samples", About: "values that count nothing",
			Deliveries: put(steady(), v, 5, 45, 115, 125, 235, 355, 365, 375, 385, 395, 405, 415, 425, 435, 445),
		})
	}
	stale := math.Float64frombits(value.StaleNaN)
	gone := steady().Without(195*Second, 255*Second)
	return append(all, Scenario{
		Name: "stale, then back after a restart", About: "the series ends at 195 and starts again at 260 from 0",
		Deliveries: Join(
			scrapeTen(Pod("a"), ResetAt(Linear(1_000_000, 100), 260*Second, 100)).Without(195*Second, 255*Second),
			Flight{{At: 195*Second + transit, Sender: 1, Labels: Pod("a"), T: 195 * Second, V: stale}}),
	}, Scenario{
		Name: "stale, then back", About: "the series ends at 195 and goes on at 265",
		Deliveries: Join(gone, Flight{{At: 195*Second + transit, Sender: 1, Labels: Pod("a"), T: 195 * Second, V: stale}}),
	})
}

// created are counters that say since when they count.
func created() []Scenario {
	fast := ResetAt(Linear(1000, 10), 210*Second, 1000)
	withST := func(f Flight, from, st int64) Flight {
		return f.Map(func(a *Arrival) {
			if a.T >= from {
				a.ST = st
			}
		})
	}
	late := func(ls labels.Labels, first int64) Flight {
		return Scrape(ls, first, 595*Second, 10*Second, Linear(-20_000, 100))
	}
	return []Scenario{
		{
			Name: "restart that outgrew the old value", About: "only the created timestamp tells",
			Deliveries: withST(scrapeTen(Pod("a"), fast), 210*Second, 210*Second),
		},
		{
			Name: "the same without a created timestamp", About: "the restart is not observable",
			Deliveries: scrapeTen(Pod("a"), fast),
		},
		{
			Name: "created long before the first scrape", About: "four minutes are spread",
			Deliveries: Join(steady(), late(Pod("b"), 445*Second).Created(200*Second)),
		},
		{
			Name: "born, its first samples newest first", About: "what was taken for its first sample was not",
			Deliveries: Join(steady(), late(Pod("a", "pod", "2"), 205*Second).Newest(205*Second, 295*Second, 350_500)),
		},
		{
			Name: "born, its first sample late", About: "a birth that moves back in time",
			Deliveries: Join(steady(), late(Pod("a", "pod", "2"), 205*Second).Hold(205*Second, 225*Second, 290_500)),
		},
		{
			Name: "the old life's samples late", About: "between the last sample seen of it and the restart",
			Deliveries: withST(scrapeTen(Pod("a"), fast), 210*Second, 210*Second).Hold(165*Second, 205*Second, 290_500),
		},
		{
			Name: "the old life's samples late, newest first", About: "between the last sample seen of it and the restart",
			Deliveries: withST(scrapeTen(Pod("a"), fast), 210*Second, 210*Second).Newest(165*Second, 205*Second, 290_500),
		},
		{
			Name: "the new life's first samples late", About: "between the restart and its first sample seen",
			Deliveries: withST(scrapeTen(Pod("a"), fast), 210*Second, 210*Second).Newest(185*Second, 265*Second, 290_500),
		},
		{
			Name: "created long before the first scrape, newest first", About: "the spread is taken back and divided",
			Deliveries: Join(steady(), late(Pod("b"), 245*Second).Created(200*Second).Newest(245*Second, 445*Second, 450_500)),
		},
		{
			Name: "created before we began", About: "what was counted before is not new",
			Deliveries: steady().Created(-3 * 3600 * Second), Observed: steady(),
		},
		{
			Name: "created at the instant of a sample", About: "the value is all new",
			Deliveries: withST(scrapeTen(Pod("a"), ResetAt(Linear(100, 1), 205*Second, 100)), 205*Second, 205*Second),
		},
		{
			Name: "created in the gap", About: "old process until 175, new one since 240, scraped from 305",
			Deliveries: withST(scrapeTen(Pod("a"), ResetAt(Linear(100, 1), 240*Second, 100)).Without(185*Second, 295*Second), 240*Second, 240*Second),
		},
	}
}
