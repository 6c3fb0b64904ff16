package result

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"

	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

var (
	errShort = errors.New("a part ends too early")
	errLong  = errors.New("a part has bytes left over")
	errKind  = errors.New("a value is of a kind that is not possible here")
)

// What decoded parts take at least, in bytes.
const (
	pointBytes  = 16
	bucketBytes = 8
	seriesBytes = 64
)

// decoder reads one result.
type decoder struct {
	limits   Limits
	unpacker *plane.Unpacker
	names    plane.LabelReader
	values   plane.Reader
	buckets  plane.HistogramReader
	presence plane.Cursor
	samples  sampleReader
	apart    []byte // label sets that are not in the result
	table    []float64
	places   []int
	points   int // left
}

// Decode reads a result that may come from anyone: it answers with an error and
// takes no more memory than the limits allow. Chunks alias b.
func (c *Codec) Decode(b []byte) (*Result, error) { return c.DecodeWithin(b, -1) }

// DecodeWithin decodes a result whose points take no more than so many bytes,
// beside the codec's own limits; a negative number adds none. A larger one is
// ErrLimit.
func (c *Codec) DecodeWithin(b []byte, memory int64) (*Result, error) {
	return c.DecodeApart(b, nil, memory)
}

// DecodeApart decodes, as DecodeWithin does, a result whose label sets may be apart.
func (c *Codec) DecodeApart(b, names []byte, memory int64) (*Result, error) {
	u, err := c.unpacker()
	if err != nil {
		return nil, err
	}
	limits := c.limits
	if memory >= 0 {
		limits.Points = int(min(int64(limits.Points), memory/pointBytes))
		limits.AllBuckets = int(min(int64(limits.AllBuckets), memory/bucketBytes))
		limits.Series = int(min(int64(limits.Series), memory/seriesBytes))
	}
	d := &decoder{limits: limits, unpacker: u, points: limits.Points, apart: names}
	r, err := d.open(b)
	if err != nil {
		return nil, fmt.Errorf("decode a result of %d bytes: %w", len(b), err)
	}
	u.Release()
	c.unpackers.Put(u)
	return r, nil
}

func (d *decoder) open(b []byte) (*Result, error) {
	const head = 3
	n := len(b) - sumBytes
	switch {
	case len(b) > d.limits.Bytes:
		return nil, fmt.Errorf("%w: want at most %d", ErrLimit, d.limits.Bytes)
	case n < head:
		return nil, fmt.Errorf("%w: it ends too early", ErrMalformed)
	case b[0] != magic || b[1] != version || b[2] > allFlags:
		return nil, fmt.Errorf("%w: it begins with %x, want %x%02x", ErrVersion, b[:head], magic, version)
	case crc32.Checksum(b[:n], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(b[n:]):
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrMalformed)
	}
	r := &Result{}
	c := plane.Cursor{Left: b[head:n]}
	start, step, count := c.Varint(), c.Varint(), c.Uvarint()
	if c.Bad {
		return nil, fmt.Errorf("%w: its grid is cut short", ErrMalformed)
	}
	if count > uint64(d.limits.Points) {
		return nil, fmt.Errorf("%w: %w: its grid has %d times, want at most %d", ErrLimit, ErrMalformed, count, d.limits.Points)
	}
	r.Grid = Grid{start, step, int(count)}
	if err := r.Grid.check(d.limits.Points); err != nil {
		return nil, err
	}
	if err := d.body(c.Left, b[2], r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return r, nil
}

// body reads what follows the grid.
func (d *decoder) body(b []byte, flags byte, r *Result) (err error) {
	if flags&flagWhole != 0 {
		var rest []byte
		if b, rest, err = d.unpacker.Next(b); err != nil {
			return err
		}
		if len(rest) > 0 {
			return errLong
		}
	}
	if b, err = d.labels(b, flags); err != nil {
		return err
	}
	if flags&flagSeries != 0 {
		if b, err = d.series(b, flags, r); err != nil {
			return err
		}
	} else if flags&flagHistograms != 0 {
		return errKind
	}
	if flags&flagChunks != 0 {
		if b, err = d.chunks(b, flags, r); err != nil {
			return err
		}
	} else if flags&flagSamples != 0 {
		return errKind
	}
	if err := d.names.Spent(); err != nil {
		return err
	}
	if flags&flagNotes != 0 {
		if b, err = d.notes(b, r); err != nil {
			return err
		}
	}
	if len(b) > 0 {
		return errLong
	}
	return nil
}

// labels reads the label sets, in front of b or apart.
func (d *decoder) labels(b []byte, flags byte) ([]byte, error) {
	from := &b
	if flags&flagApart != 0 {
		from = &d.apart
	}
	switch {
	case flags&(flagSeries|flagChunks) != 0:
		rest, err := d.unpacker.Labels(*from, &d.names, plane.LabelLimits{Labels: d.limits.Labels, Bytes: d.limits.LabelBytes, Total: d.limits.ColumnBytes})
		if err != nil {
			return nil, err
		}
		*from = rest
	case flags&flagApart != 0:
		return nil, errKind
	}
	if len(d.apart) > 0 {
		return nil, errLong
	}
	return b, nil
}

// series reads the series on the grid.
func (d *decoder) series(b []byte, flags byte, r *Result) (_ []byte, err error) {
	c := plane.Cursor{Left: b}
	distinct := c.Uvarint()
	if c.Bad {
		return nil, errShort
	}
	if d.presence.Left, b, err = d.unpacker.Next(c.Left); err != nil {
		return nil, err
	}
	if b, err = d.unpacker.Values(b, &d.values); err != nil {
		return nil, err
	}
	if flags&flagHistograms != 0 {
		if b, err = d.unpacker.Histograms(b, &d.buckets, d.limits.Buckets, d.limits.AllBuckets); err != nil {
			return nil, err
		}
	}
	if err := d.readTable(distinct); err != nil {
		return nil, err
	}
	for len(d.presence.Left) > 0 {
		if len(r.Series) == d.limits.Series {
			return nil, fmt.Errorf("%w: it has more than %d series", ErrLimit, d.limits.Series)
		}
		s := promql.Series{}
		if s.Metric, err = d.names.Next(); err != nil {
			return nil, err
		}
		if err := d.readSeries(&s, r.Grid); err != nil {
			return nil, err
		}
		r.Series = append(r.Series, s)
	}
	if err := d.values.Spent(); err != nil {
		return nil, err
	}
	return b, d.buckets.Spent()
}

// readTable reads the distinct values.
func (d *decoder) readTable(n uint64) error {
	if n > uint64(d.points) {
		return fmt.Errorf("%w: its table has %d values, more than %d", ErrLimit, n, d.points)
	}
	state := plane.NewState()
	for range n {
		_, other, err := d.values.Next(&state)
		if err != nil {
			return err
		}
		if other != 0 || state.Mode() != plane.Bits {
			return errKind
		}
		d.table = append(d.table, math.Float64frombits(uint64(state.Integer())))
	}
	return nil
}

func (d *decoder) readSeries(s *promql.Series, g Grid) error {
	head := d.presence.Take(1)
	if len(head) == 0 || head[0] > allPresence {
		return errKind
	}
	s.DropName = head[0]&dropName != 0
	places, err := d.present(g, head[0]&presentMask)
	if err != nil {
		return err
	}
	if s.Floats, err = d.floats(g, places); err != nil {
		return err
	}
	if places, err = d.present(g, head[0]>>histogramShift&presentMask); err != nil {
		return err
	}
	s.Histograms, err = d.histograms(g, places)
	return err
}

// present reads which places of the grid there are.
func (d *decoder) present(g Grid, kind byte) ([]int, error) {
	d.places = d.places[:0]
	first, n := uint64(0), uint64(g.Count)
	switch kind {
	case presentNone:
		return nil, nil
	case presentRun:
		first, n = d.presence.Uvarint(), d.presence.Uvarint()
		if d.presence.Bad || first > uint64(g.Count) || n > uint64(g.Count)-first {
			return nil, errShort
		}
	case presentBits:
		for at, b := range d.presence.Take(uint64(g.Count+7) / 8) {
			for ; b != 0; b &= b - 1 {
				d.places = append(d.places, at*8+bits.TrailingZeros8(b))
			}
		}
		if n := len(d.places); d.presence.Bad || n == 0 || d.places[n-1] >= g.Count {
			return nil, errShort
		}
		n = 0
	}
	if d.points -= len(d.places) + int(n); d.points < 0 || d.presence.Bad {
		return nil, fmt.Errorf("%w: it has more than %d points", ErrLimit, d.limits.Points)
	}
	for i := range n {
		d.places = append(d.places, int(first+i))
	}
	return d.places, nil
}

func (d *decoder) floats(g Grid, places []int) ([]promql.FPoint, error) {
	if len(places) == 0 {
		return nil, nil
	}
	points, state := make([]promql.FPoint, len(places)), plane.NewState()
	d.values.Row()
	for i, place := range places {
		v, other, err := d.values.Next(&state)
		if err != nil {
			return nil, err
		}
		if other != 0 {
			return nil, errKind
		}
		if state.Mode() == plane.Rank {
			rank := state.Integer()
			if rank < 0 || rank >= int64(len(d.table)) {
				return nil, errKind
			}
			v = d.table[rank]
		}
		points[i] = promql.FPoint{T: g.At(place), F: v}
	}
	return points, nil
}

func (d *decoder) histograms(g Grid, places []int) ([]promql.HPoint, error) {
	if len(places) == 0 {
		return nil, nil
	}
	points, state := make([]promql.HPoint, len(places)), plane.HistogramState{}
	for i, place := range places {
		h, err := d.buckets.Floats(&state)
		if err != nil {
			return nil, err
		}
		points[i] = promql.HPoint{T: g.At(place), H: h}
	}
	return points, nil
}
