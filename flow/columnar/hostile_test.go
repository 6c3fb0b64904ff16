package columnar

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// fix gives a frame the checksum it should have.
func fix(frame []byte) []byte {
	n := len(frame) - 4
	binary.LittleEndian.PutUint32(frame[n:], crc32.Checksum(frame[:n], crc32.MakeTable(crc32.Castagnoli)))
	return frame
}

func tightLimits() Limits {
	return Limits{
		FrameBytes: 1 << 14, ColumnBytes: 1 << 15, Series: 64, Samples: 256, Labels: 4, LabelBytes: 64,
		Buckets: 16, BucketStates: 128, Extras: 8, TextBytes: 64,
	}
}

// TestEncoderRefuses holds the encoder to its limits, and to staying usable.
func TestEncoderRefuses(t *testing.T) {
	l := tightLimits()
	e, d := pair(t, l)
	ref := series1(t, e, 0)
	many := make([]Sample, l.Samples+1)
	for name, b := range map[string]Batch{
		"samples":   {Samples: many},
		"buckets":   {Samples: []Sample{{H: &histogram.Histogram{PositiveSpans: []histogram.Span{{Length: 17}}, PositiveBuckets: make([]int64, 17)}}}},
		"exemplars": {Exemplars: make([]Exemplar, l.Extras+1)},
		"metadata":  {Metadata: make([]Metadata, l.Extras+1)},
		"text":      {Metadata: []Metadata{{ref, metadata.Metadata{Help: strings.Repeat("x", 65)}}}},
		"exemplar":  {Exemplars: []Exemplar{{ref, exemplar.Exemplar{Labels: labels.FromStrings("a", strings.Repeat("x", 65))}}}},
	} {
		if _, err := e.Encode(nil, b); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v, want %v", name, err, ErrLimit)
		}
	}
	for name, b := range map[string]Batch{
		"unknown":  {Samples: []Sample{{Ref: 99}}},
		"spans":    {Samples: []Sample{{H: &histogram.Histogram{PositiveBuckets: []int64{1}}}}},
		"schema":   {Samples: []Sample{{FH: &histogram.FloatHistogram{Schema: 9}}}},
		"no UTF-8": {Metadata: []Metadata{{ref, metadata.Metadata{Help: "\xff"}}}},
	} {
		if _, err := e.Encode(nil, b); err == nil || errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v, want an error that is no limit", name, err)
		}
	}
	for name, ls := range map[string]labels.Labels{
		"many": labels.FromStrings("a", "1", "b", "2", "c", "3", "d", "4", "e", "5"),
		"long": labels.FromStrings("a", strings.Repeat("x", 64)),
	} {
		if _, err := e.Series(ls); !errors.Is(err, ErrLimit) {
			t.Errorf("%s labels: %v, want %v", name, err, ErrLimit)
		}
	}
	for i := range l.Series {
		series1(t, e, i)
	}
	if _, err := e.Series(labels.FromStrings("one", "more")); !errors.Is(err, ErrLimit) {
		t.Errorf("one series more: %v, want %v", err, ErrLimit)
	}
	var f Frame
	carry(t, e, d, &f, Batch{Samples: []Sample{{Ref: ref, T: 1, V: 1}}})
}

// frameOf builds a reset frame of columns that need not fit together.
func frameOf(flags byte, columns ...[]byte) []byte {
	b := []byte{magic, version, flags, 9, 0}
	for _, c := range columns {
		b = append(b, c...)
	}
	return fix(append(b, make([]byte, sumsBytes)...))
}

// TestBombs sends frames that are small and mean a lot.
func TestBombs(t *testing.T) {
	p, err := plane.NewPacker()
	if err != nil {
		t.Fatal(err)
	}
	zeros := p.Append(nil, make([]byte, 1<<20))
	claim := binary.AppendUvarint(nil, 1<<62|1)
	var far []byte // one series, in a place far away
	far = binary.AppendVarint(far, 1<<40)
	far = binary.AppendVarint(far, 0)
	for name, frame := range map[string][]byte{
		"megabyte of zeros": frameOf(flagReset, zeros),
		"endless column":    frameOf(flagReset, claim),
		"far series":        frameOf(flagReset|flagNew, p.Append(nil, far), p.Append(nil, nil), p.Append(nil, nil)),
		"unknown dropped":   frameOf(flagReset|flagDrop, p.Append(nil, []byte{0})),
		"nothing":           frameOf(flagReset),
	} {
		d, err := NewDecoder(tightLimits())
		if err != nil {
			t.Fatal(err)
		}
		var f Frame
		if err := d.Decode(frame, &f); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, err, ErrMalformed)
		}
		if _, _, ok := d.Position(); ok {
			t.Errorf("%s: the decoder goes on", name)
		}
		if err := d.Decode(make([]byte, 1<<14+1), &f); !errors.Is(err, ErrMalformed) {
			t.Errorf("a frame too large: %v, want %v", err, ErrMalformed)
		}
	}
}

// TestDamage changes each byte of frames, checksum corrected: Decode answers with
// an error or with a frame within limits, and then with the next reset.
func TestDamage(t *testing.T) {
	frames := sampleFrames(t)
	for at := range frames {
		for i := range frames[at] {
			for _, change := range []byte{1, 0x80, 0xff} {
				damage(t, frames, at, i, change)
			}
		}
	}
}

func damage(t *testing.T, frames [][]byte, at, i int, change byte) {
	t.Helper()
	d, err := NewDecoder(tightLimits())
	if err != nil {
		t.Fatal(err)
	}
	var f Frame
	for _, frame := range frames[:at] {
		if err := d.Decode(frame, &f); err != nil {
			t.Fatal(err)
		}
	}
	bad := append([]byte(nil), frames[at]...)
	bad[i] ^= change
	_ = d.Decode(fix(bad), &f) // any answer will do
	within(t, d, &f)
}

// within fails if decoder or frame hold more than the limits allow.
func within(tb testing.TB, d *Decoder, f *Frame) {
	tb.Helper()
	l := d.limits
	places := 0
	for i := range d.groups {
		places += len(d.groups[i].members)
	}
	if len(d.series) > l.Series || len(d.groups) > l.Series || places > 2*l.Series+16*len(d.groups) || d.states > l.BucketStates+l.Buckets+3 {
		tb.Errorf("the decoder holds %d series, %d groups of %d places, %d buckets", len(d.series), len(d.groups), places, d.states)
	}
	if len(f.Samples) > l.Samples || len(f.New) > l.Series || len(f.Drop) > l.Series || len(f.Exemplars) > l.Extras || len(f.Metadata) > l.Extras {
		tb.Errorf("a frame has %d samples, %d new and %d dropped series, %d exemplars, %d metadata", len(f.Samples), len(f.New), len(f.Drop), len(f.Exemplars), len(f.Metadata))
	}
}

// sampleFrames are frames that have all parts.
func sampleFrames(tb testing.TB) [][]byte {
	tb.Helper()
	e, d := pair(tb, tightLimits())
	var frames [][]byte
	var f Frame
	for round := range int64(4) {
		var b Batch
		for i := range 5 {
			b.Samples = append(b.Samples, Sample{Ref: series1(tb, e, i), T: 1000 * round, ST: round / 2, V: float64(i) + float64(round)*1.1})
		}
		b.Samples = append(b.Samples,
			Sample{Ref: series1(tb, e, 8), T: 1000 * round, H: &histogram.Histogram{Count: uint64(round), Sum: 1.5, PositiveSpans: []histogram.Span{{Length: 2}}, PositiveBuckets: []int64{1, round}}},
			Sample{Ref: series1(tb, e, 9), T: 1000 * round, FH: &histogram.FloatHistogram{Schema: histogram.CustomBucketsSchema, Count: 2, PositiveSpans: []histogram.Span{{Length: 1}}, PositiveBuckets: []float64{2}, CustomValues: []float64{1}}})
		if round == 1 {
			b.Exemplars = []Exemplar{{series1(tb, e, 1), exemplar.Exemplar{Labels: labels.FromStrings("trace_id", "abc"), Value: 2, Ts: 7, HasTs: true}}}
			b.Metadata = []Metadata{{series1(tb, e, 1), metadata.Metadata{Type: "counter", Unit: "s", Help: "Help."}}}
		}
		if round == 2 {
			e.Drop(series1(tb, e, 3), series1(tb, e, 4))
			b.Samples = append(b.Samples[:2], b.Samples[5:]...)
		}
		frames = append(frames, carry(tb, e, d, &f, b))
	}
	return frames
}

// FuzzDecode takes frames, each with its length in two bytes before it.
func FuzzDecode(f *testing.F) {
	var all []byte
	for _, frame := range sampleFrames(f) {
		all = append(binary.LittleEndian.AppendUint16(all, uint16(len(frame))), frame...)
		f.Add(append(binary.LittleEndian.AppendUint16(nil, uint16(len(frame))), frame...))
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, stream []byte) {
		d, err := NewDecoder(tightLimits())
		if err != nil {
			t.Fatal(err)
		}
		var frame Frame
		for len(stream) >= 2 {
			n := min(int(binary.LittleEndian.Uint16(stream)), len(stream)-2)
			one := append([]byte(nil), stream[2:2+n]...)
			stream = stream[2+n:]
			if n >= 4 {
				fix(one)
			}
			_ = d.Decode(one, &frame) // any answer will do
			within(t, d, &frame)
		}
	})
}
