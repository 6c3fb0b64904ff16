package send

import (
	"fmt"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/util/compression"
)

// encoder turns items into the compressed body of one request. Consecutive items
// of one series share a time series. The result is valid until the next call.
type encoder struct {
	v2      bool
	one     []prompb.TimeSeries
	two     []writev2.TimeSeries
	symbols writev2.SymbolsTable
	raw     []byte
	buf     compression.EncodeBuffer
}

func newEncoder(v2 bool) *encoder {
	return &encoder{v2: v2, symbols: writev2.NewSymbolTable(), buf: compression.NewSyncEncodeBuffer()}
}

func (e *encoder) encode(items []item) ([]byte, error) {
	var err error
	if e.v2 {
		err = e.marshalV2(items)
	} else {
		err = e.marshalV1(items)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %d samples: %w", len(items), err)
	}
	body, err := compression.Encode(compression.Snappy, e.raw, e.buf)
	if err != nil {
		return nil, fmt.Errorf("compress %d samples: %w", len(items), err)
	}
	return body, nil
}

func (e *encoder) marshalV1(items []item) error {
	e.one = e.one[:0]
	for i := range items {
		it := &items[i]
		if i == 0 || items[i-1].series != it.series {
			e.one = grow(e.one)
			ts := &e.one[len(e.one)-1]
			*ts = prompb.TimeSeries{
				Labels:  prompb.FromLabels(it.series.labels, ts.Labels),
				Samples: ts.Samples[:0],
			}
		}
		ts := &e.one[len(e.one)-1]
		switch {
		case it.h != nil:
			ts.Histograms = append(ts.Histograms, prompb.FromIntHistogram(it.t, it.h))
		case it.fh != nil:
			ts.Histograms = append(ts.Histograms, prompb.FromFloatHistogram(it.t, it.fh))
		default:
			ts.Samples = append(ts.Samples, prompb.Sample{Value: it.v, Timestamp: it.t})
		}
		for _, ex := range it.ex {
			ts.Exemplars = append(ts.Exemplars, prompb.Exemplar{
				Labels: prompb.FromLabels(ex.Labels, nil), Value: ex.Value, Timestamp: ex.Ts,
			})
		}
	}
	req := prompb.WriteRequest{Timeseries: e.one}
	e.raw = resize(e.raw, req.Size())
	_, err := req.MarshalToSizedBuffer(e.raw)
	return err
}

func (e *encoder) marshalV2(items []item) error {
	e.two = e.two[:0]
	e.symbols.Reset()
	for i := range items {
		it := &items[i]
		if i == 0 || items[i-1].series != it.series {
			e.two = grow(e.two)
			ts := &e.two[len(e.two)-1]
			*ts = writev2.TimeSeries{
				LabelsRefs: e.symbols.SymbolizeLabels(it.series.labels, ts.LabelsRefs),
				Samples:    ts.Samples[:0],
			}
			if m := it.series.meta.Load(); m != nil {
				ts.Metadata.Type = writev2.FromMetadataType(m.Type)
				ts.Metadata.HelpRef = e.symbols.Symbolize(m.Help)
				ts.Metadata.UnitRef = e.symbols.Symbolize(m.Unit)
			}
		}
		ts := &e.two[len(e.two)-1]
		switch {
		case it.h != nil:
			ts.Histograms = append(ts.Histograms, writev2.FromIntHistogram(it.st, it.t, it.h))
		case it.fh != nil:
			ts.Histograms = append(ts.Histograms, writev2.FromFloatHistogram(it.st, it.t, it.fh))
		default:
			ts.Samples = append(ts.Samples, writev2.Sample{Value: it.v, Timestamp: it.t, StartTimestamp: it.st})
		}
		for _, ex := range it.ex {
			ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{
				LabelsRefs: e.symbols.SymbolizeLabels(ex.Labels, nil), Value: ex.Value, Timestamp: ex.Ts,
			})
		}
	}
	req := writev2.Request{Symbols: e.symbols.Symbols(), Timeseries: e.two}
	var err error
	e.raw, err = req.OptimizedMarshal(e.raw)
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
