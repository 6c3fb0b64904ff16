package query

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type metrics struct {
	queries            *prometheus.CounterVec
	slow               prometheus.Counter
	running, waiting   prometheus.Gauge
	refused            prometheus.Counter
	federationErrors   prometheus.Counter
	federationWarnings prometheus.Counter
	remoteReads        *prometheus.CounterVec
	requests           *prometheus.CounterVec
	duration           *prometheus.HistogramVec
	size               *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_query_queries_total",
			Help: "Queries executed, by who asked (http, rule, other) and how it ended.",
		}, []string{"origin", "result"}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_query_slow_total",
			Help: "Queries that took longer than query.slow_query.",
		}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_query_running",
			Help: "Queries that hold a slot now.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_query_waiting",
			Help: "Queries that wait for a slot now.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_query_refused_total",
			Help: "Queries refused because query.max_queue others were waiting.",
		}),
		federationErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_query_federation_errors_total",
			Help: "Errors while answering /federate.",
		}),
		federationWarnings: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "atoll_query_federation_warnings_total",
			Help: "Warnings of the store while answering /federate.",
		}),
		remoteReads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_query_remote_reads_total",
			Help: "Reads from remote_read endpoints, by endpoint and how the answer began.",
		}, []string{"remote", "result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_query_http_requests_total",
			Help: "HTTP requests by route and status code.",
		}, []string{"handler", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "atoll_query_http_request_duration_seconds",
			Help:                            "Time to answer an HTTP request, by route.",
			Buckets:                         []float64{.1, .4, 1, 3, 8, 20, 60, 120},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"handler"}),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "atoll_query_http_response_size_bytes",
			Help:    "Size of HTTP answers, by route.",
			Buckets: prometheus.ExponentialBuckets(100, 10, 8),
		}, []string{"handler"}),
	}
	if reg != nil {
		reg.MustRegister(m.queries, m.slow, m.running, m.waiting, m.refused, m.federationErrors,
			m.federationWarnings, m.remoteReads, m.requests, m.duration, m.size)
	}
	return m
}

// instrument counts, times and sizes what h answers under the route's pattern.
func (m *metrics) instrument(route string, h http.HandlerFunc) http.HandlerFunc {
	l := prometheus.Labels{"handler": route}
	m.requests.WithLabelValues(route, "200")
	return promhttp.InstrumentHandlerCounter(m.requests.MustCurryWith(l),
		promhttp.InstrumentHandlerDuration(m.duration.MustCurryWith(l),
			promhttp.InstrumentHandlerResponseSize(m.size.MustCurryWith(l), h)))
}
