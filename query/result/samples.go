package result

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// asSamples is set in the encoding of a chunk that travels as its samples.
const asSamples = 0x80

// maxSamples is how many samples a chunk can count.
const maxSamples = math.MaxUint16

// sampleWriter takes apart chunks of floats. Columns of the values of many series are
// a third of the size of their chunks, compressed.
type sampleWriter struct {
	values plane.Writer
	state  plane.State // of the series
	series []int64     // the times of its samples
	times  []byte
	known  map[string]uint64 // places of lists of times, from 1 on
	key    []byte
	t      []int64 // of a chunk
	v      []float64
	it     chunkenc.Iterator
}

func (w *sampleWriter) reset() {
	w.values.Reset()
	w.times, w.known = w.times[:0], map[string]uint64{}
}

func (w *sampleWriter) begin() {
	w.state, w.series = plane.NewState(), w.series[:0]
	w.values.Row()
}

// take takes the samples of a chunk if the same chunk can be made of them; it gives
// their number, 0 if it cannot.
func (w *sampleWriter) take(c chunkenc.Chunk) int {
	if e := c.Encoding(); e != chunkenc.EncXOR && e != chunkenc.EncXOR2 || c.NumSamples() == 0 {
		return 0
	}
	w.t, w.v = w.t[:0], w.v[:0]
	w.it = c.Iterator(w.it)
	for w.it.Next() == chunkenc.ValFloat {
		t, v := w.it.At()
		w.t, w.v = append(w.t, t), append(w.v, v)
	}
	before := int64(math.MinInt64)
	if n := len(w.series); n > 0 {
		before = w.series[n-1]
	}
	for _, t := range w.t {
		if t <= before || t < -maxTime || t > maxTime {
			return 0
		}
		before = t
	}
	again, err := makeChunk(c.Encoding(), w.t, w.v)
	if w.it.Err() != nil || err != nil || !bytes.Equal(again.Bytes(), c.Bytes()) {
		return 0 // as one with start timestamps
	}
	for _, v := range w.v {
		w.values.Float(&w.state, v)
	}
	w.series = append(w.series, w.t...)
	return len(w.t)
}

// end gives the place of the series' times among all lists of times. A new list is
// its first time, and how each later distance differs from the one before.
func (w *sampleWriter) end() (place uint64) {
	w.key = w.key[:0]
	last, step := int64(0), int64(0)
	for _, t := range w.series {
		w.key = binary.AppendVarint(w.key, t-last-step)
		last, step = t, t-last
	}
	if place = w.known[string(w.key)]; place == 0 {
		place = uint64(len(w.known)) + 1
		w.known[string(w.key)] = place
		w.times = append(w.times, w.key...)
	}
	return place
}

// makeChunk puts samples into a chunk.
func makeChunk(e chunkenc.Encoding, t []int64, v []float64) (chunkenc.Chunk, error) {
	c, err := chunkenc.NewEmptyChunk(e)
	if err != nil {
		return nil, err
	}
	app, err := c.Appender()
	if err != nil {
		return nil, err
	}
	for i := range t {
		app.Append(0, t[i], v[i])
	}
	return c, nil
}

// sampleReader makes chunks of samples.
type sampleReader struct {
	values plane.Reader
	times  plane.Cursor
	lists  [][]int64
	v      []float64
}

// list reads the times of a series of n samples: a list known by its place, or the
// next one.
func (r *sampleReader) list(place uint64, n int) ([]int64, error) {
	if place > 0 && place <= uint64(len(r.lists)) {
		if list := r.lists[place-1]; len(list) == n {
			return list, nil
		}
		return nil, errShort
	}
	if place != uint64(len(r.lists))+1 || n > len(r.times.Left) { // a time is a byte at least
		return nil, errShort
	}
	list := make([]int64, n)
	last, step := int64(0), int64(0)
	for i := range list {
		t := last + step + r.times.Varint()
		if t < -maxTime || t > maxTime || i > 0 && t <= last {
			return nil, fmt.Errorf("a sample at %d follows one at %d", t, last)
		}
		last, step, list[i] = t, t-last, t
	}
	if r.times.Bad {
		return nil, errShort
	}
	r.lists = append(r.lists, list)
	return list, nil
}

// make makes the chunks of a series that have counts of samples. Their Ref is their
// encoding.
func (r *sampleReader) make(list []chunks.Meta, counts []int, place uint64, samples int) error {
	times, err := r.list(place, samples)
	if err != nil {
		return err
	}
	state := plane.NewState()
	r.values.Row()
	for i, n := range counts {
		if n == 0 {
			continue
		}
		m := &list[i]
		e := chunkenc.Encoding(m.Ref)
		if e != chunkenc.EncXOR && e != chunkenc.EncXOR2 || times[0] < m.MinTime || times[n-1] > m.MaxTime {
			return errChunk
		}
		if m.Chunk, err = r.chunk(e, &state, times[:n]); err != nil {
			return err
		}
		times, m.Ref = times[n:], 0
	}
	return nil
}

// chunk makes the next chunk of a series, of samples at these times.
func (r *sampleReader) chunk(e chunkenc.Encoding, state *plane.State, times []int64) (chunkenc.Chunk, error) {
	r.v = r.v[:0]
	for range times {
		v, other, err := r.values.Next(state)
		if err != nil {
			return nil, err
		}
		if other != 0 && other != plane.Stale || state.Mode() == plane.Rank {
			return nil, errKind
		}
		r.v = append(r.v, v)
	}
	return makeChunk(e, times, r.v)
}

func (r *sampleReader) spent() error {
	if len(r.times.Left) > 0 {
		return errLong
	}
	return r.values.Spent()
}
