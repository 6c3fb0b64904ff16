package receive

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unsafe"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
)

// maxAhead is how far in the future a timestamp may lie, as in Prometheus.
const maxAhead = 10 * time.Minute

// writer appends one decoded request.
type writer struct {
	h         *remoteWrite
	b         *batch
	v2        bool
	app       storage.AppenderV2
	exemplars storage.ExemplarAppenderV2 // nil if app has none
	refs      storage.GetRef             // nil if app has none
	raw       flow.RawAppender           // nil if app has none, or for 2.0
	// rawSamples are what raw was shown, those of series i from rawFrom[i] on.
	rawSamples []flow.RawSample
	rawFrom    []int
	maxTime    int64  // ms
	clock      uint32 // of the cache
	hits       int
	misses     int

	builder      labels.ScratchBuilder
	labelCount   int           // of the series, also beyond the limit
	longestName  int           // bytes
	longestValue int           // bytes
	tmp          labels.Labels // in the builder's buffer: valid until the next series
	symbolHashes []uint64
	symbolCopies map[uint32]string
	exemplarBuf  []exemplar.Exemplar

	stats    stats
	problems problems
}

func (w *writer) begin(h *remoteWrite, b *batch, v2 bool, app storage.AppenderV2) {
	w.h, w.b, w.v2, w.app = h, b, v2, app
	w.exemplars, _ = app.(storage.ExemplarAppenderV2)
	w.refs, _ = app.(storage.GetRef)
	if !v2 {
		w.raw, _ = app.(flow.RawAppender)
	}
	w.maxTime = h.now().Add(maxAhead).UnixMilli()
	if h.cache != nil {
		w.clock = h.cache.clock()
	}
}

// release drops what must not be held between requests.
func (w *writer) release() {
	w.app, w.exemplars, w.refs, w.raw, w.b = nil, nil, nil, nil, nil
	w.rawSamples = w.rawSamples[:0]
	w.hits, w.misses = 0, 0
	w.stats, w.problems = stats{}, problems{}
	clear(w.symbolCopies)
	clear(w.exemplarBuf)
	if cap(w.rawSamples)*int(unsafe.Sizeof(flow.RawSample{})) > keepBytes {
		w.rawSamples, w.rawFrom = nil, nil
	}
	if cap(w.symbolHashes)*8 > keepBytes {
		w.symbolHashes = nil
	}
}

// write decodes the request, appends everything and commits. It returns nil also if
// some samples were refused, see problems; after a refusal nothing is stored.
func (w *writer) write(p []byte) *refusal {
	finished := false
	defer func() { // a panic below must not leave the transaction open
		if !finished {
			_ = w.app.Rollback() // the panic is the news
		}
	}()
	err := w.decode(p)
	if err == nil {
		err = w.appendAll()
	}
	finished = true
	if w.h.cache != nil {
		w.h.metrics.cache.hits.Add(float64(w.hits))
		w.h.metrics.cache.misses.Add(float64(w.misses))
	}
	if err != nil {
		return w.giveUp(err)
	}
	if err := w.app.Commit(); err != nil {
		return fatal("committing the request, of which nothing is stored", err)
	}
	return nil
}

// giveUp rolls back.
func (w *writer) giveUp(err error) *refusal {
	no := &refusal{status: http.StatusBadRequest, reason: reasonMalformed, err: err}
	if large, ok := errors.AsType[*tooLarge](err); ok {
		no.status, no.reason = http.StatusRequestEntityTooLarge, large.reason
	} else if bad, ok := errors.AsType[malformed](err); ok {
		no.err = bad.error
	} else {
		return fatal("appending the request, which was rolled back", errors.Join(err, w.app.Rollback()))
	}
	if err := w.app.Rollback(); err != nil {
		return fatal("rolling back a malformed request", err)
	}
	return no
}

// decode leaves in the batch what is not taken yet.
func (w *writer) decode(p []byte) (err error) {
	if w.v2 {
		err = w.b.decodeV2(p)
	} else {
		if w.raw != nil && w.showPlain(p) {
			return nil
		}
		err = w.b.decodeV1(p, w.rawSamples)
	}
	if _, large := errors.AsType[*tooLarge](err); err != nil && !large {
		return malformed{err}
	}
	if err == nil && w.v2 && w.h.cache != nil {
		w.symbolHashes = w.h.cache.hashSymbols(w.symbolHashes, w.b.symbols)
	}
	return err
}

func (w *writer) appendAll() error {
	if w.raw != nil && w.appendRaw() {
		return nil
	}
	for i := range w.b.series {
		if w.tookRaw(i, false) {
			continue
		}
		if err := w.appendSeries(i); err != nil {
			return err
		}
	}
	return nil
}

// appendSeries returns an error if the transaction must be rolled back.
func (w *writer) appendSeries(i int) error {
	s := &w.b.series[i]
	samples := int(s.sampleTo - s.sampleFrom + s.histogramTo - s.histogramFrom)
	if err := w.readLabels(s); err != nil {
		if bad, ok := errors.AsType[malformed](err); ok {
			return bad
		}
		w.problems.add(reasonInvalidLabels, samples, err.Error)
		return nil
	}
	if w.v2 && (int(s.unitRef) >= len(w.b.symbols) || int(s.helpRef) >= len(w.b.symbols)) {
		w.problems.add(reasonMetadata, samples, func() string {
			return fmt.Sprintf("metadata unit_ref %d or help_ref %d is outside of the symbols table (size %d)", s.unitRef, s.helpRef, len(w.b.symbols))
		})
		return nil
	}
	e, hash := w.find(s)
	fresh := e == nil
	if fresh {
		var no *badLabels
		if e, no = w.newEntry(); no != nil {
			w.problems.add(no.reason, samples, no.text)
			return nil
		}
		if w.raw != nil && w.raw.LearnRaw(s.labels, e.lset) && w.tookRaw(i, true) {
			return nil
		}
	}
	if w.v2 && samples == 0 && s.exemplarTo == s.exemplarFrom {
		w.problems.add(reasonNoSample, 0, func() string { return "neither sample, histogram nor exemplar for series " + e.lset.String() })
		return nil
	}
	opts := storage.AOptions{}
	if w.v2 && w.h.cfg.StoreMetadata {
		opts.Metadata = w.metadata(s)
	}
	before := e.seriesRef()
	ref, err := w.appendSamples(s, e, opts)
	if err != nil {
		return err
	}
	switch {
	case w.h.cache == nil:
	case fresh && ref != 0:
		e.ref.Store(uint64(ref))
		e.used.Store(w.clock)
		w.h.cache.put(hash, e, labelBytes(e.lset))
	case !fresh:
		if ref != before {
			e.ref.Store(uint64(ref))
		}
		e.touch(w.clock)
	}
	if s.exemplarTo > s.exemplarFrom {
		return w.appendExemplars(s, e.lset, ref)
	}
	return nil
}

// appendRaw shows all samples at once to an appender that may know their series by
// the bytes of their labels, and reports whether it took all there is.
func (w *writer) appendRaw() bool {
	w.rawSamples, w.rawFrom = w.rawSamples[:0], w.rawFrom[:0]
	single := w.singles()
	if !single {
		w.selectRaw()
	}
	w.raw.AppendRaw(w.rawSamples)
	if !single {
		return false
	}
	if w.takenAll() {
		w.stats.samples += len(w.rawSamples)
		return true
	}
	for i := range len(w.rawSamples) + 1 {
		w.rawFrom = append(w.rawFrom, i)
	}
	return false
}

// singles selects all samples if every series has one, as nearly all requests are.
func (w *writer) singles() bool {
	all, samples := w.b.series, w.b.samples
	if len(all) != len(samples) || len(w.b.histograms)+len(w.b.exemplarV1) > 0 {
		return false
	}
	raws := slices.Grow(w.rawSamples[:0], len(all))[:len(all)]
	for i := range all {
		s, x := &all[i], &samples[i]
		if s.sampleTo != s.sampleFrom+1 || x.t > w.maxTime {
			return false
		}
		r := &raws[i]
		r.Labels, r.T, r.V = s.labels, x.t, x.v
	}
	w.rawSamples = raws
	return true
}

func (w *writer) takenAll() bool {
	for i := range w.rawSamples {
		if !w.rawSamples[i].Taken {
			return false
		}
	}
	return true
}

// selectRaw selects what may be taken by bytes of a request of any kind.
func (w *writer) selectRaw() {
	for i := range w.b.series {
		s := &w.b.series[i]
		w.rawFrom = append(w.rawFrom, len(w.rawSamples))
		if s.histogramFrom != s.histogramTo || s.exemplarFrom != s.exemplarTo || w.tooFarAhead(s) {
			continue
		}
		for _, x := range w.b.samples[s.sampleFrom:s.sampleTo] {
			w.rawSamples = append(w.rawSamples, flow.RawSample{Labels: s.labels, T: x.t, V: x.v})
		}
	}
	w.rawFrom = append(w.rawFrom, len(w.rawSamples))
}

func (w *writer) tooFarAhead(s *series) bool {
	return slices.ContainsFunc(w.b.samples[s.sampleFrom:s.sampleTo], func(x sample) bool { return x.t > w.maxTime })
}

// tookRaw reports whether the samples of the series with this number were taken by
// the bytes of its labels; again shows them once more.
func (w *writer) tookRaw(series int, again bool) bool {
	if w.raw == nil {
		return false
	}
	shown := w.rawSamples[w.rawFrom[series]:w.rawFrom[series+1]]
	if len(shown) == 0 {
		return false
	}
	if again {
		w.raw.AppendRaw(shown)
	}
	if !shown[0].Taken {
		return false
	}
	w.stats.samples += len(shown)
	return true
}

// appendSamples returns the newest reference the storage gave.
func (w *writer) appendSamples(s *series, e *entry, opts storage.AOptions) (storage.SeriesRef, error) {
	ref := e.seriesRef()
	for _, x := range w.b.samples[s.sampleFrom:s.sampleTo] {
		next, ok, err := w.append(ref, e.lset, x.st, x.t, x.v, nil, nil, opts)
		if err != nil {
			return 0, err
		}
		if ok {
			ref = next
			w.stats.samples++
		}
	}
	for _, x := range w.b.histograms[s.histogramFrom:s.histogramTo] {
		next, ok, err := w.append(ref, e.lset, x.st, x.t, 0, x.h, x.fh, opts)
		if err != nil {
			return 0, err
		}
		if ok {
			ref = next
			w.stats.histograms++
		}
	}
	return ref, nil
}

// append returns false if the sample alone was refused, which is noted.
func (w *writer) append(ref storage.SeriesRef, lset labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, bool, error) {
	err := w.prepare(t, h, fh)
	if err == nil {
		ref, err = w.app.Append(ref, lset, st, t, v, h, fh, opts)
	}
	if err == nil {
		return ref, true, nil
	}
	if _, ok := partial(err); ok { // the sample itself was stored
		return ref, true, nil
	}
	reason := refusedFor(err)
	if reason == "" {
		return 0, false, err
	}
	w.problems.add(reason, 1, func() string { return fmt.Sprintf("%v: t=%d for series %s", err, t, lset) })
	return 0, false, nil
}

var errTooFarAhead = fmt.Errorf("%w: timestamp is more than %s in the future", storage.ErrOutOfBounds, maxAhead)

// prepare refuses timestamps too far ahead, and reduces histograms of a
// resolution that is reserved for the future to the highest known one.
func (w *writer) prepare(t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) error {
	if t > w.maxTime {
		return errTooFarAhead
	}
	tooFine := func(schema int32) bool {
		return histogram.IsExponentialSchemaReserved(schema) && schema > histogram.ExponentialSchemaMax
	}
	switch {
	case h != nil && tooFine(h.Schema):
		return h.ReduceResolution(histogram.ExponentialSchemaMax)
	case fh != nil && tooFine(fh.Schema):
		return fh.ReduceResolution(histogram.ExponentialSchemaMax)
	}
	return nil
}

// metadata copies the strings: the storage may keep them.
func (w *writer) metadata(s *series) metadata.Metadata {
	if w.symbolCopies == nil {
		w.symbolCopies = map[uint32]string{}
	}
	return metadata.Metadata{Type: metricType(s.metaType), Unit: w.copied(s.unitRef), Help: w.copied(s.helpRef)}
}
