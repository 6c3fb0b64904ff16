package portal

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	duration    *prometheus.HistogramVec
	inFlight    prometheus.Gauge
	panics      prometheus.Counter
	refused     *prometheus.CounterVec
	connections prometheus.Gauge
	limit       prometheus.Gauge
}

// The reasons a request is refused before it reaches a handler.
const (
	refusedCrossSite = "cross_site"
	refusedHost      = "host"
)

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "atoll_http_request_duration_seconds",
			Help:                            "Time from the headers of a request to the end of its answer, by route and status code.",
			Buckets:                         []float64{.005, .025, .1, .4, 1, 3, 10, 60},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"handler", "code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_http_requests_in_flight",
			Help: "Requests being answered now.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_http_panics_total",
			Help: "Requests whose handler panicked.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_http_requests_refused_total",
			Help: "Requests refused before a handler saw them: sent by another site's page, or for a foreign host name.",
		}, []string{"reason"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_http_connections",
			Help: "Connections open now, over all addresses.",
		}),
		limit: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_http_connections_limit",
			Help: "Connections that may be open at once, over all addresses.",
		}),
	}
	for _, reason := range []string{refusedCrossSite, refusedHost} {
		m.refused.WithLabelValues(reason)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.duration, m.inFlight, m.panics, m.refused, m.connections, m.limit} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
