package owner

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	samples  prometheus.Counter
	partials *prometheus.CounterVec
	late     *prometheus.CounterVec
	overdue  prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		samples: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_aggregate_owner_samples_total",
			Help: "Samples made of finished windows.",
		}),
		partials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_aggregate_owner_partials_total",
			Help: "Rows of partial windows that came in, by result: taken, duplicate, too_old, unknown_rule.",
		}, []string{"result"}),
		late: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_aggregate_owner_late_total",
			Help: "Groups of published windows that changed afterwards, by what was done: carry, correct, drop.",
		}, []string{"policy"}),
		overdue: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_aggregate_owner_overdue_windows_total",
			Help: "Windows published at their deadline without a word of every source.",
		}),
	}
	if r != nil {
		r.MustRegister(m.samples, m.partials, m.late, m.overdue)
	}
	return m
}
