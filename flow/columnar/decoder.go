package columnar

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// Decoder turns the frames of one Encoder back into batches. It is not safe for
// concurrent use. What it is given may come from anyone: it answers with an error
// and takes no more memory than its limits allow.
type Decoder struct {
	limits Limits
	epoch  uint64
	next   uint64 // number of the frame to come
	lost   bool   // only a reset can follow

	series []series
	groups []group
	states int // buckets remembered

	unpacker *plane.Unpacker
	table    *crc32.Table
	values   plane.Reader
	buckets  plane.HistogramReader
	names    plane.LabelReader
	places   []uint32
	left     []uint32 // groups that members left
	digest   sum
}

// NewDecoder makes a Decoder that waits for a reset.
func NewDecoder(l Limits) (*Decoder, error) {
	if err := l.validate(); err != nil {
		return nil, err
	}
	unpacker, err := plane.NewUnpacker(l.ColumnBytes)
	if err != nil {
		return nil, err
	}
	return &Decoder{limits: l, lost: true, unpacker: unpacker, table: crc32.MakeTable(crc32.Castagnoli)}, nil
}

// Position is the epoch and number of the frame that Decode expects, and whether
// it can go on with it: if not, it needs a reset.
func (d *Decoder) Position() (epoch, seq uint64, ok bool) { return d.epoch, d.next, !d.lost }

// Decode fills f from a frame. What f held before is overwritten: it may be given
// again and again. Histograms and labels are new each time and may be kept.
func (d *Decoder) Decode(frame []byte, f *Frame) error {
	f.clear()
	body, flags, err := d.open(frame, f)
	if err != nil {
		return err
	}
	d.lost = true
	if flags&flagReset != 0 {
		d.epoch, d.next, d.series, d.groups, d.states = f.Epoch, 0, nil, nil, 0
		f.Reset = true
	}
	d.unpacker.Reset()
	if err := d.body(body, flags, f); err != nil {
		f.clear()
		return fmt.Errorf("decode frame %d of epoch %d: %w: %w", f.Seq, f.Epoch, ErrMalformed, err)
	}
	d.next, d.lost = f.Seq+1, false
	return nil
}

func (f *Frame) clear() {
	clear(f.Samples) // lets go of histograms
	*f = Frame{Drop: f.Drop[:0], New: f.New[:0], Batch: Batch{f.Samples[:0], f.Exemplars[:0], f.Metadata[:0]}}
}

// open checks what is around the body: checksum, version and place in the stream.
func (d *Decoder) open(frame []byte, f *Frame) (body []byte, flags byte, err error) {
	if len(frame) > d.limits.FrameBytes {
		return nil, 0, fmt.Errorf("decode a frame of %d bytes: %w: want at most %d", len(frame), ErrMalformed, d.limits.FrameBytes)
	}
	const head = 3
	if len(frame) < head+2+sumsBytes || crc32.Checksum(frame[:len(frame)-4], d.table) != binary.LittleEndian.Uint32(frame[len(frame)-4:]) {
		return nil, 0, fmt.Errorf("decode a frame of %d bytes: %w", len(frame), ErrCorrupt)
	}
	if frame[0] != magic || frame[1] != version || frame[2] > allFlags {
		return nil, 0, fmt.Errorf("decode a frame that begins with %x: %w: want %x%02x", frame[:head], ErrVersion, magic, version)
	}
	flags, body = frame[2], frame[head:len(frame)-4]
	var n, m int
	f.Epoch, n = binary.Uvarint(body)
	f.Seq, m = binary.Uvarint(body[max(n, 0):])
	if n <= 0 || m <= 0 || len(body)-n-m < 4 {
		return nil, 0, fmt.Errorf("decode a frame: %w: its head ends too early", ErrMalformed)
	}
	old := f.Epoch < d.epoch || f.Epoch == d.epoch && f.Seq < d.next
	switch {
	case old:
		err = ErrReplay
	case flags&flagReset != 0 && f.Seq == 0 && (f.Epoch > d.epoch || d.series == nil && d.next == 0):
		return body[n+m:], flags, nil
	case flags&flagReset != 0 || d.lost || f.Epoch != d.epoch || f.Seq != d.next:
		err = ErrGap
	default:
		return body[n+m:], flags, nil
	}
	return nil, 0, fmt.Errorf("decode frame %d of epoch %d, where %d of %d was expected: %w", f.Seq, f.Epoch, d.next, d.epoch, err)
}

// body decodes what follows the head.
func (d *Decoder) body(b []byte, flags byte, f *Frame) (err error) {
	if flags&flagDrop != 0 {
		if b, err = d.drop(b, f); err != nil {
			return err
		}
	}
	if flags&flagNew != 0 {
		if b, err = d.enter(b, f); err != nil {
			return err
		}
	}
	rows, b, err := d.unpacker.Next(b)
	if err != nil {
		return err
	}
	if b, err = d.unpacker.Values(b, &d.values); err != nil {
		return err
	}
	d.buckets = plane.HistogramReader{}
	if flags&flagHistograms != 0 {
		if b, err = d.unpacker.Histograms(b, &d.buckets, d.limits.Buckets, d.limits.BucketStates); err != nil {
			return err
		}
	}
	var starts []byte
	if flags&flagStarts != 0 {
		if starts, b, err = d.unpacker.Next(b); err != nil {
			return err
		}
	}
	if err := d.readRows(rows, starts, f); err != nil {
		return err
	}
	if flags&flagExemplars != 0 {
		if b, err = d.exemplars(b, f); err != nil {
			return err
		}
	}
	if flags&flagMetadata != 0 {
		if b, err = d.metadata(b, f); err != nil {
			return err
		}
	}
	if len(b) != 4 {
		return errLength
	}
	if got, want := uint32(d.digest>>32), binary.LittleEndian.Uint32(b); got != want {
		return fmt.Errorf("its values have the digest %08x, want %08x", got, want)
	}
	return nil
}

// readRows reads all samples.
func (d *Decoder) readRows(rows, starts []byte, f *Frame) error {
	c, st := plane.Cursor{Left: rows}, startCursor{plane.Cursor{Left: starts}, -1}
	st.advance()
	d.digest = 0
	for last := int64(-1); len(c.Left) > 0; {
		head := c.Varint()
		last += head>>2 + 1
		if c.Bad || last < 0 || last >= int64(len(d.groups)) || d.groups[last].live == 0 {
			return errUnknown
		}
		g := &d.groups[last]
		t := g.expected() + c.Varint()
		if err := d.members(&c, g, head&3, d.limits.Samples-len(f.Samples)); err != nil {
			return err
		}
		g.advance(t)
		d.values.Row()
		for _, ref := range d.places {
			p := Sample{Ref: Ref(ref), T: t}
			if err := d.sample(&p, &st, len(f.Samples)); err != nil {
				return err
			}
			f.Samples = append(f.Samples, p)
		}
	}
	if st.index >= 0 || st.Bad {
		return errLength
	}
	if err := d.values.Spent(); err != nil {
		return err
	}
	return d.buckets.Spent()
}

// members reads which series a row has, into places.
func (d *Decoder) members(c *plane.Cursor, g *group, kind int64, most int) error {
	d.places = d.places[:0]
	switch kind {
	case rowAll:
		if g.live > most {
			return errSamples
		}
		for _, ref := range g.members {
			if ref != none {
				d.places = append(d.places, ref)
			}
		}
	case rowBits:
		for at, bits := range c.Take(uint64(len(g.members)+7) / 8) {
			for ; bits != 0; bits &= bits - 1 {
				place := at*8 + trailing(bits)
				if place >= len(g.members) || g.members[place] == none {
					return errUnknown
				}
				d.places = append(d.places, g.members[place])
			}
		}
	case rowList:
		n := c.Uvarint()
		if n > uint64(len(g.members)) {
			return errUnknown
		}
		place := uint64(0)
		for range n {
			gap := c.Uvarint()
			if gap >= uint64(len(g.members)) || place+gap >= uint64(len(g.members)) || g.members[place+gap] == none {
				return errUnknown
			}
			d.places = append(d.places, g.members[place+gap])
			place += gap + 1
		}
	default:
		return errUnknown
	}
	switch {
	case c.Bad || len(d.places) == 0:
		return errLength
	case len(d.places) > most:
		return errSamples
	}
	return nil
}

// sample reads the value of p, the i-th sample of the frame.
func (d *Decoder) sample(p *Sample, st *startCursor, i int) error {
	s := &d.series[p.Ref]
	v, kind, err := d.values.Next(&s.state)
	if err != nil {
		return err
	}
	if st.index == i {
		s.st = p.T - st.Varint()
		st.advance()
		if st.Bad {
			return errLength
		}
	}
	p.V, p.ST = v, s.st
	if kind == 0 {
		d.digest.sample(p, math.Float64bits(v))
		return nil
	}
	if s.buckets == nil {
		s.buckets = &plane.HistogramState{}
	}
	d.states -= s.buckets.Cells()
	if kind == plane.Histogram {
		if p.H, err = d.buckets.Integers(s.buckets); err == nil {
			d.digest.sample(p, p.H.Count^math.Float64bits(p.H.Sum))
		}
	} else if p.FH, err = d.buckets.Floats(s.buckets); err == nil {
		d.digest.sample(p, math.Float64bits(p.FH.Count)^math.Float64bits(p.FH.Sum))
	}
	if d.states += s.buckets.Cells(); d.states > d.limits.BucketStates {
		return errBuckets
	}
	return err
}
