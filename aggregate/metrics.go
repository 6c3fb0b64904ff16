package aggregate

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	published prometheus.Counter
	refused   *prometheus.CounterVec
	pending   prometheus.Gauge
	replayed  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_aggregate_published_samples_total", Help: "Samples that came out of sealed windows.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_aggregate_store_refused_samples_total", Help: "Results that the store did not take, by reason: duplicate (it has another value at that time), out_of_order, limit, invalid (labels or a histogram that no store takes), pending (too many waited for the store to take samples again).",
		}, []string{"reason"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_aggregate_pending_samples", Help: "Results that wait for the store to take samples again.",
		}),
		replayed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_aggregate_replayed_frames_total", Help: "Frames of the journal that were read at start.",
		}),
	}
	for _, reason := range []string{"duplicate", "out_of_order", "limit", "invalid", "pending"} {
		m.refused.WithLabelValues(reason)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.published, m.refused, m.pending, m.replayed} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
