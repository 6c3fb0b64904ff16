package result

import (
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// chunks reads the series as their store has them.
func (d *decoder) chunks(b []byte, r *Result) ([]byte, error) {
	column, b, err := d.unpacker.Next(b)
	if err != nil {
		return nil, err
	}
	data, b, err := d.unpacker.Next(b)
	if err != nil {
		return nil, err
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
		n, end := c.Uvarint(), int64(0)
		for range n {
			e, minTime, length, size := c.Take(1), end+c.Varint(), c.Uvarint(), c.Uvarint()
			end = minTime + int64(length)
			if c.Bad || end < minTime || size > uint64(len(data)) {
				return nil, errShort
			}
			if k := len(s.Chunks); k > 0 && s.Chunks[k-1].MinTime > minTime {
				return nil, errors.New("the chunks of a series are not in order")
			}
			m, samples, err := openChunk(chunkenc.Encoding(e[0]), data[:size:size], minTime, end, d.points, d.limits.Buckets)
			if err != nil {
				return nil, fmt.Errorf("series %s: %w", s.Labels, err)
			}
			data = data[size:]
			d.points -= samples
			s.Chunks = append(s.Chunks, m)
		}
		r.Chunks = append(r.Chunks, s)
	}
	if c.Bad || len(data) > 0 {
		return nil, errLong
	}
	return b, nil
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
