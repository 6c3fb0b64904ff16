package engine

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

var errShort = errors.New("bytes end early or a number is out of its range")

// decoder reads bytes; after the first mistake it is bad and reads zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if p := d.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if p := d.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) float() float64 { return math.Float64frombits(d.u64()) }

func (d *decoder) sum2() partial.Sum2 { return partial.Sum2{Hi: d.float(), Lo: d.float()} }

// count reads how many things of at least size bytes follow: never more than fit.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.bad, d.b = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }

func (d *decoder) err() error {
	if d.bad {
		return errShort
	}
	return nil
}

func appendFloat(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

func appendSum2(b []byte, s partial.Sum2) []byte { return appendFloat(appendFloat(b, s.Hi), s.Lo) }

func appendBytes(b, p []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

func appendHistogram(b []byte, h *histogram.FloatHistogram) []byte {
	b = append(b, byte(h.CounterResetHint))
	return partial.AppendAcc(b, rule.NeedNative, 0, &partial.Acc{Hist: h})
}

func (d *decoder) histogram() *histogram.FloatHistogram {
	hint := d.byte()
	a, rest, err := partial.DecodeAcc(d.b, 0)
	if err != nil || d.bad || a.Hist == nil {
		d.bad, d.b = true, nil
		return nil
	}
	d.b = rest
	a.Hist.CounterResetHint = histogram.CounterResetHint(hint & 3)
	return a.Hist
}

// maxLabels bounds the labels of one series that are read.
const maxLabels = 1024

// parseLabels reads what appendLabels wrote, or a sender: names in any order.
func parseLabels(raw []byte, b *labels.ScratchBuilder) (labels.Labels, error) {
	b.Reset()
	d := decoder{b: raw}
	for n := 0; len(d.b) > 0; n++ {
		if d.byte() != 0x0a || n == maxLabels {
			return labels.EmptyLabels(), errShort
		}
		pair := decoder{b: d.bytes()}
		var name, value string
		for len(pair.b) > 0 {
			switch pair.byte() {
			case 0x0a:
				name = string(pair.bytes())
			case 0x12:
				value = string(pair.bytes())
			default:
				pair.bad = true
				pair.b = nil
			}
		}
		if d.bad || pair.bad || name == "" {
			return labels.EmptyLabels(), errShort
		}
		b.Add(name, value)
	}
	b.Sort()
	ls := b.Labels()
	if _, twice := ls.HasDuplicateLabelNames(); twice {
		return labels.EmptyLabels(), errShort
	}
	return ls, nil
}
