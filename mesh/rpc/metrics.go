package rpc

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// callMetrics count calls of one side, served or made.
type callMetrics struct {
	calls          *prometheus.CounterVec
	duration       *prometheus.HistogramVec
	inFlight       *prometheus.GaugeVec
	received, sent [numClasses]prometheus.Counter
	wire           wireMetrics
}

// wireMetrics count what went through connections, headers and all.
type wireMetrics struct {
	received, sent prometheus.Counter
	open           prometheus.Gauge
}

func newCallMetrics(side string, reg prometheus.Registerer) callMetrics {
	byMethod := []string{"service", "method", "class"}
	m := callMetrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_mesh_rpc_calls_total", Help: "Calls that ended, by their status code; side tells served ones from those made.",
		}, append(byMethod, "code")),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "atoll_mesh_rpc_duration_seconds", Help: "How long calls took, waiting for a slot included.",
			Buckets: []float64{0.005, 0.05, 0.5, 5}, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
			NativeHistogramMinResetDuration: time.Hour,
		}, byMethod),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_mesh_rpc_in_flight", Help: "Calls that are open.",
		}, []string{"class"}),
	}
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "atoll_mesh_rpc_message_bytes_total", Help: "Bytes of messages before compression.",
	}, []string{"class", "direction"})
	wire := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "atoll_mesh_rpc_wire_bytes_total", Help: "Bytes through connections for calls, headers and control frames included.",
	}, []string{"direction"})
	conns := prometheus.NewGauge(prometheus.GaugeOpts{Name: "atoll_mesh_rpc_connections", Help: "HTTP/2 connections that are open."})
	for _, c := range Classes() {
		m.received[c] = bytes.WithLabelValues(c.String(), "received")
		m.sent[c] = bytes.WithLabelValues(c.String(), "sent")
		m.inFlight.WithLabelValues(c.String())
	}
	m.wire = wireMetrics{wire.WithLabelValues("received"), wire.WithLabelValues("sent"), conns}
	if reg != nil {
		prometheus.WrapRegistererWith(prometheus.Labels{"side": side}, reg).MustRegister(m.calls, m.duration, m.inFlight, bytes, wire, conns)
	}
	return m
}

// methodMetrics are the metrics of one method, looked up once.
type methodMetrics struct {
	calls    *prometheus.CounterVec
	duration prometheus.Observer
	inFlight prometheus.Gauge
	ok       prometheus.Counter
}

func (m callMetrics) method(service, name string, c Class) methodMetrics {
	calls := m.calls.MustCurryWith(prometheus.Labels{"service": service, "method": name, "class": c.String()})
	return methodMetrics{
		calls:    calls,
		duration: m.duration.WithLabelValues(service, name, c.String()),
		inFlight: m.inFlight.WithLabelValues(c.String()),
		ok:       calls.WithLabelValues(codes.OK.String()),
	}
}

func (m methodMetrics) done(code codes.Code, took time.Duration) {
	if code == codes.OK {
		m.ok.Inc()
	} else {
		m.calls.WithLabelValues(code.String()).Inc()
	}
	m.duration.Observe(took.Seconds())
}

type serverMetrics struct {
	callMetrics
	queued                  [numLanes]prometheus.Gauge
	shed, denied, throttled *prometheus.CounterVec
	waited                  prometheus.Histogram
	panics, yields          prometheus.Counter
}

func newServerMetrics(reg prometheus.Registerer) *serverMetrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	queued := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "atoll_mesh_rpc_queued", Help: "Calls that wait for a slot of their class.",
	}, []string{"class"})
	m := &serverMetrics{
		callMetrics: newCallMetrics("server", reg),
		shed:        vec("atoll_mesh_rpc_shed_total", "Calls refused because no slot would be free in time: full queue, peer's half of it full, deadline passed while waiting, deadline hopeless.", "class", "reason"),
		denied:      vec("atoll_mesh_rpc_denied_total", "Calls and connections refused by identity, version, quarantine, policy, connections or unknown_method.", "reason"),
		throttled:   vec("atoll_mesh_rpc_throttled_total", "Calls refused because a token bucket of the calling peer was empty.", "scope", "class"),
		waited: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "atoll_mesh_rpc_queue_wait_seconds", Help: "How long calls that had to wait for a slot waited.",
			Buckets: []float64{0.005, 0.05, 0.5, 5}, NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "atoll_mesh_rpc_panics_total", Help: "Handlers that panicked."}),
		yields: prometheus.NewCounter(prometheus.CounterOpts{Name: "atoll_mesh_rpc_yields_total", Help: "Times that a handler waited for more pressing calls."}),
	}
	for ln := range lane(numLanes) {
		m.queued[ln] = queued.WithLabelValues(ln.String())
	}
	if reg != nil {
		reg.MustRegister(queued, m.shed, m.denied, m.throttled, m.waited, m.panics, m.yields)
	}
	return m
}

type clientMetrics struct {
	callMetrics
	breaker              *prometheus.GaugeVec
	opened               prometheus.Counter
	paused               prometheus.Counter
	retries, stalls      *prometheus.CounterVec
	dials, resets, fails prometheus.Counter
}

func newClientMetrics(reg prometheus.Registerer) *clientMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &clientMetrics{
		callMetrics: newCallMetrics("client", reg),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_mesh_rpc_breaker_state", Help: "Circuit breaker of each peer called lately: 0 closed, 1 half-open, 2 open.",
		}, []string{"peer"}),
		opened: counter("atoll_mesh_rpc_breaker_opened_total", "Times that a circuit breaker opened."),
		paused: counter("atoll_mesh_rpc_paused_total", "Calls not made because the peer's circuit breaker was open."),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_mesh_rpc_retries_total", Help: "Calls made once more after their connection broke: idempotent ones, and others that had not gone out.",
		}, []string{"class"}),
		stalls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_mesh_rpc_stalls_total", Help: "Times that an answer was owed and no byte came for stall_after.",
		}, []string{"class"}),
		dials:  counter("atoll_mesh_rpc_dials_total", "Connections asked for."),
		fails:  counter("atoll_mesh_rpc_dial_failures_total", "Connections that could not be had."),
		resets: counter("atoll_mesh_rpc_resets_total", "Times that a peer's connections were dropped for another path."),
	}
	if reg != nil {
		reg.MustRegister(m.breaker, m.opened, m.paused, m.retries, m.stalls, m.dials, m.fails, m.resets)
	}
	return m
}
