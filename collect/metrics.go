package collect

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	overSampleLimit    prometheus.Gauge
	faultyJobs         prometheus.Gauge
	reloadsIncomplete  prometheus.Counter
	foreignConnections prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		overSampleLimit: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_collect_targets_over_sample_limit",
			Help: "Targets whose last scrape was dropped because it exceeded the sample limit.",
		}),
		faultyJobs: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_collect_faulty_jobs",
			Help: "Scrape jobs of the running configuration that cannot work as configured.",
		}),
		reloadsIncomplete: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_collect_reloads_incomplete_total",
			Help: "Configurations that were accepted and then not applied as a whole.",
		}),
		foreignConnections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_collect_foreign_connections_total",
			Help: "Connections of other processes to the socket of the built-in jobs, all refused.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.overSampleLimit, m.faultyJobs, m.reloadsIncomplete, m.foreignConnections)
	}
	return m
}
