package columnar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/metadata"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

var (
	errUnknown = errors.New("it names a series or group that is not there, or out of range")
	errLength  = errors.New("a column is shorter or longer than it should be")
	errSamples = errors.New("it has more samples than allowed")
	errBuckets = errors.New("its histograms have more buckets together than allowed")
	errExtras  = errors.New("it has more exemplars or metadata than allowed, or larger ones")
)

func trailing(b byte) int { return bits.TrailingZeros8(b) }

// startCursor reads start times; index is the sample that the next one is of, -1
// at the end.
type startCursor struct {
	plane.Cursor
	index int
}

func (c *startCursor) advance() {
	if len(c.Left) == 0 {
		c.index = -1
		return
	}
	gap := c.Uvarint()
	if gap > math.MaxInt32 {
		c.Left, c.Bad = nil, true
		return
	}
	c.index += int(gap) + 1
}

// exemplars reads the exemplars.
func (d *Decoder) exemplars(b []byte, f *Frame) ([]byte, error) {
	column, b, err := d.unpacker.Next(b)
	if err != nil {
		return nil, err
	}
	limits := plane.LabelLimits{Labels: d.limits.Labels, Bytes: d.limits.TextBytes, Total: d.limits.ColumnBytes, Empty: true}
	if b, err = d.unpacker.Labels(b, &d.names, limits); err != nil {
		return nil, err
	}
	c := plane.Cursor{Left: column}
	ref, t := int64(0), int64(0)
	for len(c.Left) > 0 {
		ref += c.Varint()
		has := c.Take(1)
		t += c.Varint()
		v := c.Take(8)
		if c.Bad || !d.has(ref) || has[0] > 1 || len(f.Exemplars) >= d.limits.Extras {
			return nil, errExtras
		}
		ls, err := d.names.Next()
		if err != nil {
			return nil, err
		}
		f.Exemplars = append(f.Exemplars, Exemplar{Ref(ref), exemplar.Exemplar{
			Labels: ls, Value: math.Float64frombits(binary.LittleEndian.Uint64(v)), Ts: t, HasTs: has[0] == 1,
		}})
	}
	return b, d.names.Spent()
}

// metadata reads what is known of metrics.
func (d *Decoder) metadata(b []byte, f *Frame) ([]byte, error) {
	column, b, err := d.unpacker.Next(b)
	if err != nil {
		return nil, err
	}
	c, ref := plane.Cursor{Left: column}, int64(0)
	for len(c.Left) > 0 {
		ref += c.Varint()
		m := Metadata{Ref(ref), metadata.Metadata{Type: model.MetricType(c.Text(d.limits.TextBytes)), Unit: c.Text(d.limits.TextBytes), Help: c.Text(d.limits.TextBytes)}}
		if c.Bad || !d.has(ref) || len(f.Metadata) >= d.limits.Extras {
			return nil, errExtras
		}
		if !utf8.ValidString(string(m.Type)) || !utf8.ValidString(m.Unit) || !utf8.ValidString(m.Help) {
			return nil, fmt.Errorf("the metadata of series %d are no UTF-8", ref)
		}
		f.Metadata = append(f.Metadata, m)
	}
	return b, nil
}

func (d *Decoder) has(ref int64) bool {
	return ref >= 0 && ref < int64(len(d.series)) && d.series[ref].group != none
}
