// Package outlook keeps what is known of the receivers that queues are drained to:
// their metrics, their warnings, and how the last requests went.
//
// In: what the senders did. Out: atoll_<owner>_* metrics told apart by a label,
// the warnings <owner>-unreachable and <owner>-refuses, a Status for people.
// Guaranteed: safe for concurrent use.
package outlook

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/flow/queue/warn"
	"github.com/atoll-mesh/atoll/health"
)

// Reasons why a sample was given up; the label "reason" of
// atoll_<owner>_dropped_samples_total.
const (
	// Rejected: the receiver answered that it will never take it.
	Rejected = "rejected"
	// NotWritten: the receiver answered well and said it wrote less.
	NotWritten = "not_written"
	// TooOld: older than the receiver's sample_age_limit.
	TooOld = "too_old"
	// Relabelled: the receiver's write_relabel_configs dropped it.
	Relabelled = "relabelled"
	// NativeHistogram: the receiver is not to get native histograms.
	NativeHistogram = "native_histogram"
	// CustomBuckets: remote write 1.0 cannot carry histograms with custom buckets.
	CustomBuckets = "custom_buckets_in_v1"
	// Unencodable: the request could not be built.
	Unencodable = "unencodable"
	// Damaged: the queue's entry could not be read; samples are not known, entries are counted.
	Damaged = "damaged_entry"
	// NotQueued: the queue's disk did not take it.
	NotQueued = "not_queued"
)

// unreachableAfter is how long a receiver may fail, refusedFor how long a refusal
// is shown.
const (
	unreachableAfter = time.Minute
	refusedFor       = 5 * time.Minute
)

// Family is what the receivers of one owner share.
type Family struct {
	sent, bytes, retries, dropped *prometheus.CounterVec
	failing                       *prometheus.GaugeVec
	seconds                       *prometheus.HistogramVec
	all                           []interface {
		prometheus.Collector
		DeletePartialMatch(prometheus.Labels) int
	}
	label                 string
	unreachable, refusing *warn.Shared
}

// NewFamily registers the metrics and declares the warnings; reg and list may be nil.
func NewFamily(owner, label string, reg prometheus.Registerer, list *health.List) (*Family, error) {
	f := &Family{label: label}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_" + owner + "_" + name, Help: help}, append([]string{label}, more...))
		f.all = append(f.all, v)
		return v
	}
	f.sent = counter("samples_total", "Samples the receiver accepted.")
	f.bytes = counter("bytes_total", "Bytes of the bodies the receiver accepted.")
	f.retries = counter("retries_total", "Requests that failed and are tried again.")
	f.dropped = counter("dropped_samples_total", "Samples given up, by reason.", "reason")
	f.failing = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "atoll_" + owner + "_failing", Help: "1 while the last request did not work."}, []string{label})
	f.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "atoll_" + owner + "_request_duration_seconds", Help: "Time until the receiver answered, whatever it answered.",
		NativeHistogramBucketFactor: 1.1, Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30},
	}, []string{label})
	f.all = append(f.all, f.failing, f.seconds)
	f.unreachable = warn.Declare(list, health.Warning{
		Code: owner + "-unreachable", Severity: health.SeverityWarning,
		Title:  "a receiver of the " + owner + " does not take samples",
		Remedy: "Check the receiver and the way to it. Samples wait in its queue on disk and are sent once it answers; if the queue overflows, the oldest are lost.",
	})
	f.refusing = warn.Declare(list, health.Warning{
		Code: owner + "-refuses", Severity: health.SeverityWarning,
		Title:  "a receiver of the " + owner + " refuses samples for good",
		Remedy: "Read the receiver's answer: it names what it does not accept (credentials, tenant, labels, out-of-order samples). Refused samples are not sent again.",
	})
	if reg == nil {
		return f, nil
	}
	var errs []error
	for _, c := range f.all {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register the metrics of the %s: %w", owner, err)
	}
	return f, nil
}

// Status says how a receiver does.
type Status struct {
	Name string
	// FailingSince is when the present run of failures began; zero if the last request worked.
	FailingSince time.Time
	// LastGood is when it last took samples, LastError what it last said otherwise.
	LastGood  time.Time
	LastError string
}

// Receiver is one of a Family.
type Receiver struct {
	f    *Family
	name string

	mu      sync.Mutex
	s       Status
	refused time.Time
}

// Receiver returns the receiver of that name as one of which nothing is known yet.
func (f *Family) Receiver(name string) *Receiver {
	f.failing.WithLabelValues(name).Set(0)
	return &Receiver{f: f, name: name, s: Status{Name: name}}
}

// Forget removes what is shown of it.
func (r *Receiver) Forget() {
	for _, c := range r.f.all {
		c.DeletePartialMatch(prometheus.Labels{r.f.label: r.name})
	}
	r.f.unreachable.Clear(r.name)
	r.f.refusing.Clear(r.name)
}

// Took notes how long a request took, whatever came of it.
func (r *Receiver) Took(d time.Duration) { r.f.seconds.WithLabelValues(r.name).Observe(d.Seconds()) }

// Good notes samples that were accepted in a body of that many bytes.
func (r *Receiver) Good(samples, bytes int) {
	r.f.sent.WithLabelValues(r.name).Add(float64(samples))
	r.f.bytes.WithLabelValues(r.name).Add(float64(bytes))
	r.f.failing.WithLabelValues(r.name).Set(0)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.s.FailingSince, r.s.LastGood = time.Time{}, now
	r.f.unreachable.Clear(r.name)
	if now.Sub(r.refused) > refusedFor {
		r.f.refusing.Clear(r.name)
	}
}

// Bad notes a failure after which the same is tried again.
func (r *Receiver) Bad(err error) {
	r.f.retries.WithLabelValues(r.name).Inc()
	r.f.failing.WithLabelValues(r.name).Set(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s.FailingSince.IsZero() {
		r.s.FailingSince = time.Now()
	}
	r.s.LastError = err.Error()
	if time.Since(r.s.FailingSince) >= unreachableAfter {
		r.f.unreachable.Set(r.name, "failing since %s: %v", r.s.FailingSince.Format(time.RFC3339), err)
	}
}

// Broken is Bad where waiting alone will not help: it warns at once.
func (r *Receiver) Broken(err error) {
	r.Bad(err)
	r.f.unreachable.Set(r.name, "%v", err)
}

// Refuse notes samples that the receiver will never take.
func (r *Receiver) Refuse(samples int, reason string, err error) {
	r.Drop(samples, reason)
	r.f.failing.WithLabelValues(r.name).Set(0)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.FailingSince, r.s.LastError, r.refused = time.Time{}, err.Error(), time.Now()
	r.f.unreachable.Clear(r.name)
	r.f.refusing.Set(r.name, "%d samples at %s: %v", samples, r.refused.Format(time.RFC3339), err)
}

// Drop counts samples that were given up.
func (r *Receiver) Drop(samples int, reason string) {
	if samples > 0 {
		r.f.dropped.WithLabelValues(r.name, reason).Add(float64(samples))
	}
}

// Status returns what is known.
func (r *Receiver) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.s
}
