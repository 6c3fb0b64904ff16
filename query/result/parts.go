package result

import (
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// chunks reads the series as their store has them.
func (d *decoder) chunks(b []byte, flags byte, r *Result) ([]byte, error) {
	column, b, err := d.unpacker.Next(b)
	if err != nil {
		return nil, err
	}
	data := plane.Cursor{}
	if data.Left, b, err = d.unpacker.Next(b); err != nil {
		return nil, err
	}
	if flags&flagSamples != 0 {
		if d.samples.times.Left, b, err = d.unpacker.Next(b); err != nil {
			return nil, err
		}
		if b, err = d.unpacker.Values(b, &d.samples.values); err != nil {
			return nil, err
		}
	}
	c := plane.Cursor{Left: column}
	for len(c.Left) > 0 {
		if len(r.Series)+len(r.Chunks) == d.limits.Series {
			return nil, fmt.Errorf("it has more than %d series", d.limits.Series)
		}
		s := ChunkSeries{}
		if s.Labels, err = d.names.Next(); err != nil {
			return nil, err
		}
		if err := d.readChunks(&c, &data, &s); err != nil {
			return nil, fmt.Errorf("series %s: %w", s.Labels, err)
		}
		r.Chunks = append(r.Chunks, s)
	}
	if c.Bad || len(data.Left) > 0 {
		return nil, errLong
	}
	return b, d.samples.spent()
}

// readChunks reads those of a series. Such as travel as samples are made when all
// are known, because their times are in one list.
func (d *decoder) readChunks(c, data *plane.Cursor, s *ChunkSeries) error {
	n, end, samples := c.Uvarint(), int64(0), 0
	var counts []int // of samples; 0 where the chunk is as stored
	for range n {
		e, minTime, length, size := c.Take(1), end+c.Varint(), c.Uvarint(), c.Uvarint()
		end = minTime + int64(length)
		if c.Bad || end < minTime {
			return errShort
		}
		if k := len(s.Chunks); k > 0 && s.Chunks[k-1].MinTime > minTime {
			return errors.New("the chunks of a series are not in order")
		}
		m, count := chunks.Meta{MinTime: minTime, MaxTime: end}, 0
		if e[0]&asSamples != 0 {
			if size == 0 || size > maxSamples || size > uint64(d.points) {
				return fmt.Errorf("a chunk has %d samples: want 1 to %d", size, min(d.points, maxSamples))
			}
			count = int(size)
			samples += count
			d.points -= count
		} else {
			bytes, read := data.Take(size), 0
			if data.Bad {
				return errShort
			}
			var err error
			if m, read, err = openChunk(chunkenc.Encoding(e[0]), bytes[:size:size], minTime, end, d.points, d.limits.Buckets); err != nil {
				return err
			}
			d.points -= read
		}
		s.Chunks, counts = append(s.Chunks, m), append(counts, count)
		if count > 0 {
			s.Chunks[len(s.Chunks)-1].Ref = chunks.ChunkRef(e[0] &^ asSamples) // until it is made
		}
	}
	if samples == 0 {
		return nil
	}
	return d.samples.make(s.Chunks, counts, c.Uvarint(), samples)
}

// notes reads the annotations.
func (d *decoder) notes(b []byte, r *Result) ([]byte, error) {
	column, b, err := d.unpacker.Next(b)
	if err != nil {
		return nil, err
	}
	c, left := plane.Cursor{Left: column}, d.limits.Notes
	for _, notes := range []*[]string{&r.Warnings, &r.Infos} {
		n := c.Uvarint()
		if n > uint64(left) {
			return nil, fmt.Errorf("it has more than %d annotations", d.limits.Notes)
		}
		left -= int(n)
		for range n {
			*notes = append(*notes, c.Text(d.limits.NoteBytes))
		}
	}
	if c.Bad || len(c.Left) > 0 {
		return nil, errLong
	}
	return b, nil
}
