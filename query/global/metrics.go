package global

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	queries *prometheus.CounterVec
	islands *prometheus.CounterVec
	refused prometheus.Counter
	rounds  prometheus.Counter
	samples prometheus.Counter
	bytes   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_global_queries_total",
			Help: "Queries about all islands, by result: complete, partial or error.",
		}, []string{"result"}),
		islands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_global_islands_total",
			Help: "Islands in queries, by what became of them: answered, skipped or failed.",
		}, []string{"state"}),
		refused: counter("atoll_global_refused_answers_total", "Answers of islands that could not be true and were refused."),
		rounds:  counter("atoll_global_rounds_total", "Times that queries asked the islands; more than queries where some ask twice."),
		samples: counter("atoll_global_received_samples_total", "Samples received from islands."),
		bytes:   counter("atoll_global_received_bytes_total", "Bytes received from islands."),
	}
	if reg != nil {
		reg.MustRegister(m.queries, m.islands, m.refused, m.rounds, m.samples, m.bytes)
	}
	return m
}

// finished counts a query.
func (m *metrics) finished(r *Receipt, err error) {
	result := "complete"
	switch {
	case err != nil:
		result = "error"
	case r.Partial:
		result = "partial"
	}
	m.queries.WithLabelValues(result).Inc()
	m.rounds.Add(float64(r.Rounds))
	for _, i := range r.Islands {
		if i.State != "" {
			m.islands.WithLabelValues(string(i.State)).Inc()
		}
		m.samples.Add(float64(i.Samples))
		m.bytes.Add(float64(i.Bytes))
	}
}
