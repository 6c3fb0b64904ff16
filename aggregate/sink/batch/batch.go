// Package batch is the form in which samples wait in a sink's queue, whatever the
// sink: a remote write 2.0 request with a small head.
//
// In: samples. Out: entries for a queue, and samples again. Guaranteed: what is
// decoded is bounded (MaxSamples, MaxBytes uncompressed) before it is believed;
// an entry that holds what a 2.0 receiver is to get can be sent as it is.
package batch

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/atoll-mesh/atoll/flow/send/request"
)

const (
	version = 1
	head    = 1 + 4 + 8 + 8
	// MaxSamples bounds the samples of one entry.
	MaxSamples = 100_000
	// MaxBytes bounds an entry before it is compressed.
	MaxBytes = 64 << 20
)

// ErrDamaged is wrapped by every refusal of bytes that are no entry.
var ErrDamaged = errors.New("not a batch of samples")

// Sample is one sample of a series. It is a float, or a histogram if H or FH is
// set. ST (0 if unknown) and T are ms since the epoch.
type Sample struct {
	Labels labels.Labels
	ST, T  int64
	V      float64
	H      *histogram.Histogram
	FH     *histogram.FloatHistogram
}

// Encoder collects samples for one entry. It is not for concurrent use.
type Encoder struct {
	enc      *request.Encoder
	last     labels.Labels
	n        int
	min, max int64
	buf      []byte
}

// NewEncoder returns an empty one.
func NewEncoder() *Encoder { return &Encoder{enc: request.NewEncoder(true)} }

// Len is the number of samples collected.
func (e *Encoder) Len() int { return e.n }

// Add takes a sample; consecutive ones with the same labels share a series.
func (e *Encoder) Add(s Sample) {
	if e.n == 0 || !labels.Equal(e.last, s.Labels) {
		e.enc.Series(s.Labels, nil)
		e.last = s.Labels
	}
	if e.n == 0 {
		e.min, e.max = s.T, s.T
	}
	e.min, e.max = min(e.min, s.T), max(e.max, s.T)
	e.enc.Sample(s.ST, s.T, s.V, s.H, s.FH)
	e.n++
}

// Finish returns the entry, valid until the next call, and begins a new one.
func (e *Encoder) Finish() ([]byte, error) {
	body, err := e.enc.Finish()
	n := e.n
	e.n, e.last = 0, labels.EmptyLabels()
	if err != nil {
		return nil, fmt.Errorf("encode %d samples: %w", n, err)
	}
	e.buf = append(e.buf[:0], version)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(n))
	e.buf = binary.LittleEndian.AppendUint64(e.buf, uint64(e.min))
	e.buf = binary.LittleEndian.AppendUint64(e.buf, uint64(e.max))
	e.buf = append(e.buf, body...)
	return e.buf, nil
}

// Info is what an entry says of itself without being decoded.
type Info struct {
	Samples int
	// MinT and MaxT are ms since the epoch.
	MinT, MaxT int64
	// Body is a remote write 2.0 request, compressed with snappy.
	Body []byte
}

// Peek reads the head of an entry.
func Peek(entry []byte) (Info, error) {
	if len(entry) < head || entry[0] != version {
		return Info{}, fmt.Errorf("%w: %d bytes, version %d is what this program reads", ErrDamaged, len(entry), version)
	}
	i := Info{
		Samples: int(binary.LittleEndian.Uint32(entry[1:])),
		MinT:    int64(binary.LittleEndian.Uint64(entry[5:])),
		MaxT:    int64(binary.LittleEndian.Uint64(entry[13:])),
		Body:    entry[head:],
	}
	if i.Samples == 0 || i.Samples > MaxSamples || i.MinT > i.MaxT {
		return Info{}, fmt.Errorf("%w: it claims %d samples from %d to %d", ErrDamaged, i.Samples, i.MinT, i.MaxT)
	}
	return i, nil
}

// Decode appends the samples of an entry to dst.
func Decode(entry []byte, dst []Sample) ([]Sample, error) {
	info, err := Peek(entry)
	if err != nil {
		return dst, err
	}
	n, err := snappy.DecodedLen(info.Body)
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if n > MaxBytes {
		return dst, fmt.Errorf("%w: it claims %d bytes uncompressed, at most %d are read", ErrDamaged, n, MaxBytes)
	}
	raw, err := snappy.Decode(nil, info.Body)
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	var req writev2.Request
	if err := req.Unmarshal(raw); err != nil {
		return dst, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	b := labels.NewScratchBuilder(16)
	before := len(dst)
	for i := range req.Timeseries {
		if dst, err = series(&req.Timeseries[i], &b, req.Symbols, dst); err != nil {
			return dst[:before], fmt.Errorf("%w: series %d: %w", ErrDamaged, i, err)
		}
	}
	if n := len(dst) - before; n != info.Samples {
		return dst[:before], fmt.Errorf("%w: it has %d samples and claims %d", ErrDamaged, n, info.Samples)
	}
	return dst, nil
}

func series(ts *writev2.TimeSeries, b *labels.ScratchBuilder, symbols []string, dst []Sample) ([]Sample, error) {
	ls, err := ts.ToLabels(b, symbols)
	if err != nil {
		return dst, err
	}
	for _, s := range ts.Samples {
		dst = append(dst, Sample{Labels: ls, ST: s.StartTimestamp, T: s.Timestamp, V: s.Value})
	}
	for i := range ts.Histograms {
		h := &ts.Histograms[i]
		s := Sample{Labels: ls, ST: h.StartTimestamp, T: h.Timestamp}
		if h.IsFloatHistogram() {
			s.FH = h.ToFloatHistogram()
		} else {
			s.H = h.ToIntHistogram()
		}
		dst = append(dst, s)
	}
	return dst, nil
}
