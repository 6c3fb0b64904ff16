package receive

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Protocols, as metric labels.
const (
	protocolV1   = "remote_write_v1"
	protocolV2   = "remote_write_v2"
	protocolRW   = "remote_write" // refused before its version was known
	protocolOTLP = "otlp"
)

// Reasons of refusals, as metric labels.
const (
	// of a whole request
	reasonMethod          = "method"
	reasonMediaType       = "unsupported_media_type"
	reasonEncoding        = "unsupported_encoding"
	reasonBody            = "body_unreadable"
	reasonBodyTooLarge    = "body_too_large"
	reasonDecodedTooLarge = "decoded_too_large"
	reasonExpansion       = "expansion_too_large"
	reasonTooManySeries   = "too_many_series"
	reasonMalformed       = "malformed"
	reasonBusy            = "busy"
	reasonUnavailable     = "unavailable"
	reasonInternal        = "internal"
	// of a sample
	reasonOutOfOrder       = "out_of_order"
	reasonOutOfBounds      = "out_of_bounds"
	reasonDuplicate        = "duplicate_timestamp"
	reasonTooOld           = "too_old"
	reasonInvalidHistogram = "invalid_histogram"
	reasonOverLimit        = "over_limit"
	// of a series or of exemplars
	reasonInvalidLabels = "invalid_labels"
	reasonTooManyLabels = "too_many_labels"
	reasonLabelTooLong  = "label_too_long"
	reasonMetadata      = "invalid_metadata"
	reasonNoSample      = "no_sample"
	reasonExemplar      = "exemplar"
	reasonTranslation   = "untranslatable"
	reasonPanic         = "panic"
)

// metrics of all receivers of one registry.
type metrics struct {
	requests *prometheus.CounterVec
	samples  *prometheus.CounterVec
	rejected *prometheus.CounterVec
	refused  *prometheus.CounterVec

	exemplarsRefused *prometheus.CounterVec

	bodyBytes *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	inFlight  *prometheus.GaugeVec
	cache     cacheMetrics
}

type cacheMetrics struct {
	entries, bytes           prometheus.Gauge
	hits, misses             prometheus.Counter
	evictedFull, evictedIdle prometheus.Counter
}

// newMetrics registers the metrics, or takes those that another receiver of the
// same registry has registered.
func newMetrics(reg prometheus.Registerer) *metrics {
	evicted := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "atoll_receive_cache_evicted_total",
		Help: "Series dropped from the cache, by why: it was full, or they were idle.",
	}, []string{"reason"}))
	return &metrics{
		requests: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_receive_requests_total",
			Help: "Requests answered, by protocol and status code.",
		}, []string{"protocol", "code"})),
		samples: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_receive_samples_total",
			Help: "Samples stored, by protocol and type (float, histogram, exemplar).",
		}, []string{"protocol", "type"})),
		rejected: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_receive_rejected_total",
			Help: "Requests of which something, or all, was refused; once per request and reason.",
		}, []string{"protocol", "reason"})),
		refused: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_receive_rejected_samples_total",
			Help: "Samples refused while the rest of their request was stored.",
		}, []string{"protocol", "reason"})),
		exemplarsRefused: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_receive_rejected_exemplars_total",
			Help: "Exemplars refused while their samples were stored.",
		}, []string{"protocol"})),
		bodyBytes: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_receive_body_bytes_total",
			Help: "Bytes of request bodies, as they arrived (wire) and after decompression (decoded).",
		}, []string{"protocol", "stage"})),
		duration: register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "atoll_receive_request_duration_seconds",
			Help:    "Time from a request's admission to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"protocol"})),
		inFlight: register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_receive_in_flight_requests",
			Help: "Requests being served.",
		}, []string{"protocol"})),
		cache: cacheMetrics{
			entries: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
				Name: "atoll_receive_cache_series",
				Help: "Series in the cache.",
			})),
			bytes: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
				Name: "atoll_receive_cache_bytes",
				Help: "Bytes the cached series are taken to occupy, labels included.",
			})),
			hits: register(reg, prometheus.NewCounter(prometheus.CounterOpts{
				Name: "atoll_receive_cache_hits_total",
				Help: "Series found in the cache.",
			})),
			misses: register(reg, prometheus.NewCounter(prometheus.CounterOpts{
				Name: "atoll_receive_cache_misses_total",
				Help: "Series not found in the cache.",
			})),
			evictedFull: evicted.WithLabelValues("full"),
			evictedIdle: evicted.WithLabelValues("idle"),
		},
	}
}

func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	err := reg.Register(c)
	if err == nil {
		return c
	}
	if again, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if known, ok := again.ExistingCollector.(C); ok {
			return known
		}
	}
	panic(err) // another part of the program owns the name
}

// protocolMetrics are the metrics of one protocol, looked up once.
type protocolMetrics struct {
	all                           *metrics
	protocol                      string
	floats, histograms, exemplars prometheus.Counter
	wireBytes, decodedBytes       prometheus.Counter
	duration                      prometheus.Observer
}

func (m *metrics) of(protocol string) *protocolMetrics {
	return &protocolMetrics{
		all:          m,
		protocol:     protocol,
		floats:       m.samples.WithLabelValues(protocol, "float"),
		histograms:   m.samples.WithLabelValues(protocol, "histogram"),
		exemplars:    m.samples.WithLabelValues(protocol, "exemplar"),
		wireBytes:    m.bodyBytes.WithLabelValues(protocol, "wire"),
		decodedBytes: m.bodyBytes.WithLabelValues(protocol, "decoded"),
		duration:     m.duration.WithLabelValues(protocol),
	}
}

func (m *metrics) answered(protocol string, code int) {
	m.requests.WithLabelValues(protocol, strconv.Itoa(code)).Inc()
}
