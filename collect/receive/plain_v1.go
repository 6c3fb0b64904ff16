package receive

import (
	"encoding/binary"
	"math"
	"slices"
	"unsafe"

	"github.com/atoll-mesh/atoll/flow"
)

// plainTail is the length of a sample as nearly all are: key and length, then the
// value, then a time of 6 bytes (in milliseconds, the years 1971 to 2109).
const plainTail = 2 + 1 + 8 + 1 + 6

// plainSample reads the one sample that a series ends with, if it is such a one, and
// returns where it begins. Whether a field of the series begins there, and only labels
// come before, is not looked at.
func plainSample(p []byte) (n int, s sample, ok bool) {
	n = len(p) - plainTail
	if n < 0 {
		return 0, s, false
	}
	tail := (*[plainTail]byte)(p[n:])
	const sampleKey = 2<<3 | wireBytes | (plainTail-2)<<8 | (1<<3|wireFix64)<<16
	if binary.LittleEndian.Uint32(tail[:])&0xffffff != sampleKey {
		return 0, s, false
	}
	t := binary.LittleEndian.Uint64(tail[plainTail-8:]) >> 8
	if t&0x80_8080_8080_80ff != 0x00_8080_8080_8000|(2<<3|wireVarint) {
		return 0, s, false
	}
	t >>= 8
	s.t = int64(t&0x7f | t>>1&(0x7f<<7) | t>>2&(0x7f<<14) | t>>3&(0x7f<<21) | t>>4&(0x7f<<28) | t>>5&(0x7f<<35))
	s.v = math.Float64frombits(binary.LittleEndian.Uint64(tail[3:]))
	return n, s, true
}

// plainSeriesV1 reads a series as nearly all are: labels shorter than 128 bytes,
// then one sample. Of others it takes nothing and returns false.
func (b *batch) plainSeriesV1(p []byte) bool {
	n, x, ok := plainSample(p)
	if !ok || b.full() || b.room < seriesCost+sampleCost {
		return false
	}
	i := 0
	for i < n && p[i] == 1<<3|wireBytes && p[i+1] < 0x80 {
		i += 2 + int(p[i+1])
	}
	if i != n {
		return false
	}
	b.room -= seriesCost + sampleCost
	if len(b.series) == cap(b.series) {
		b.series = slices.Grow(b.series, 1)
	}
	b.series = b.series[:len(b.series)+1]
	s := &b.series[len(b.series)-1] // in place, as a literal would be made and then copied
	samples, histograms, exemplars := uint32(len(b.samples)), uint32(len(b.histograms)), uint32(len(b.exemplarV1))
	s.labels = p[:n:n]
	s.refFrom, s.refTo = 0, 0
	s.sampleFrom, s.sampleTo = samples, samples+1
	s.histogramFrom, s.histogramTo = histograms, histograms
	s.exemplarFrom, s.exemplarTo = exemplars, exemplars
	s.metaType, s.helpRef, s.unitRef = 0, 0, 0
	b.samples = append(b.samples, x)
	return true
}

const rawCost = int(unsafe.Sizeof(flow.RawSample{}))

// showPlain shows an appender that may know series by the bytes of their labels the
// samples of a whole request, of which nothing has been decoded yet, and reports
// whether it has taken all there is. What it knows are label fields and nothing else,
// as it has learnt them so: where it knows those bytes a field begins behind them, and
// that is the sample.
func (w *writer) showPlain(p []byte) bool {
	w.rawSamples = w.rawSamples[:0]
	i, most := 0, min(w.b.maxSeries, w.b.room/rawCost)
	for i < len(p) && p[i] == 1<<3|wireBytes && len(w.rawSamples) < most {
		lo, hi := sized(p, i+1)
		if hi < 0 {
			break
		}
		n, x, ok := plainSample(p[lo:hi])
		if !ok || x.t > w.maxTime {
			n = 0
		}
		w.rawSamples = append(w.rawSamples, flow.RawSample{Labels: p[lo : lo+n : lo+n], T: x.t, V: x.v})
		i = hi
	}
	w.raw.AppendRaw(w.rawSamples)
	taken := 0
	for k := range w.rawSamples {
		if w.rawSamples[k].Taken {
			taken++
		}
	}
	w.stats.samples += taken
	return i == len(p) && taken == len(w.rawSamples)
}
