package request

import (
	"fmt"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/util/compression"
)

// Encoder turns series and their samples into the compressed body of one request.
// Begin a series with Series, add what belongs to it, and end with Finish. It is
// not for concurrent use.
type Encoder struct {
	v2      bool
	one     []prompb.TimeSeries
	two     []writev2.TimeSeries
	symbols writev2.SymbolsTable
	raw     []byte
	buf     compression.EncodeBuffer
}

// NewEncoder returns one for remote write 2.0, or else 1.0.
func NewEncoder(v2 bool) *Encoder {
	return &Encoder{v2: v2, symbols: writev2.NewSymbolTable(), buf: compression.NewSyncEncodeBuffer()}
}

// Series begins a time series. meta may be nil; remote write 1.0 has no place for
// it, nor for start timestamps.
func (e *Encoder) Series(ls labels.Labels, meta *metadata.Metadata) {
	if !e.v2 {
		e.one = grow(e.one)
		ts := &e.one[len(e.one)-1]
		*ts = prompb.TimeSeries{Labels: prompb.FromLabels(ls, ts.Labels), Samples: ts.Samples[:0]}
		return
	}
	e.two = grow(e.two)
	ts := &e.two[len(e.two)-1]
	*ts = writev2.TimeSeries{LabelsRefs: e.symbols.SymbolizeLabels(ls, ts.LabelsRefs), Samples: ts.Samples[:0]}
	if meta != nil {
		ts.Metadata.Type = writev2.FromMetadataType(meta.Type)
		ts.Metadata.HelpRef = e.symbols.Symbolize(meta.Help)
		ts.Metadata.UnitRef = e.symbols.Symbolize(meta.Unit)
	}
}

// Sample adds a sample to the series begun last: h or fh if one of them is set,
// else v. st (0 if unknown) and t are ms since the epoch.
func (e *Encoder) Sample(st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram) {
	if !e.v2 {
		ts := &e.one[len(e.one)-1]
		switch {
		case h != nil:
			ts.Histograms = append(ts.Histograms, prompb.FromIntHistogram(t, h))
		case fh != nil:
			ts.Histograms = append(ts.Histograms, prompb.FromFloatHistogram(t, fh))
		default:
			ts.Samples = append(ts.Samples, prompb.Sample{Value: v, Timestamp: t})
		}
		return
	}
	ts := &e.two[len(e.two)-1]
	switch {
	case h != nil:
		ts.Histograms = append(ts.Histograms, writev2.FromIntHistogram(st, t, h))
	case fh != nil:
		ts.Histograms = append(ts.Histograms, writev2.FromFloatHistogram(st, t, fh))
	default:
		ts.Samples = append(ts.Samples, writev2.Sample{Value: v, Timestamp: t, StartTimestamp: st})
	}
}

// Exemplar adds an exemplar to the series begun last.
func (e *Encoder) Exemplar(ex exemplar.Exemplar) {
	if !e.v2 {
		ts := &e.one[len(e.one)-1]
		ts.Exemplars = append(ts.Exemplars, prompb.Exemplar{
			Labels: prompb.FromLabels(ex.Labels, nil), Value: ex.Value, Timestamp: ex.Ts,
		})
		return
	}
	ts := &e.two[len(e.two)-1]
	ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{
		LabelsRefs: e.symbols.SymbolizeLabels(ex.Labels, nil), Value: ex.Value, Timestamp: ex.Ts,
	})
}

// Finish returns the body, valid until the next call, and begins a new request.
func (e *Encoder) Finish() ([]byte, error) {
	n := len(e.one) + len(e.two)
	err := e.marshal()
	e.one, e.two = e.one[:0], e.two[:0]
	e.symbols.Reset()
	if err != nil {
		return nil, fmt.Errorf("encode %d series: %w", n, err)
	}
	body, err := compression.Encode(compression.Snappy, e.raw, e.buf)
	if err != nil {
		return nil, fmt.Errorf("compress %d series: %w", n, err)
	}
	return body, nil
}

func (e *Encoder) marshal() error {
	var err error
	if e.v2 {
		req := writev2.Request{Symbols: e.symbols.Symbols(), Timeseries: e.two}
		e.raw, err = req.OptimizedMarshal(e.raw)
		return err
	}
	req := prompb.WriteRequest{Timeseries: e.one}
	e.raw = resize(e.raw, req.Size())
	_, err = req.MarshalToSizedBuffer(e.raw)
	return err
}

// grow lengthens s by one and keeps what the element held, for its buffers.
func grow[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var zero T
	return append(s, zero)
}

func resize(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
