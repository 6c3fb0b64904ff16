package home

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	claims   *prometheus.CounterVec
	taken    prometheus.Counter
	given    prometheus.Counter
	refused  prometheus.Counter
	failures *prometheus.CounterVec
	sent     prometheus.Counter
}

func newMetrics(h *Home, reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "atoll", Subsystem: "aggregate_home", Name: name, Help: help})
	}
	m := &metrics{
		claims: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "atoll", Subsystem: "aggregate_home", Name: "claims_total", Help: "Claims of series that this island's directory answered, by the answer.",
		}, []string{"answer"}),
		taken:   counter("taken_total", "Series that this island took over from another."),
		given:   counter("given_total", "Series that this island handed over to another."),
		refused: counter("left_dropped_total", "Series of islands that left of which it was not kept how far they were counted: there were too many."),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "atoll", Subsystem: "aggregate_home", Name: "failures_total", Help: "Messages that no answer came to, by member.",
		}, []string{"member"}),
		sent: counter("sent_bytes_total", "Bytes of messages about homes of series that were sent, without answers."),
	}
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "atoll", Subsystem: "aggregate_home", Name: name, Help: help}, f)
	}
	for _, c := range []prometheus.Collector{
		m.claims, m.taken, m.given, m.refused, m.failures, m.sent,
		gauge("directory_series", "Series whose home this island's directory knows.", func() float64 {
			h.mu.Lock()
			defer h.mu.Unlock()
			return float64(h.dir.len())
		}),
		gauge("left_series", "Series of islands that left of which this island knows how far they were counted.", func() float64 {
			h.mu.Lock()
			defer h.mu.Unlock()
			return float64(len(h.dir.legacies))
		}),
		gauge("away_series", "Series received here that another island counts.", func() float64 {
			n := 0
			for _, k := range h.o.Engine.Homes() {
				n += k
			}
			return float64(n)
		}),
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of homes of series: %w", err)
		}
	}
	return m, nil
}

func (v verdictKind) String() string { return [...]string{"mine", "elsewhere", "wait", "seen"}[v] }
