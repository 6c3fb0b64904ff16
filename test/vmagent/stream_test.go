package vmagent

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

const (
	window = 10 * time.Second
	// windows are compared; one more is begun, so that both know that these are over.
	windows = 8
	step    = 2 * time.Second
	// phase keeps samples off the ends of windows: vmagent goes by when they arrive.
	phase = 500 * time.Millisecond
)

// point is one sample; at is the time since the stream began, at the end of a window.
type point struct {
	series labels.Labels
	at     time.Duration
	value  float64
}

// lane is one series: value returns NaN where it has no sample.
type lane struct {
	series labels.Labels
	value  func(n int, at time.Duration) float64
}

// stream lists what is sent together, tick by tick.
func stream() [][]point {
	var ticks [][]point
	for n := range int((windows*window + window/2) / step) {
		at := phase + time.Duration(n)*step
		var tick []point
		for _, l := range lanes() {
			if v := l.value(n, at); !math.IsNaN(v) {
				tick = append(tick, point{l.series, at, v})
			}
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

// lanes are counters that run, restart, begin late and pause, buckets, gauges and events.
func lanes() []lane {
	none := math.NaN()
	counter := func(begin, rate float64) func(int, time.Duration) float64 {
		return func(_ int, at time.Duration) float64 { return begin + rate*at.Seconds() }
	}
	requests := func(instance, code string) labels.Labels {
		return labels.FromStrings("__name__", "requests_total", "job", "shop", "instance", instance, "pod", "p-"+instance, "code", code)
	}
	all := []lane{
		{requests("east", "200"), counter(1e6, 10)},
		{requests("east", "500"), counter(100, 0.5)},
		{requests("west", "200"), func(_ int, at time.Duration) float64 { // restarts in the third window
			if at > 25*time.Second {
				return 7 * (at.Seconds() - 24)
			}
			return 5000 + 7*at.Seconds()
		}},
		{requests("east", "404"), func(_ int, at time.Duration) float64 { // born in the fifth
			if at < 43*time.Second {
				return none
			}
			return 3 + 2*(at.Seconds()-42.5)
		}},
		{requests("away", "200"), func(_ int, at time.Duration) float64 { // away from the 21st to the 39th second
			if at > 21*time.Second && at < 39*time.Second {
				return none
			}
			return 2000 + 4*at.Seconds()
		}},
		{labels.FromStrings("__name__", "requests_total", "job", "late", "instance", "new", "pod", "p", "code", "200"), func(_ int, at time.Duration) float64 {
			if at < 51*time.Second { // a source that nobody knew
				return none
			}
			return 70000 + at.Seconds()
		}},
		{requests("east", "burst"), func(n int, _ time.Duration) float64 { // for two windows
			if n >= 10 {
				return none
			}
			return float64(20 * n)
		}},
		{labels.FromStrings("__name__", "gone.by:graphite"), counter(1, 1)},
	}
	for i, le := range []string{"0.1", "1", "+Inf"} {
		for _, instance := range []string{"east", "west"} {
			all = append(all, lane{
				labels.FromStrings("__name__", "latency_seconds_bucket", "job", "db", "instance", instance, "le", le), counter(50, float64(i+1)*3),
			})
		}
	}
	return append(all, gauges()...)
}

func gauges() []lane {
	var all []lane
	for s := range 3 {
		for _, room := range []string{"a", "b", "c"} {
			sensor := fmt.Sprint("s", s)
			all = append(all, lane{
				labels.FromStrings("__name__", "temperature", "room", room, "sensor", sensor),
				func(n int, _ time.Duration) float64 { return float64((n*7+s*11+len(room)+int(room[0]))%23)/4 - 1 },
			})
		}
	}
	for s := range 2 {
		all = append(all, lane{
			labels.FromStrings("__name__", "power", "room", "a", "sensor", fmt.Sprint("s", s)),
			func(n int, _ time.Duration) float64 { return 100 + float64(s) + float64(n%5)*0.25 },
		})
	}
	for _, kind := range []string{"a", "b"} {
		all = append(all, lane{
			labels.FromStrings("__name__", "events", "kind", kind, "sensor", "x"),
			func(n int, _ time.Duration) float64 {
				if kind == "b" && n%15 > 6 { // comes and goes
					return math.NaN()
				}
				return float64(n%4 + 1)
			},
		})
	}
	return slices.Clip(all)
}
