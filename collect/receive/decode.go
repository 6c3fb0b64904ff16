package receive

import (
	"fmt"
	"unsafe"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// batch is one decoded request. It is reused: nothing in it may outlive the
// request, and its strings and slices point into the request's body.
type batch struct {
	series     []series
	samples    []sample
	histograms []histogramSample
	exemplarV1 []prompb.Exemplar
	exemplarV2 []writev2.Exemplar
	// refs are the label references of all 2.0 series, one after the other.
	refs []uint32
	// symbols are the strings that 2.0 references stand for.
	symbols []string
	// side holds label fields that did not lie together in their message.
	side []byte

	maxSeries int
	elsewhere int // series that were taken without being decoded
	// room is how many bytes the request may still grow to in memory; without
	// it two bytes on the wire could become a hundred here.
	room int
}

// series is one TimeSeries message. from and to pairs are ranges in the batch.
type series struct {
	labels                     []byte // 1.0: its label fields, key and length included
	refFrom, refTo             uint32 // 2.0
	sampleFrom, sampleTo       uint32
	histogramFrom, histogramTo uint32
	exemplarFrom, exemplarTo   uint32
	metaType                   writev2.Metadata_MetricType
	helpRef, unitRef           uint32
}

// sample is a float with its timestamps in milliseconds; st is 0 if unknown.
type sample struct {
	st, t int64
	v     float64
}

// histogramSample holds either h or fh.
type histogramSample struct {
	st, t int64
	h     *histogram.Histogram
	fh    *histogram.FloatHistogram
}

// What one element takes in memory, in bytes, for room. Histograms and exemplars
// are counted as a multiple of what they are on the wire.
const (
	seriesCost      = int(unsafe.Sizeof(series{}))
	sampleCost      = int(unsafe.Sizeof(sample{}))
	symbolCost      = int(unsafe.Sizeof("")) + 8 // and its hash
	refCost         = 4
	histogramGrowth = 8
	exemplarGrowth  = 16
)

// tooLarge is a whole request over a limit.
type tooLarge struct {
	reason string
	text   string
}

func (e *tooLarge) Error() string { return e.text }

// reset leaves series as they are: they point into memory that the request after
// this one uses again, or into what it has replaced by larger one.
func (b *batch) reset(maxSeries, room int) {
	clear(b.histograms)
	clear(b.exemplarV1)
	clear(b.exemplarV2)
	clear(b.symbols)
	b.series, b.samples, b.histograms = b.series[:0], b.samples[:0], b.histograms[:0]
	b.exemplarV1, b.exemplarV2 = b.exemplarV1[:0], b.exemplarV2[:0]
	b.refs, b.symbols, b.side = b.refs[:0], b.symbols[:0], b.side[:0]
	b.maxSeries, b.room, b.elsewhere = maxSeries, room, 0
}

func (b *batch) take(n int) error {
	if b.room -= n; b.room < 0 {
		return &tooLarge{reasonExpansion, "decoding the request: its many small elements take more than twice max_decoded_bytes in memory; send smaller batches"}
	}
	return nil
}

func (b *batch) full() bool { return len(b.series)+b.elsewhere >= b.maxSeries }

func (b *batch) addSeries() (*series, error) {
	if b.full() {
		return nil, &tooLarge{reasonTooManySeries, fmt.Sprintf("decoding the request: it has more than %d series (max_series); send smaller batches", b.maxSeries)}
	}
	if err := b.take(seriesCost); err != nil {
		return nil, err
	}
	b.series = append(b.series, series{
		refFrom:       uint32(len(b.refs)),
		sampleFrom:    uint32(len(b.samples)),
		histogramFrom: uint32(len(b.histograms)),
		exemplarFrom:  uint32(len(b.exemplarV1) + len(b.exemplarV2)),
	})
	return &b.series[len(b.series)-1], nil
}

func (b *batch) endSeries(s *series) {
	s.refTo = uint32(len(b.refs))
	s.sampleTo = uint32(len(b.samples))
	s.histogramTo = uint32(len(b.histograms))
	s.exemplarTo = uint32(len(b.exemplarV1) + len(b.exemplarV2))
}

// decodeSample reads prometheus.Sample and io.prometheus.write.v2.Sample, which
// differ by the start timestamp.
func (b *batch) decodeSample(p []byte, v2 bool) error {
	var s sample
	i := 0
	if len(p) > 10 && p[0] == 1<<3|wireFix64 && p[9] == 2<<3|wireVarint { // as most are
		s.v, _ = fixed64(p, 1)
		var t uint64
		if t, i = longVarint(p, 10); i < 0 {
			return wireError("Sample", i)
		}
		s.t = int64(t)
	}
	for i < len(p) {
		start := i
		field, wire, next := tag(p, i)
		i = next
		switch {
		case i < 0:
		case field == 1:
			if wire != wireFix64 {
				return wrongWire("Sample", field, wire)
			}
			s.v, i = fixed64(p, i)
		case field == 2 || field == 3 && v2:
			if wire != wireVarint {
				return wrongWire("Sample", field, wire)
			}
			var v uint64
			v, i = varint(p, i)
			if field == 2 {
				s.t = int64(v)
			} else {
				s.st = int64(v)
			}
		default:
			i = skip(p, start)
		}
		if i < 0 {
			return wireError("Sample", i)
		}
	}
	if err := b.take(sampleCost); err != nil {
		return err
	}
	b.samples = append(b.samples, s)
	return nil
}

// text makes a string of p without copying it.
func text(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
