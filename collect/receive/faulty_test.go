package receive

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// faulty is an Appendable that fails where it is told to, and counts what is
// still open.
type faulty struct {
	next     storage.AppendableV2
	onAppend func(ls labels.Labels) error // may be nil
	onCommit func() error                 // may be nil
	open     atomic.Int64
	appends  atomic.Int64
	commits  atomic.Int64
}

type fullAppender interface {
	storage.ExemplarAppenderV2
	storage.GetRef
}

func (f *faulty) AppenderV2(ctx context.Context) storage.AppenderV2 {
	f.open.Add(1)
	return &faultyAppender{fullAppender: f.next.AppenderV2(ctx).(fullAppender), f: f}
}

type faultyAppender struct {
	fullAppender
	f *faulty
}

func (a *faultyAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	a.f.appends.Add(1)
	if a.f.onAppend != nil {
		if err := a.f.onAppend(ls); err != nil {
			return 0, err
		}
	}
	return a.fullAppender.Append(ref, ls, st, t, v, h, fh, opts)
}

func (a *faultyAppender) Commit() error {
	a.f.open.Add(-1)
	if a.f.onCommit != nil {
		if err := a.f.onCommit(); err != nil {
			_ = a.fullAppender.Rollback()
			return err
		}
	}
	a.f.commits.Add(1)
	return a.fullAppender.Commit()
}

func (a *faultyAppender) Rollback() error {
	a.f.open.Add(-1)
	return a.fullAppender.Rollback()
}

// sink is a storage without memory or goroutines, for fuzzing; it refuses some.
type sink struct{}

func (sink) AppenderV2(context.Context) storage.AppenderV2 { return sinkAppender{} }

type sinkAppender struct{}

func (sinkAppender) Append(_ storage.SeriesRef, ls labels.Labels, _, t int64, _ float64, h *histogram.Histogram, fh *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	if h != nil {
		if err := h.Validate(); err != nil {
			return 0, err
		}
	}
	if fh != nil {
		if err := fh.Validate(); err != nil {
			return 0, err
		}
	}
	if t%7 == 0 {
		return 0, storage.ErrOutOfOrderSample
	}
	return storage.SeriesRef(ls.Hash()), nil
}

func (sinkAppender) AppendExemplars(ref storage.SeriesRef, _ labels.Labels, _ []exemplar.Exemplar) (storage.SeriesRef, error) {
	return ref, nil
}

func (sinkAppender) GetRef(labels.Labels, uint64) (storage.SeriesRef, labels.Labels) {
	return 0, labels.EmptyLabels()
}
func (sinkAppender) Commit() error   { return nil }
func (sinkAppender) Rollback() error { return nil }
