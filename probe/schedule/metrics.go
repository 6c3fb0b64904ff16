package schedule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Why a run did not happen.
const (
	skippedRunning = "running"
	skippedBusy    = "busy"
	skippedStopped = "stopped"
)

type metrics struct {
	skipped  *prometheus.CounterVec
	lateness prometheus.Histogram
	targets  prometheus.GaugeFunc
	waiting  prometheus.GaugeFunc
	workers  prometheus.GaugeFunc
}

func newMetrics(s *Scheduler) *metrics {
	gauge := func(name, help string, of func() int) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(of())
		})
	}
	m := &metrics{
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_probe_skipped_total", Help: "Probes that were due and not run, by reason: running (the one before went on), busy (the one before still waited for probe.concurrency), stopped (the process did not run).",
		}, []string{"reason"}),
		lateness: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "atoll_probe_lateness_seconds", Help: "How much later than planned probes began.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5},
		}),
		targets: gauge("atoll_probe_targets", "Targets that this island probes.", func() int { return len(s.items) }),
		waiting: gauge("atoll_probe_waiting", "Probes that are due and wait for probe.concurrency.", func() int { return s.ready.len() }),
		workers: gauge("atoll_probe_running", "Probes that run.", func() int { return s.workers - s.idle }),
	}
	for _, reason := range []string{skippedRunning, skippedBusy, skippedStopped} {
		m.skipped.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) register(reg prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.skipped, m.lateness, m.targets, m.waiting, m.workers} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// BusyWindow is over what time Busy counts, at least and twice that at most.
const BusyWindow = time.Minute

// busyCount counts in two windows, of which the older is whole.
type busyCount struct {
	begun         time.Time
	before, since int
}

func (b *busyCount) add(n int, now time.Time) int {
	switch age := now.Sub(b.begun); {
	case age >= 2*BusyWindow:
		*b = busyCount{begun: now}
	case age >= BusyWindow:
		*b = busyCount{begun: now, before: b.since}
	}
	b.since += n
	return b.before + b.since
}

// Busy is how many runs were skipped lately for want of concurrency.
func (s *Scheduler) Busy() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy.add(0, time.Now())
}
