package history

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	recorded  prometheus.Counter
	dropped   prometheus.Counter
	committed prometheus.Counter
	forgotten *prometheus.CounterVec // by reason
	failures  prometheus.Counter
	commit    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, s *Store) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "atoll_alert_history_" + name, Help: help})
	}
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "atoll_alert_history_" + name, Help: help}, value)
	}
	m := &metrics{
		recorded:  counter("events_total", "Events handed over to the history of alerts."),
		dropped:   counter("events_dropped_total", "Events lost because the history's queue was full."),
		committed: counter("events_committed_total", "Events written to disk."),
		failures:  counter("commit_failures_total", "Attempts to write events to disk that failed; they are repeated."),
		forgotten: f.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_alert_history_events_forgotten_total",
			Help: "Events given up because they were too old (age) or too many (bytes).",
		}, []string{"reason"}),
		commit: f.NewHistogram(prometheus.HistogramOpts{
			Name: "atoll_alert_history_commit_duration_seconds", Help: "How long it took to write a batch of events.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10},
		}),
	}
	m.forgotten.WithLabelValues("age")
	m.forgotten.WithLabelValues("bytes")
	gauge("queue_length", "Events that wait to be written.", func() float64 { return float64(s.waiting()) })
	gauge("queue_capacity", "Events that may wait to be written.", func() float64 { return queueCapacity })
	gauge("bytes", "Size of the events kept.", func() float64 { return float64(s.bytes.Load()) })
	gauge("limit_bytes", "Most that the events kept may be.", func() float64 { return float64(s.config.Load().MaxBytes) })
	return m
}
