package demo

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serviceMetrics is what a service of the shop exposes, as a developer would
// write it.
type serviceMetrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

func newServiceMetrics(service string) *serviceMetrics {
	m := &serviceMetrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shop_http_requests_total",
			Help: "Requests answered, by route and status code.",
		}, []string{"route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                           "shop_http_request_duration_seconds",
			Help:                           "Time to answer a request.",
			Buckets:                        []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5},
			NativeHistogramBucketFactor:    1.1,
			NativeHistogramMaxBucketNumber: 100,
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "shop_http_requests_in_flight",
			Help: "Requests being answered now.",
		}),
	}
	reg := m.registerer(service)
	reg.MustRegister(m.requests, m.duration, m.inFlight)
	m.registry.MustRegister(collectors.NewGoCollector())
	return m
}

func (m *serviceMetrics) registerer(service string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, m.registry)
}

func (m *serviceMetrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// observe notes one request with its trace as exemplar.
func (m *serviceMetrics) observe(route string, code int, took time.Duration, trace string) {
	m.requests.WithLabelValues(route, strconv.Itoa(code)).Inc()
	h := m.duration.WithLabelValues(route)
	if e, ok := h.(prometheus.ExemplarObserver); ok && trace != "" {
		e.ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": trace})
		return
	}
	h.Observe(took.Seconds())
}
