package result

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// chunkHead is the bytes before the samples of a chunk of histograms. Chunks of
// floats have less, but the sample count of two bytes is common to all.
const chunkHead = 3

var errChunk = errors.New("a chunk's data is malformed")

// openChunk makes a chunk of foreign bytes after having read it to its end: what
// it holds is in order and within its times, and reading it again does no harm.
// It gives the number of samples.
func openChunk(e chunkenc.Encoding, data []byte, minTime, maxTime int64, points, buckets int) (m chunks.Meta, n int, err error) {
	if err := checkData(e, data, buckets); err != nil {
		return m, 0, err
	}
	c, err := chunkenc.FromData(e, data)
	if err != nil {
		return m, 0, err
	}
	if n = c.NumSamples(); n == 0 || n > points {
		return m, 0, fmt.Errorf("a chunk has %d samples: want 1 to %d", n, points)
	}
	if err := walk(c, n, minTime, maxTime); err != nil {
		return m, 0, err
	}
	return chunks.Meta{Chunk: c, MinTime: minTime, MaxTime: maxTime}, n, nil
}

// checkData looks at a chunk from outside.
func checkData(e chunkenc.Encoding, data []byte, buckets int) error {
	if len(data) < chunkHead {
		return errChunk
	}
	switch e {
	case chunkenc.EncXOR, chunkenc.EncXOR2:
		return nil
	case chunkenc.EncHistogram, chunkenc.EncFloatHistogram, chunkenc.EncHistogramST, chunkenc.EncFloatHistogramST:
		return checkLayout(data[chunkHead:], uint64(buckets))
	}
	return fmt.Errorf("a chunk has the encoding %d, which is not known", e)
}

// walk reads a chunk to its end. The library that reads it was written for chunks
// from its own disk: where it panics on foreign ones, the chunk is malformed.
func walk(c chunkenc.Chunk, n int, minTime, maxTime int64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errChunk, p)
		}
	}()
	it, read, last := c.Iterator(nil), 0, minTime-1
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		t := it.AtT()
		if t <= last || t > maxTime {
			return fmt.Errorf("%w: a sample at %d follows one at %d in a chunk from %d to %d", errChunk, t, last, minTime, maxTime)
		}
		if kind != chunkenc.ValFloat && read == 0 {
			if _, h := it.AtFloatHistogram(nil); plane.CheckFloat(h) != nil {
				return fmt.Errorf("%w: %w", errChunk, plane.CheckFloat(h))
			}
		}
		last = t
		read++
	}
	if it.Err() != nil || read != n {
		return fmt.Errorf("%w: it has %d samples of %d", errChunk, read, n)
	}
	return nil
}

// checkLayout reads the layout at the begin of a chunk of histograms, because the
// library makes room for as many buckets as it says. Its format is that of
// Prometheus' tsdb/chunkenc: zero threshold, schema, spans, in varbit numbers.
func checkLayout(data []byte, most uint64) error {
	skip := uint(8)
	if data = append(data[:len(data):len(data)], make([]byte, 16)...); data[0] == 255 {
		skip += 64
	}
	r := varbits{b: data, pos: skip}
	r.next() // schema
	total := uint64(0)
	for range 2 {
		spans := r.next()
		if spans > most {
			return fmt.Errorf("%w: it has %d spans: want at most %d", errChunk, spans, most)
		}
		for range spans {
			length := uint64(uint32(r.next()))
			r.next() // offset
			if total += length; total > most {
				return fmt.Errorf("%w: it has more than %d buckets", errChunk, most)
			}
		}
	}
	return nil
}

// varbits reads numbers as chunkenc writes them: as many ones as the class of the
// number, a zero, then its bits, most significant first. Past the end it reads
// zeros.
type varbits struct {
	b   []byte
	pos uint
}

func (r *varbits) next() uint64 {
	widths := [...]uint{0, 3, 6, 9, 12, 18, 25, 56, 64}
	class := min(bits.LeadingZeros8(^uint8(r.read(8))), len(widths)-1)
	r.pos += uint(min(class+1, len(widths)-1))
	v := r.read(widths[class])
	r.pos += widths[class]
	return v
}

// read gives the next n bits and stays where it is.
func (r *varbits) read(n uint) (v uint64) {
	for i := range n {
		at := r.pos + i
		v <<= 1
		if at>>3 < uint(len(r.b)) {
			v |= uint64(r.b[at>>3]>>(7-at&7)) & 1
		}
	}
	return v
}
