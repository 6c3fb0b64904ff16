package events

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	published                      *prometheus.CounterVec
	sent, missed, dropped, refused prometheus.Counter
	clients                        prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "atoll_portal_events_" + name, Help: help})
	}
	m := &metrics{
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_portal_events_published_total", Help: "Events that happened, by topic.",
		}, []string{"topic"}),
		sent:    counter("sent_total", "Events written to browsers, counted once for each."),
		missed:  counter("missed_total", "Events that were forgotten before a browser that looks had read them."),
		dropped: counter("dropped_clients_total", "Browsers whose stream was ended because they read too slowly."),
		refused: counter("refused_clients_total", "Browsers that were refused because too many look already."),
		clients: prometheus.NewGauge(prometheus.GaugeOpts{Name: "atoll_portal_events_clients", Help: "Browsers that look now."}),
	}
	for _, t := range Topics() {
		m.published.WithLabelValues(string(t))
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.published, m.sent, m.missed, m.dropped, m.refused, m.clients} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
