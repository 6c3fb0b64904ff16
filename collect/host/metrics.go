package host

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	collectors prometheus.Gauge
	failures   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		collectors: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_collect_host_collectors",
			Help: "Host collectors that run at each scrape.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_collect_host_failures_total",
			Help: "Runs of a host collector that failed or did not finish in time.",
		}, []string{"collector"}),
	}
	if reg != nil {
		reg.MustRegister(m.collectors, m.failures)
	}
	return m
}
