package conform

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// Mix is every trouble at once: many sources, each with a fate of its own.
type Mix struct {
	Deliveries, Observed Flight
	Fates                map[string]string // what happened, by instance
	Until                int64
}

// Times of a mix: trouble is in [troubleFrom, troubleTo]; all series go on
// until mixEnd, so that late amounts find a next window.
const (
	troubleFrom = 100 * Second
	troubleTo   = 500 * Second
	mixEnd      = 900 * Second
)

// fate changes what one source's scrapes become: what is delivered and what
// counts.
type fate struct {
	name  string
	apply func(r *rand.Rand, f Flight) (deliveries, observed Flight)
}

// NewMix draws sources with perSource series each. Every series counts with a
// constant rate, so that a share of a gap is never more than its truth.
func NewMix(seed uint64, sources, perSource, groups int) Mix {
	return newMix(seed, sources, perSource, groups, fates())
}

func newMix(seed uint64, sources, perSource, groups int, all []fate) Mix {
	r := rand.New(rand.NewPCG(seed, 7))
	m := Mix{Fates: map[string]string{}, Until: mixEnd + 400*Second}
	for i := range sources {
		instance := fmt.Sprintf("i%03d", i)
		var own Flight
		offset, step := r.Int64N(10)*Second+r.Int64N(1000), []int64{5, 10, 10, 15, 30}[r.IntN(5)]*Second
		for k := range perSource {
			ls := labels.FromStrings(labels.MetricName, CounterName, "job", "shop", "instance", instance,
				"pod", fmt.Sprint(k), "path", fmt.Sprintf("/%d", r.IntN(groups)))
			start := float64(r.IntN(1_000_000) + 1_000_000)
			own = append(own, Scrape(ls, offset+1, mixEnd, step, Linear(start, float64(1+r.IntN(500))))...)
		}
		fate := all[r.IntN(len(all))]
		delivered, observed := fate.apply(r, own.From(uint64(1+i%7)))
		m.Fates[instance] = fmt.Sprintf("%s (every %d s from %d ms)", fate.name, step/Second, offset+1)
		m.Deliveries = append(m.Deliveries, delivered...)
		m.Observed = append(m.Observed, observed...)
	}
	return m
}

// span draws a stretch of the time of trouble, of 15 to 200 s.
func span(r *rand.Rand) (from, to int64) {
	length := 15*Second + r.Int64N(185*Second)
	from = troubleFrom + r.Int64N(troubleTo-troubleFrom-length)
	return from, from + length
}

func same(f Flight) (Flight, Flight) { return f, f }

func fates() []fate {
	return append(senderFates(), []fate{
		{"steady", func(_ *rand.Rand, f Flight) (Flight, Flight) { return same(f) }},
		{"collection gap", func(r *rand.Rand, f Flight) (Flight, Flight) {
			from, to := span(r)
			return same(f.Without(from, to))
		}},
		{"delivery gap", func(r *rand.Rand, f Flight) (Flight, Flight) {
			from, to := span(r)
			return same(f.Hold(from, to, to+transit))
		}},
		{"backlog after live", func(r *rand.Rand, f Flight) (Flight, Flight) {
			from, to := span(r)
			return same(f.Hold(from, to, to+20*Second+r.Int64N(60*Second)))
		}},
		{"backlog newest first", func(r *rand.Rand, f Flight) (Flight, Flight) {
			from, to := span(r)
			return same(f.Newest(from, to, to+20*Second))
		}},
		{"lag", func(r *rand.Rand, f Flight) (Flight, Flight) { return same(f.Late(r.Int64N(80 * Second))) }},
		{"some late", func(r *rand.Rand, f Flight) (Flight, Flight) {
			return same(f.Map(func(a *Arrival) {
				if a.T > troubleFrom && a.T < troubleTo && r.IntN(10) == 0 {
					a.At += r.Int64N(60 * Second)
				}
			}))
		}},
		{"some missed", func(r *rand.Rand, f Flight) (Flight, Flight) {
			return same(f.Keep(func(a Arrival) bool { return a.T < troubleFrom || a.T > troubleTo || r.IntN(8) > 0 }))
		}},
		{"some odd values", func(r *rand.Rand, f Flight) (Flight, Flight) {
			odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Float64frombits(value.StaleNaN)}
			return same(f.Map(func(a *Arrival) {
				if a.T > troubleFrom && a.T < troubleTo && r.IntN(10) == 0 {
					a.V = odd[r.IntN(len(odd))]
				}
			}))
		}},
		{"restart", func(r *rand.Rand, f Flight) (Flight, Flight) { return same(restart(r, f)) }},
		{"restart in a collection gap", func(r *rand.Rand, f Flight) (Flight, Flight) {
			from, to := span(r)
			return same(restart(r, f).Without(from, to))
		}},
		{"restart in a delivery gap", func(r *rand.Rand, f Flight) (Flight, Flight) {
			from, to := span(r)
			return same(restart(r, f).Hold(from, to, to+transit))
		}},
		{"begins with a backlog", func(r *rand.Rand, f Flight) (Flight, Flight) {
			at := troubleFrom + r.Int64N(200*Second)
			return same(f.Hold(0, at, at))
		}},
		{"pods born", func(r *rand.Rand, f Flight) (Flight, Flight) {
			born := 200*Second + r.Int64N(200*Second)
			return same(f.Keep(func(a Arrival) bool { return a.T > born || a.Labels.Get("pod") == "0" }).
				Map(func(a *Arrival) {
					if a.Labels.Get("pod") != "0" {
						a.V = 10 * float64(a.T-born) / float64(Second)
					}
				}))
		}},
	}...)
}

func restart(r *rand.Rand, f Flight) Flight {
	_, at := span(r)
	return f.Map(func(a *Arrival) {
		if a.T >= at {
			a.V = float64(a.T-at) / float64(Second)
		}
	})
}

// senderFates are those in which a source is delivered by two.
func senderFates() []fate {
	return []fate{
		{"delivered twice", func(r *rand.Rand, f Flight) (Flight, Flight) {
			return Join(f, f.Late(1+r.Int64N(30*Second))), f
		}},
		{"two senders", func(_ *rand.Rand, f Flight) (Flight, Flight) {
			return Join(f, f.Late(800).Map(func(a *Arrival) { a.Sender += 100 })), f
		}},
		{"replica with a skewed clock", func(r *rand.Rand, f Flight) (Flight, Flight) {
			skew := r.Int64N(24*Second) - 12*Second
			first := f.Label("replica", "a")
			return Join(first, f.Label("replica", "b").Late(900).Map(func(a *Arrival) {
				a.T += skew
				a.Sender += 100
			})), first
		}},
		{"moves", func(r *rand.Rand, f Flight) (Flight, Flight) {
			at, _ := span(r)
			return same(f.Map(func(a *Arrival) {
				if a.T > at {
					a.Sender += 100
				}
			}))
		}},
	}
}
