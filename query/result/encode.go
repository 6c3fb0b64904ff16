package result

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// encoder holds what encoding needs, to be used again.
type encoder struct {
	limits   Limits
	packer   *plane.Packer
	values   plane.Writer
	buckets  plane.HistogramWriter
	names    plane.LabelWriter
	presence []byte
	places   []int
	table    []int64
	numbers  []byte // of chunks
	data     []byte // of chunks
	samples  sampleWriter
	notes    []byte
	body     []byte
	whole    []byte
	apart    []byte // label sets that are not in body
}

// Encode appends the result to dst.
func (c *Codec) Encode(dst []byte, r *Result) ([]byte, error) {
	dst, _, err := c.EncodeApart(dst, r, 0)
	return dst, err
}

// EncodeApart appends the result to dst, and gives its label sets apart if they take
// no more than so many bytes. Those of another result of the same series are the same.
func (c *Codec) EncodeApart(dst []byte, r *Result, most int) (_, names []byte, err error) {
	e, err := c.encoder()
	if err != nil {
		return dst, nil, err
	}
	defer c.encoders.Put(e)
	flags, err := e.encode(r, most)
	if err != nil {
		return dst, nil, fmt.Errorf("encode a result of %d series: %w", len(r.Series)+len(r.Chunks), err)
	}
	if flags&flagApart != 0 {
		names = slices.Clone(e.apart)
	}
	start := len(dst)
	dst = append(append(dst, magic, version, flags), e.body...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], crc32.MakeTable(crc32.Castagnoli))), names, nil
}

// encode fills body; label sets of no more than so many bytes are put apart.
func (e *encoder) encode(r *Result, most int) (flags byte, err error) {
	if err := e.check(r); err != nil {
		return 0, err
	}
	e.reset()
	if flags, err = e.gather(r); err != nil {
		return 0, err
	}
	if most > 0 && flags&(flagSeries|flagChunks) != 0 {
		e.packer.Begin(false)
		if e.apart = e.packer.AppendLabels(e.apart[:0], &e.names); len(e.apart) <= most {
			flags |= flagApart
		}
	}
	head := binary.AppendVarint(e.body[:0], r.Grid.Start)
	head = binary.AppendVarint(head, r.Grid.Step)
	head = binary.AppendUvarint(head, uint64(r.Grid.Count))
	e.packer.Begin(false)
	e.body = e.columns(head, flags)
	if raw := e.packer.Raw(); raw > e.limits.ColumnBytes || len(e.body)+3+sumBytes > e.limits.Bytes {
		return 0, fmt.Errorf("%w: it has %d bytes, %d before compression: want at most %d, %d", ErrLimit, len(e.body), raw, e.limits.Bytes, e.limits.ColumnBytes)
	} else if raw > small || 2*raw > e.limits.ColumnBytes {
		return flags, nil
	}
	// Many small columns compress better together.
	e.packer.Begin(true)
	e.whole = e.columns(e.whole[:0], flags)
	e.packer.Begin(false)
	if whole := e.packer.Append(slices.Clone(head), e.whole); len(whole) < len(e.body) {
		e.body, flags = whole, flags|flagWhole
	}
	return flags, nil
}

func (e *encoder) reset() {
	e.values.Reset()
	e.buckets.Reset()
	e.names.Reset()
	e.samples.reset()
	e.presence, e.table, e.numbers, e.data, e.notes = e.presence[:0], e.table[:0], e.numbers[:0], e.data[:0], e.notes[:0]
}

// gather fills the columns.
func (e *encoder) gather(r *Result) (flags byte, err error) {
	if len(r.Series) > 0 {
		flags |= flagSeries
		e.makeTable(r.Series)
	}
	for i := range r.Series {
		s := &r.Series[i]
		e.names.Add(s.Metric)
		if err := e.series(s, r.Grid); err != nil {
			return 0, fmt.Errorf("series %s: %w", s.Metric, err)
		}
	}
	if e.buckets.Len() > 0 {
		flags |= flagHistograms
	}
	for i := range r.Chunks {
		flags |= flagChunks
		e.names.Add(r.Chunks[i].Labels)
		if e.chunks(&r.Chunks[i]) {
			flags |= flagSamples
		}
	}
	if len(r.Warnings)+len(r.Infos) > 0 {
		flags |= flagNotes
	}
	for _, notes := range [][]string{r.Warnings, r.Infos} {
		e.notes = binary.AppendUvarint(e.notes, uint64(len(notes)))
		for _, s := range notes {
			e.notes = append(binary.AppendUvarint(e.notes, uint64(len(s))), s...)
		}
	}
	return flags, nil
}

// columns appends the columns to b.
func (e *encoder) columns(b []byte, flags byte) []byte {
	if flags&(flagSeries|flagChunks) != 0 && flags&flagApart == 0 {
		b = e.packer.AppendLabels(b, &e.names)
	}
	if flags&flagSeries != 0 {
		b = binary.AppendUvarint(b, uint64(len(e.table)))
		b = e.packer.AppendValues(e.packer.Append(b, e.presence), &e.values)
	}
	if flags&flagHistograms != 0 {
		b = e.packer.AppendHistograms(b, &e.buckets)
	}
	if flags&flagChunks != 0 {
		b = e.packer.Append(e.packer.Append(b, e.numbers), e.data)
	}
	if flags&flagSamples != 0 {
		b = e.packer.AppendValues(e.packer.Append(b, e.samples.times), &e.samples.values)
	}
	if flags&flagNotes != 0 {
		b = e.packer.Append(b, e.notes)
	}
	return b
}

// decimals reports whether each value of the series is a small decimal.
func decimals(points []promql.FPoint) bool {
	mode := plane.Mode(0)
	for i := range points {
		if _, ok := plane.Integer(points[i].F, min(mode, plane.MaxDecimal)); ok {
			continue
		}
		if mode, _ = plane.Decimal(points[i].F, mode); mode == plane.Bits {
			return false
		}
	}
	return true
}

// makeTable lists the distinct values of series that are no decimals, if few
// enough differ: rates of slow counters do not.
func (e *encoder) makeTable(series []promql.Series) {
	for i := range series {
		if decimals(series[i].Floats) {
			continue
		}
		for _, p := range series[i].Floats {
			e.table = append(e.table, int64(math.Float64bits(p.F)))
		}
	}
	all := len(e.table)
	slices.Sort(e.table)
	e.table = slices.Compact(e.table)
	if len(e.table) == 0 || 2*len(e.table) > all {
		e.table = e.table[:0]
	}
	state := plane.NewState()
	for _, v := range e.table {
		e.values.Integer(&state, plane.Bits, v)
	}
}

// series writes presence and values of a series.
func (e *encoder) series(s *promql.Series, g Grid) error {
	at := len(e.presence)
	e.presence = append(e.presence, 0)
	floats, err := e.present(g, len(s.Floats), func(i int) int64 { return s.Floats[i].T })
	if err != nil {
		return err
	}
	histograms, err := e.present(g, len(s.Histograms), func(i int) int64 { return s.Histograms[i].T })
	if err != nil {
		return err
	}
	e.presence[at] = floats | histograms<<histogramShift
	if s.DropName {
		e.presence[at] |= dropName
	}
	state, ranked := plane.NewState(), len(e.table) > 0 && !decimals(s.Floats)
	e.values.Row()
	for _, p := range s.Floats {
		if ranked {
			rank, _ := slices.BinarySearch(e.table, int64(math.Float64bits(p.F)))
			e.values.Integer(&state, plane.Rank, int64(rank))
		} else {
			e.values.Float(&state, p.F)
		}
	}
	if len(s.Histograms) > 0 {
		state := plane.HistogramState{}
		for _, p := range s.Histograms {
			e.buckets.Floats(&state, p.H)
		}
	}
	return nil
}

// present writes which places of the grid n points at times t have.
func (e *encoder) present(g Grid, n int, t func(int) int64) (kind byte, err error) {
	if n == 0 {
		return presentNone, nil
	}
	e.places = e.places[:0]
	for i := range n {
		place, ok := g.place(t(i))
		if !ok || i > 0 && place <= e.places[i-1] {
			return 0, fmt.Errorf("%w of %d times from %d every %d ms, or not after the one before: %d", ErrGrid, g.Count, g.Start, g.Step, t(i))
		}
		e.places = append(e.places, place)
	}
	first, last := e.places[0], e.places[n-1]
	switch {
	case n == g.Count:
		return presentAll, nil
	case last-first == n-1:
		e.presence = binary.AppendUvarint(e.presence, uint64(first))
		e.presence = binary.AppendUvarint(e.presence, uint64(n))
		return presentRun, nil
	}
	at := len(e.presence)
	e.presence = append(e.presence, make([]byte, (g.Count+7)/8)...)
	for _, p := range e.places {
		e.presence[at+p/8] |= 1 << (p % 8)
	}
	return presentBits, nil
}

// place is where on the grid a time is.
func (g Grid) place(t int64) (int, bool) {
	if t == g.Start {
		return 0, g.Count > 0
	}
	if g.Step <= 0 || t < g.Start || (t-g.Start)%g.Step != 0 {
		return 0, false
	}
	place := (t - g.Start) / g.Step
	return int(place), place < int64(g.Count)
}

// chunks writes the chunks of a series; it reports whether any travels as samples.
func (e *encoder) chunks(s *ChunkSeries) (samples bool) {
	e.numbers = binary.AppendUvarint(e.numbers, uint64(len(s.Chunks)))
	e.samples.begin()
	end := int64(0)
	for _, m := range s.Chunks {
		n := e.samples.take(m.Chunk)
		encoding, size := byte(m.Chunk.Encoding()), uint64(n)
		if n > 0 {
			encoding, samples = encoding|asSamples, true
		} else {
			e.data = append(e.data, m.Chunk.Bytes()...)
			size = uint64(len(m.Chunk.Bytes()))
		}
		e.numbers = append(e.numbers, encoding)
		e.numbers = binary.AppendVarint(e.numbers, m.MinTime-end)
		e.numbers = binary.AppendUvarint(e.numbers, uint64(m.MaxTime-m.MinTime))
		e.numbers = binary.AppendUvarint(e.numbers, size)
		end = m.MaxTime
	}
	if samples {
		e.numbers = binary.AppendUvarint(e.numbers, e.samples.end())
	}
	return samples
}
