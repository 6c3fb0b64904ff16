package global

import (
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

var errShort = errors.New("the chunk ends in its layout")

// sane checks what upstream's decoders believe before they read any further: the
// number of buckets of histograms, for which they make room at once. Every bucket
// takes at least a bit of every sample.
func sane(c Chunk) error {
	switch c.Encoding {
	case chunkenc.EncXOR, chunkenc.EncXOR2:
		return nil
	}
	if len(c.Data) < histogramHeader {
		return errShort
	}
	b := &bits{data: c.Data[histogramHeader:]}
	// The layout, as in tsdb/chunkenc/histogram_meta.go: a threshold, which is a
	// byte or, after 255, 64 bits; the schema; positive and negative spans.
	threshold, err := b.read(8)
	if err == nil && threshold == 255 {
		_, err = b.read(64)
	}
	if err == nil {
		_, err = b.varbit()
	}
	var buckets uint64
	for range 2 {
		if err != nil {
			return err
		}
		var n uint64
		n, err = b.spans()
		buckets += n
	}
	if room := uint64(len(c.Data)) * 8; err == nil && buckets > room {
		return fmt.Errorf("%d buckets in %d bits", buckets, room)
	}
	return err
}

// histogramHeader is the number of samples and flags, in bytes.
const histogramHeader = 3

// bits reads a chunk's bit stream, most significant bit first.
type bits struct {
	data []byte
	at   int // in bits
}

func (b *bits) read(n int) (v uint64, err error) {
	if b.at+n > len(b.data)*8 {
		return 0, errShort
	}
	for range n {
		v = v<<1 | uint64(b.data[b.at/8]>>(7-b.at%8))&1
		b.at++
	}
	return v, nil
}

// varbit reads one of upstream's numbers of variable length: up to eight ones say
// how many bits follow. Signed and unsigned ones are of the same length.
func (b *bits) varbit() (uint64, error) {
	ones := 0
	for ones < 8 {
		bit, err := b.read(1)
		if err != nil {
			return 0, err
		}
		if bit == 0 {
			break
		}
		ones++
	}
	return b.read([]int{0, 3, 6, 9, 12, 18, 25, 56, 64}[ones])
}

// spans reads a list of spans and returns the buckets that they cover.
func (b *bits) spans() (buckets uint64, err error) {
	n, err := b.varbit()
	for left := n; err == nil && left > 0; left-- {
		var length uint64
		if length, err = b.varbit(); err == nil {
			buckets += uint64(uint32(length)) // as upstream cuts it
			_, err = b.varbit()
		}
	}
	if err == nil && n > 2*buckets+16 {
		return 0, fmt.Errorf("%d spans for %d buckets: each would be gone through for every sample", n, buckets)
	}
	return buckets, err
}
