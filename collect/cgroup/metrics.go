package cgroup

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	groups  prometheus.Gauge
	skipped *prometheus.GaugeVec
	errors  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		groups: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_collect_cgroup_groups",
			Help: "Control groups reported by the last scrape.",
		}),
		skipped: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_collect_cgroup_groups_skipped",
			Help: "Control groups left out of the last scrape because of a limit; those below them are not counted.",
		}, []string{"limit"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_collect_cgroup_read_errors_total",
			Help: "Files of control groups that could not be read, except those that were gone.",
		}),
	}
	m.skipped.WithLabelValues("max_groups").Set(0)
	m.skipped.WithLabelValues("max_depth").Set(0)
	if reg != nil {
		reg.MustRegister(m.groups, m.skipped, m.errors)
	}
	return m
}
