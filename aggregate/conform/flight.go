package conform

import (
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/labels"
)

// Origin is the instant 0 of every scenario in Unix milliseconds: a whole
// minute, hour-unaligned on purpose.
const Origin int64 = 1_700_000_040_000

// Second and Minute are in milliseconds, as all times here.
const (
	Second int64 = 1000
	Minute       = 60 * Second
)

// Arrival is one sample on its way to a node. At, T and ST are milliseconds
// relative to Origin; ST 0 is unknown.
type Arrival struct {
	At     int64
	Sender uint64
	Node   int
	Labels labels.Labels
	ST, T  int64
	V      float64
}

// Flight is a list of arrivals. Those with equal At keep their order; those
// with equal At, Node and Sender travel in one request.
type Flight []Arrival

// transit is how long a sample takes from the scrape to the node.
const transit = 100

// Scrape returns the samples of one series, scraped from first to last (both
// taken) every step, sent by sender 1 at once.
func Scrape(ls labels.Labels, first, last, step int64, value func(t int64) float64) Flight {
	var f Flight
	for t := first; t <= last; t += step {
		f = append(f, Arrival{At: t + transit, Sender: 1, Labels: ls, T: t, V: value(t)})
	}
	return f
}

// Map returns a copy with every arrival changed by change.
func (f Flight) Map(change func(*Arrival)) Flight {
	out := slices.Clone(f)
	for i := range out {
		change(&out[i])
	}
	return out
}

// Keep returns the arrivals that keep holds for.
func (f Flight) Keep(keep func(Arrival) bool) Flight {
	var out Flight
	for _, a := range f {
		if keep(a) {
			out = append(out, a)
		}
	}
	return out
}

// Between returns those scraped in [from, to].
func (f Flight) Between(from, to int64) Flight {
	return f.Keep(func(a Arrival) bool { return a.T >= from && a.T <= to })
}

// Without returns those not scraped in [from, to]: a collection gap.
func (f Flight) Without(from, to int64) Flight {
	return f.Keep(func(a Arrival) bool { return a.T < from || a.T > to })
}

// Hold lets those scraped in [from, to] arrive at one instant, in order: a
// delivery gap.
func (f Flight) Hold(from, to, at int64) Flight {
	return f.Map(func(a *Arrival) {
		if a.T >= from && a.T <= to {
			a.At = at
		}
	})
}

// Newest lets those scraped in [from, to] arrive from at on, one request per
// millisecond, newest first.
func (f Flight) Newest(from, to, at int64) Flight {
	return f.Map(func(a *Arrival) {
		if a.T >= from && a.T <= to {
			a.At = at + (to-a.T)/Second
		}
	})
}

// Late adds d to every arrival.
func (f Flight) Late(d int64) Flight { return f.Map(func(a *Arrival) { a.At += d }) }

// From names the sender.
func (f Flight) From(sender uint64) Flight { return f.Map(func(a *Arrival) { a.Sender = sender }) }

// To names the node that receives it.
func (f Flight) To(node int) Flight { return f.Map(func(a *Arrival) { a.Node = node }) }

// Label sets one label.
func (f Flight) Label(name, value string) Flight {
	return f.Map(func(a *Arrival) {
		a.Labels = labels.NewBuilder(a.Labels).Set(name, value).Labels()
	})
}

// Created gives every sample the created timestamp st.
func (f Flight) Created(st int64) Flight { return f.Map(func(a *Arrival) { a.ST = st }) }

// Reversed returns the arrivals in opposite order; arrival times stay.
func (f Flight) Reversed() Flight {
	out := slices.Clone(f)
	slices.Reverse(out)
	return out
}

// Join puts flights together, in the order given.
func Join(flights ...Flight) Flight { return slices.Concat(flights...) }

// Request is what one sender hands to one node at one instant.
type Request struct {
	At     int64
	Sender uint64
	Node   int
	Items  []Arrival
}

// Requests sorts the arrivals by time and cuts them into requests. The order
// of requests at one instant is that of their first arrival.
func (f Flight) Requests() []Request {
	sorted := slices.Clone(f)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].At < sorted[j].At })
	var out []Request
	for start := 0; start < len(sorted); {
		end := start
		for end < len(sorted) && sorted[end].At == sorted[start].At {
			end++
		}
		out = append(out, requestsAt(sorted[start:end])...)
		start = end
	}
	return out
}

func requestsAt(arrivals Flight) []Request {
	var out []Request
	for _, a := range arrivals {
		i := slices.IndexFunc(out, func(r Request) bool { return r.Sender == a.Sender && r.Node == a.Node })
		if i < 0 {
			out = append(out, Request{At: a.At, Sender: a.Sender, Node: a.Node})
			i = len(out) - 1
		}
		out[i].Items = append(out[i].Items, a)
	}
	return out
}

// Linear is a counter that stands at start at instant 0 and grows by perSecond.
func Linear(start, perSecond float64) func(int64) float64 {
	return func(t int64) float64 { return start + perSecond*float64(t)/float64(Second) }
}

// ResetAt is v until the instant at, where it starts again from zero and grows
// by perSecond.
func ResetAt(v func(int64) float64, at int64, perSecond float64) func(int64) float64 {
	return func(t int64) float64 {
		if t < at {
			return v(t)
		}
		return perSecond * float64(t-at) / float64(Second)
	}
}
