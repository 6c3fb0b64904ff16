package store

import (
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// epochShift leaves 2^40 series references to each opening; the TSDB counts
// them up from 1. The 16 bits above the epoch belong to who stands before the
// store.
const epochShift = 40

// epochRefs keeps references from before a reopening from being believed. A
// series whose record was cut off with the damaged end of the log is gone, and
// its number is given to the next new series; but scrapers and receivers hold
// the old number, and the TSDB trusts a number without looking at the labels.
// So references of a later opening carry its epoch in their upper bits, and one
// of another epoch counts as unknown: the labels decide.
type epochRefs struct {
	*appender
	epoch uint64 // in its place
}

func (e *epochRefs) inner(ref storage.SeriesRef) storage.SeriesRef {
	if uint64(ref)>>epochShift<<epochShift != e.epoch {
		return 0
	}
	return storage.SeriesRef(uint64(ref) &^ e.epoch)
}

func (e *epochRefs) outer(ref storage.SeriesRef) storage.SeriesRef {
	if ref == 0 {
		return 0
	}
	return storage.SeriesRef(uint64(ref) | e.epoch)
}

func (e *epochRefs) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AOptions) (storage.SeriesRef, error) {
	ref, err := e.appender.Append(e.inner(ref), ls, st, t, v, h, fh, o)
	return e.outer(ref), err
}

func (e *epochRefs) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, es []exemplar.Exemplar) (storage.SeriesRef, error) {
	ref, err := e.appender.AppendExemplars(e.inner(ref), ls, es)
	return e.outer(ref), err
}

func (e *epochRefs) GetRef(ls labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	ref, ls := e.appender.GetRef(ls, hash)
	return e.outer(ref), ls
}
