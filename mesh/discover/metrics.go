package discover

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	wanted    prometheus.Gauge
	missing   prometheus.Gauge
	waiting   prometheus.Gauge
	dials     *prometheus.CounterVec
	surplus   prometheus.Counter
	found     *prometheus.CounterVec
	strangers *prometheus.CounterVec
	table     prometheus.Gauge
	lookups   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		wanted:  gauge("atoll_mesh_neighbours_wanted", "Members that this island has chosen to stay connected with."),
		missing: gauge("atoll_mesh_neighbours_missing", "Chosen members that are not connected now."),
		waiting: gauge("atoll_mesh_neighbours_backing_off", "Chosen members whose next dial waits after failures."),
		dials:   vec("atoll_mesh_dials_total", "Dials of members, by why (keep, demand, lan) and result (ok, failed).", "why", "result"),
		surplus: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_mesh_surplus_closed_total", Help: "Idle connections closed because nobody here chose them."}),
		found:     vec("atoll_mesh_found_total", "Members found, by source: mdns, static, dht, member.", "source"),
		strangers: vec("atoll_mesh_found_strangers_total", "Peers that a source offered and that are no members, by source.", "source"),
		table:     gauge("atoll_mesh_dht_peers", "Members in the DHT's routing table."),
		lookups:   vec("atoll_mesh_dht_lookups_total", "Members looked for in the DHT, by result: found, missing.", "result"),
	}
	if reg != nil {
		reg.MustRegister(m.wanted, m.missing, m.waiting, m.dials, m.surplus, m.found, m.strangers, m.table, m.lookups)
	}
	return m
}
