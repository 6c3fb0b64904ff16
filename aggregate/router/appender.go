package router

import (
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate/sink/batch"
)

// appender collects a transaction.
type appender struct {
	r       *Router
	samples []batch.Sample
}

// Append implements storage.AppenderV2. The reference is always 0.
func (a *appender) Append(_ storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	a.r.m.exemplars.Add(float64(len(opts.Exemplars)))
	s := batch.Sample{ST: st, T: t, V: v}
	if n := len(a.samples); n > 0 && labels.Equal(a.samples[n-1].Labels, ls) {
		s.Labels = a.samples[n-1].Labels
	} else {
		s.Labels = ls.Copy() // the caller may use their memory again
	}
	if h != nil {
		s.H = h.Copy()
	}
	if fh != nil {
		s.FH = fh.Copy()
	}
	a.samples = append(a.samples, s)
	return 0, nil
}

// AppendExemplar implements storage.ExemplarAppenderV2: exemplars are counted only.
func (a *appender) AppendExemplar(ref storage.SeriesRef, _ labels.Labels, _ exemplar.Exemplar) (storage.SeriesRef, error) {
	a.r.m.exemplars.Inc()
	return ref, nil
}

// Commit queues everything. The error wraps flow.ErrUnavailable where a sample is
// in the queue of none of its backends: the transaction may be tried again.
func (a *appender) Commit() error {
	samples := a.samples
	a.samples = nil
	if len(samples) == 0 {
		return nil
	}
	return a.r.route(samples)
}

// Rollback forgets everything.
func (a *appender) Rollback() error {
	a.samples = nil
	return nil
}
