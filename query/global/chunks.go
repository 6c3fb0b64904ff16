package global

import (
	"bytes"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// decode reads every sample once, so that nothing can go wrong later, and counts
// them as Limits do.
func (s *RawSeries) decode() (samples int64, err error) {
	defer func() {
		if r := recover(); r != nil { // upstream's decoders trust what they read
			err = fmt.Errorf("a chunk that cannot be decoded: %v", r)
		}
	}()
	last := int64(math.MinInt64)
	var h *histogram.FloatHistogram
	for i, c := range s.Chunks {
		if len(c.Data) < 2 {
			return 0, fmt.Errorf("chunk %d has %d bytes", i, len(c.Data))
		}
		if err := sane(c); err != nil {
			return 0, fmt.Errorf("chunk %d: %w", i, err)
		}
		chunk, err := chunkenc.FromData(c.Encoding, c.Data)
		if err != nil {
			return 0, fmt.Errorf("chunk %d: %w", i, err)
		}
		it := chunk.Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			t := it.AtT()
			if t <= last {
				return 0, fmt.Errorf("chunk %d: a sample at %d after one at %d", i, t, last)
			}
			last = t
			samples++
			if kind == chunkenc.ValHistogram || kind == chunkenc.ValFloatHistogram {
				_, h = it.AtFloatHistogram(h)
				if err := fits(h); err != nil {
					return 0, fmt.Errorf("chunk %d: %w", i, err)
				}
				samples += int64(h.Size()+8)/16 - 1
			}
		}
		if err := it.Err(); err != nil {
			return 0, fmt.Errorf("chunk %d: %w", i, err)
		}
	}
	return samples, nil
}

// trim copies a store's chunk. Floats outside of mint and maxt are left out;
// histograms stay as they are.
func trim(m chunks.Meta, mint, maxt int64) (c Chunk, samples int64, err error) {
	c = Chunk{MinTime: m.MinTime, MaxTime: m.MaxTime, Encoding: m.Chunk.Encoding()}
	float := c.Encoding == chunkenc.EncXOR || c.Encoding == chunkenc.EncXOR2
	if !float || m.MinTime >= mint && m.MaxTime <= maxt {
		c.Data = bytes.Clone(m.Chunk.Bytes())
		return c, int64(m.Chunk.NumSamples()), nil
	}
	short, err := chunkenc.NewEmptyChunk(c.Encoding)
	if err != nil {
		return c, 0, err
	}
	app, err := short.Appender()
	if err != nil {
		return c, 0, err
	}
	it := m.Chunk.Iterator(nil)
	for it.Next() != chunkenc.ValNone {
		t, v := it.At()
		if t < mint || t > maxt {
			continue
		}
		if samples == 0 {
			c.MinTime = t
		}
		c.MaxTime = t
		samples++
		app.Append(it.AtST(), t, v)
	}
	c.Data = short.Bytes()
	return c, samples, it.Err()
}

// fetched is a raw series as the engine reads it, from mint to maxt only: chunks
// may hold more than was asked for. It is kept encoded until the engine iterates
// over it.
type fetched struct {
	series     *RawSeries
	mint, maxt int64
}

func (f *fetched) Labels() labels.Labels { return f.series.Labels }

// Iterator decodes the series; decode has been through it before.
func (f *fetched) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	var out points
	var it chunkenc.Iterator
	for _, c := range f.series.Chunks {
		chunk, err := chunkenc.FromData(c.Encoding, c.Data)
		if err != nil {
			continue // decode would have refused it
		}
		it = chunk.Iterator(it)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			t := it.AtT()
			if t < f.mint {
				continue
			}
			if t > f.maxt {
				break
			}
			p := point{t: t, st: it.AtST()}
			if kind == chunkenc.ValFloat {
				_, p.f = it.At()
			} else {
				_, p.h = it.AtFloatHistogram(nil)
			}
			out = append(out, p)
		}
	}
	return storage.NewListSeriesIterator(out)
}

// points is what upstream's list iterator reads from.
type points []point

func (p points) Len() int                { return len(p) }
func (p points) Get(i int) chunks.Sample { return &p[i] }

// point is a decoded sample; times in milliseconds.
type point struct {
	st, t int64
	f     float64
	h     *histogram.FloatHistogram
}

func (p *point) T() int64                { return p.t }
func (p *point) ST() int64               { return p.st }
func (p *point) F() float64              { return p.f }
func (p *point) H() *histogram.Histogram { return nil }
func (p *point) Copy() chunks.Sample     { c := *p; return &c }

// FH is a copy: the engine changes what it is given.
func (p *point) FH() *histogram.FloatHistogram { return p.h.Copy() }

// Type calls every histogram one of floats, which is all that the engine reads.
func (p *point) Type() chunkenc.ValueType {
	if p.h != nil {
		return chunkenc.ValFloatHistogram
	}
	return chunkenc.ValFloat
}
