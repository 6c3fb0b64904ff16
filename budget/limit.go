package budget

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
)

// Limit guards an appender chain. Its rules:
//
//   - While free space is below the reserve, Append and Commit of a transaction
//     begun then return an error wrapping ErrDisk. One begun before is finished.
//   - At the series limit the sample of a series that is not in the store is
//     dropped: Append returns reference 0 and no error, so that a scrape does not
//     fail as a whole and tries the series again next time. With a context from
//     flow.Strict it returns an error wrapping ErrSeriesLimit instead; the
//     transaction can be committed all the same.
//   - Samples of a series that is in the store always pass.
//
// The limit may be passed by one series for each transaction running at the same
// moment. A caller's reference is trusted: one to a series long gone makes it
// anew. With no limit set, Limit hands out the next appender itself.
func (b *Budget) Limit(next storage.AppendableV2) storage.AppendableV2 {
	return limiter{b, next}
}

type limiter struct {
	b    *Budget
	next storage.AppendableV2
}

func (l limiter) AppenderV2(ctx context.Context) storage.AppenderV2 {
	if n := l.b.glance(); n != nil {
		return stopped{l.b, n}
	}
	app := l.next.AppenderV2(ctx)
	limit := l.b.cfg.Load().Series
	if limit == 0 {
		return app
	}
	a := &limited{AppenderV2: app, b: l.b, limit: limit}
	a.refs, _ = app.(storage.GetRef)
	a.exemplars, _ = app.(storage.ExemplarAppenderV2)
	if flow.IsStrict(ctx) {
		a.refusal = &notice{is: ErrSeriesLimit, text: fmt.Sprintf("new series dropped: budget.series allows %d; raise it or send fewer series", limit)}
	}
	return a
}

// limited watches a transaction for new series.
type limited struct {
	storage.AppenderV2
	b         *Budget
	limit     uint64
	refusal   error // nil to drop in silence
	refs      storage.GetRef
	exemplars storage.ExemplarAppenderV2
}

func (a *limited) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if ref == 0 && a.b.numSeries() >= a.limit && !a.known(ls) {
		a.b.drop(a.limit)
		return 0, a.refusal
	}
	return a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
}

// known asks the store whether it has the series; what cannot be asked passes.
func (a *limited) known(ls labels.Labels) bool {
	if a.refs == nil {
		return true
	}
	ls = ls.WithoutEmpty()
	ref, _ := a.refs.GetRef(ls, ls.Hash())
	return ref != 0
}

// AppendExemplars drops those of a series that was dropped before.
func (a *limited) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, es []exemplar.Exemplar) (storage.SeriesRef, error) {
	if a.exemplars == nil {
		return 0, fmt.Errorf("append exemplars: %T cannot", a.AppenderV2)
	}
	got, err := a.exemplars.AppendExemplars(ref, ls, es)
	if errors.Is(err, storage.ErrNotFound) && a.b.numSeries() >= a.limit {
		return 0, a.refusal
	}
	return got, err
}

// GetRef finds the reference of a series in the store.
func (a *limited) GetRef(ls labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	if a.refs == nil {
		return 0, labels.EmptyLabels()
	}
	return a.refs.GetRef(ls, hash)
}

func (b *Budget) drop(limit uint64) {
	b.m.overSeries.Inc()
	b.dropped.Store(time.Now().UnixNano())
	if b.dropping.CompareAndSwap(false, true) {
		b.warn.series.Set("the store holds %d series, budget.series allows %d: samples of new series are dropped", b.numSeries(), limit)
		b.logger.Warn("series limit reached, new series are dropped", "series", b.numSeries(), "limit", limit)
	}
}

// stopped refuses a transaction for want of disk space.
type stopped struct {
	b   *Budget
	err error
}

func (s stopped) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	s.b.m.overDisk.Inc()
	return 0, s.err
}

func (s stopped) AppendExemplars(storage.SeriesRef, labels.Labels, []exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, s.err
}

func (stopped) GetRef(labels.Labels, uint64) (storage.SeriesRef, labels.Labels) {
	return 0, labels.EmptyLabels()
}

func (s stopped) Commit() error { return s.err }
func (stopped) Rollback() error { return nil }
