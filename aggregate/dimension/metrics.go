package dimension

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are all by the name of the declared rule.
type metrics struct {
	values     *prometheus.GaugeVec
	rules      *prometheus.GaugeVec
	leftOut    *prometheus.GaugeVec
	lag        *prometheus.GaugeVec
	failing    *prometheus.GaugeVec
	appeared   *prometheus.CounterVec
	vanished   *prometheus.CounterVec
	moved      *prometheus.CounterVec
	evaluated  *prometheus.CounterVec
	failures   *prometheus.CounterVec
	missed     *prometheus.CounterVec
	samples    *prometheus.CounterVec
	seconds    *prometheus.CounterVec
	discovery  *prometheus.GaugeVec
	blind      *prometheus.CounterVec
	collectors []interface{ DeleteLabelValues(...string) bool }
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{}
	gauge := func(name, help string) *prometheus.GaugeVec {
		v := f.NewGaugeVec(prometheus.GaugeOpts{Name: "atoll_dimension_" + name, Help: help}, []string{"rule"})
		m.collectors = append(m.collectors, v)
		return v
	}
	counter := func(name, help string) *prometheus.CounterVec {
		v := f.NewCounterVec(prometheus.CounterOpts{Name: "atoll_dimension_" + name, Help: help}, []string{"rule"})
		m.collectors = append(m.collectors, v)
		return v
	}
	m.values = gauge("values", "Values of the split labels that the store has, those left out and those of other islands included.")
	m.rules = gauge("rules", "Narrow rules that this island evaluates.")
	m.leftOut = gauge("left_out_values", "Values without a rule because max_rules is reached.")
	m.lag = gauge("lag_seconds", "Time from the last finished tick to its last result.")
	m.failing = gauge("failing_rules", "Narrow rules whose last evaluation failed.")
	m.appeared = counter("appeared_total", "Narrow rules begun.")
	m.vanished = counter("vanished_total", "Narrow rules ended because their value is gone, left out or no longer declared.")
	m.moved = counter("moved_total", "Narrow rules handed over to another island.")
	m.evaluated = counter("evaluations_total", "Evaluations of narrow rules.")
	m.failures = counter("evaluation_failures_total", "Evaluations of narrow rules that failed.")
	m.missed = counter("evaluations_missed_total", "Evaluations left out because earlier ones were not finished.")
	m.samples = counter("samples_total", "Samples that narrow rules returned.")
	m.seconds = counter("evaluation_seconds_total", "Time spent evaluating narrow rules, all processors together.")
	m.discovery = gauge("discovery_seconds", "Time that the last look for values took.")
	m.blind = counter("discovery_failures_total", "Looks for values that failed; the rules at work go on.")
	return m
}

// start makes a rule's counters exist, so that a rate can be taken from 0.
func (m *metrics) start(rule string) {
	for _, c := range []*prometheus.CounterVec{m.appeared, m.vanished, m.moved, m.evaluated, m.failures, m.missed, m.samples, m.seconds, m.blind} {
		c.WithLabelValues(rule)
	}
}

// forget takes a rule out that is no longer declared.
func (m *metrics) forget(rule string) {
	for _, c := range m.collectors {
		c.DeleteLabelValues(rule)
	}
}
