package send

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons why a sample was given up; the label "reason" of
// atoll_send_dropped_samples_total.
const (
	// dropRejected: the receiver answered 4xx (other than 429).
	dropRejected = "rejected"
	// dropNotWritten: the receiver answered 2xx and said it wrote less.
	dropNotWritten = "not_written"
	// dropTooOld: older than sample_age_limit.
	dropTooOld = "too_old"
	// dropNHCB: remote write 1.0 cannot carry histograms with custom buckets.
	dropNHCB = "custom_buckets_in_v1"
	// dropUnencodable: the request could not be built.
	dropUnencodable = "unencodable"
	// dropUnknownSeries: the WAL has a sample whose series it does not name.
	dropUnknownSeries = "unknown_series"
)

type metrics struct {
	cursor     *prometheus.GaugeVec
	lag        *prometheus.GaugeVec
	pending    *prometheus.GaugeVec
	shards     *prometheus.GaugeVec
	gapSeconds *prometheus.GaugeVec
	filling    *prometheus.GaugeVec
	sent       *prometheus.CounterVec
	exemplars  *prometheus.CounterVec
	backfilled *prometheus.CounterVec
	dropped    *prometheus.CounterVec
	expired    *prometheus.CounterVec
	retries    *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	gaps       *prometheus.CounterVec
	late       *prometheus.CounterVec
	cursorFail *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	all        []interface {
		prometheus.Collector
		DeletePartialMatch(prometheus.Labels) int
	}
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{}
	gauge := func(name, help string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "atoll_send_" + name, Help: help}, []string{"remote"})
		m.all = append(m.all, v)
		return v
	}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_send_" + name, Help: help}, append([]string{"remote"}, more...))
		m.all = append(m.all, v)
		return v
	}
	m.cursor = gauge("cursor_timestamp_seconds", "Time up to which every sample of the store is delivered to the remote or given up.")
	m.lag = gauge("lag_seconds", "Age of the oldest sample that is still owed to the remote; 0 if none is.")
	m.pending = gauge("pending_samples", "Samples in memory that are not yet acknowledged.")
	m.shards = gauge("shards", "Requests that may be in flight at one time.")
	m.gapSeconds = gauge("gap_seconds", "Extent in sample time of what is still to be filled from the store.")
	m.filling = gauge("backfill_active", "1 while a gap is open: samples are owed from the store, not from the WAL.")
	m.sent = counter("samples_total", "Samples (floats and histograms) the remote accepted.")
	m.exemplars = counter("exemplars_total", "Exemplars in requests the remote accepted.")
	m.backfilled = counter("backfilled_samples_total", "Samples read from the store and accepted by the remote; part of atoll_send_samples_total.")
	m.dropped = counter("dropped_samples_total", "Samples given up, by reason.", "reason")
	m.expired = counter("expired_seconds_total", "Sample time owed that had left the store, by retention, before the remote was back.")
	m.retries = counter("retries_total", "Requests that failed and are tried again.")
	m.bytes = counter("bytes_total", "Compressed bytes of the requests the remote accepted.")
	m.gaps = counter("gaps_total", "Times the queue fell out of the WAL and continued from the store.")
	m.late = counter("late_samples_total", "Samples older than the newest of their series, sent in requests of their own.")
	m.cursorFail = counter("cursor_write_failures_total", "Cursor writes that failed; after a crash more is sent again.")
	m.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "atoll_send_request_duration_seconds", Help: "Time until the remote answered, whatever it answered.",
		NativeHistogramBucketFactor: 1.1, Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30},
	}, []string{"remote"})
	m.all = append(m.all, m.seconds)
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range m.all {
		errs = append(errs, reg.Register(c))
	}
	return m, errors.Join(errs...)
}

// forget removes the metrics of a remote that is gone.
func (m *metrics) forget(remote string) {
	for _, c := range m.all {
		c.DeletePartialMatch(prometheus.Labels{"remote": remote})
	}
}
