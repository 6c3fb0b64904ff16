package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// federate answers with the newest sample of every series that a match[]
// parameter selects. It does what upstream's handler of that name does, which
// cannot be had without all of its web package; beyond that it takes a query
// slot and obeys the query timeout.
func (q *Query) federate(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, fmt.Sprintf("error parsing form values: %v", err), http.StatusBadRequest)
		return
	}
	matchers, err := q.parser.ParseMetricSelectors(r.Form["match[]"])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(q.Config().Timeout))
	defer cancel()
	release, err := q.engine.AcquireQuerySlot(ctx, "federate "+strings.Join(r.Form["match[]"], " "))
	if err != nil {
		q.federateFailed(w, err)
		return
	}
	defer release()

	samples, err := q.newest(ctx, matchers, q.now())
	if err != nil {
		q.federateFailed(w, err)
		return
	}
	format := expfmt.NegotiateAccept(r.Header, expfmt.NewFormat(expfmt.TypeProtoDelim), expfmt.NewFormat(expfmt.TypeProtoText),
		expfmt.NewFormat(expfmt.TypeProtoCompact), expfmt.NewFormat(expfmt.TypeTextPlain))
	w.Header().Set("Content-Type", string(format))
	enc := &federateEncoder{
		enc:      expfmt.NewEncoder(w, format),
		protobuf: format.FormatType() != expfmt.TypeTextPlain,
		external: externalLabels(q.options.PrometheusConfig().GlobalConfig.ExternalLabels),
	}
	for _, s := range samples {
		if err := enc.add(s); err != nil {
			q.federateBroken(err)
			return
		}
	}
	if enc.nameless > 0 {
		q.options.Logger.Warn("federation left out series without a name", "series", enc.nameless)
	}
	if err := enc.flush(); err != nil {
		q.federateBroken(err)
	}
}

// federateFailed reports an error before anything was sent.
func (q *Query) federateFailed(w http.ResponseWriter, err error) {
	q.metrics.federationErrors.Inc()
	code := http.StatusInternalServerError
	if errors.Is(err, tsdb.ErrNotReady) || errors.Is(err, ErrQueueFull) || errors.Is(err, context.DeadlineExceeded) {
		code = http.StatusServiceUnavailable
	}
	http.Error(w, err.Error(), code)
}

// federateBroken reports an error after part of the answer was sent.
func (q *Query) federateBroken(err error) {
	q.metrics.federationErrors.Inc()
	q.options.Logger.Error("federation failed", "err", err)
}

// newest returns the latest sample within the lookback of each selected
// series, ordered by metric name. Stale series are left out.
func (q *Query) newest(ctx context.Context, sets [][]*labels.Matcher, now time.Time) (promql.Vector, error) {
	lookback := time.Duration(q.Config().LookbackDelta)
	hints := &storage.SelectHints{Start: timestamp.FromTime(now.Add(-lookback)), End: timestamp.FromTime(now)}
	// The store alone, as upstream: who federates asks each island for its own.
	querier, err := q.options.Store.Querier(hints.Start, hints.End)
	if err != nil {
		return nil, err
	}
	defer querier.Close()

	selected := make([]storage.SeriesSet, 0, len(sets))
	for _, matchers := range sets {
		selected = append(selected, querier.Select(ctx, true, hints, matchers...))
	}
	set := storage.NewMergeSeriesSet(selected, 0, storage.ChainedSeriesMerge)
	buffer := storage.NewBuffer(lookback.Milliseconds())
	var (
		out promql.Vector
		it  chunkenc.Iterator
	)
	for set.Next() {
		series := set.At()
		it = series.Iterator(it)
		buffer.Reset(it)
		if s, ok := last(buffer, hints.End); ok {
			s.Metric = series.Labels()
			out = append(out, s)
		}
	}
	if ws := set.Warnings(); len(ws) > 0 {
		q.options.Logger.Debug("federation select returned warnings", "warnings", ws)
		q.metrics.federationWarnings.Add(float64(len(ws)))
	}
	if err := set.Err(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b promql.Sample) int {
		return strings.Compare(a.Metric.Get(labels.MetricName), b.Metric.Get(labels.MetricName))
	})
	return out, nil
}

// last is the newest sample at or before maxt; ok is false if there is none or
// it is a staleness marker, which the exposition formats cannot express.
func last(it *storage.BufferedSeriesIterator, maxt int64) (s promql.Sample, ok bool) {
	switch it.Seek(maxt) {
	case chunkenc.ValFloat:
		s.T, s.F = it.At()
	case chunkenc.ValFloatHistogram, chunkenc.ValHistogram:
		s.T, s.H = it.AtFloatHistogram(nil)
	default:
		prev, found := it.PeekBack(1)
		if !found {
			return s, false
		}
		s.T = prev.T()
		switch prev.Type() {
		case chunkenc.ValFloat:
			s.F = prev.F()
		case chunkenc.ValHistogram:
			s.H = prev.H().ToFloat(nil)
		case chunkenc.ValFloatHistogram:
			s.H = prev.FH().Copy() // the buffer is used again for the next series
		default:
			return s, false
		}
	}
	return s, !stale(s.F, s.H)
}

func stale(f float64, h *histogram.FloatHistogram) bool {
	return value.IsStaleNaN(f) || (h != nil && value.IsStaleNaN(h.Sum))
}
