package columnar

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/value"
)

func pair(tb testing.TB, l Limits) (*Encoder, *Decoder) {
	tb.Helper()
	enc, err := New(Options{Epoch: 7, Limits: l})
	if err != nil {
		tb.Fatal(err)
	}
	dec, err := NewDecoder(l)
	if err != nil {
		tb.Fatal(err)
	}
	return enc, dec
}

func series1(tb testing.TB, e *Encoder, i int) Ref {
	tb.Helper()
	ref, err := e.Series(labels.FromStrings(labels.MetricName, fmt.Sprintf("m%d", i%7), "instance", fmt.Sprintf("i%d", i/7), "job", "j"))
	if err != nil {
		tb.Fatal(err)
	}
	return ref
}

// sorted orders samples as Encode may reorder them.
func sorted(samples []Sample) []Sample {
	out := slices.Clone(samples)
	slices.SortStableFunc(out, func(a, b Sample) int { return cmp.Or(cmp.Compare(a.Ref, b.Ref), cmp.Compare(a.T, b.T)) })
	return out
}

// equal compares samples bit by bit.
func equal(a, b Sample) bool {
	if a.Ref != b.Ref || a.T != b.T || a.ST != b.ST || (a.H == nil) != (b.H == nil) || (a.FH == nil) != (b.FH == nil) {
		return false
	}
	switch {
	case a.H != nil:
		return sameBits(a.H.Sum, b.H.Sum) && a.H.CounterResetHint == b.H.CounterResetHint && a.H.Equals(b.H)
	case a.FH != nil:
		return sameBits(a.FH.Sum, b.FH.Sum) && a.FH.CounterResetHint == b.FH.CounterResetHint && a.FH.Equals(b.FH)
	}
	return sameBits(a.V, b.V)
}

func sameBits(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

// carry takes a batch to the other side and fails unless it arrives as it was.
func carry(tb testing.TB, e *Encoder, d *Decoder, f *Frame, b Batch) []byte {
	tb.Helper()
	frame, err := e.Encode(nil, b)
	if err != nil {
		tb.Fatal(err)
	}
	if err := d.Decode(frame, f); err != nil {
		tb.Fatal(err)
	}
	want, got := sorted(b.Samples), sorted(f.Samples)
	if len(want) != len(got) {
		tb.Fatalf("%d samples arrived, want %d", len(got), len(want))
	}
	for i := range want {
		if !equal(want[i], got[i]) {
			tb.Fatalf("sample %d arrived as %+v, want %+v", i, got[i], want[i])
		}
	}
	if d.states != e.states {
		tb.Fatalf("the decoder remembers %d buckets, the encoder %d", d.states, e.states)
	}
	return frame
}

var odd = []float64{
	0, math.Copysign(0, -1), 1, -1, 0.1, 1e-9, 1e-10, math.Pi, math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(0x7ff8dead0000beef),
	math.Float64frombits(0xfff0000000000001), math.Float64frombits(value.StaleNaN), math.Float64frombits(value.NormalNaN),
	1 << 53, 1<<53 + 2, -(1 << 53), 1 << 60, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1e15 + 0.5, 123456789.123456789,
}

func oddValue(r *rand.Rand, last float64) float64 {
	switch r.IntN(8) {
	case 0:
		return odd[r.IntN(len(odd))]
	case 1:
		return math.Float64frombits(r.Uint64())
	case 2, 3:
		return last
	case 4:
		return math.Round(last*100+r.NormFloat64()*10) / 100
	}
	return last + math.Floor(r.Float64()*20)
}

// TestOddValues carries values of all kinds, at odd times and orders.
func TestOddValues(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	e, d := pair(t, DefaultLimits())
	var refs []Ref
	for i := range 60 {
		refs = append(refs, series1(t, e, i))
	}
	last := make([]float64, len(refs))
	var f Frame
	for round := range 300 {
		var b Batch
		for range r.IntN(4) {
			at := int64(round)*15000 + r.Int64N(3)
			for i, ref := range refs {
				if r.IntN(10) == 0 {
					continue
				}
				last[i] = oddValue(r, last[i])
				p := Sample{Ref: ref, T: at, V: last[i]}
				if r.IntN(3) == 0 {
					p.T = r.Int64() - r.Int64()
				}
				if r.IntN(5) == 0 {
					p.ST = r.Int64() - r.Int64()
				}
				b.Samples = append(b.Samples, p)
				if r.IntN(20) == 0 { // the same again
					b.Samples = append(b.Samples, Sample{Ref: ref, T: p.T, V: p.V + 1})
				}
			}
		}
		carry(t, e, d, &f, b)
	}
}

func integers(r *rand.Rand, n int, grow int64) *histogram.Histogram {
	h := &histogram.Histogram{Schema: 3, ZeroThreshold: 1e-128, ZeroCount: uint64(grow), Sum: r.NormFloat64() * 100, PositiveSpans: []histogram.Span{{Offset: -2, Length: uint32(n)}}}
	for range n {
		h.PositiveBuckets = append(h.PositiveBuckets, r.Int64N(10)+grow)
	}
	h.NegativeSpans, h.NegativeBuckets = []histogram.Span{{Offset: 1, Length: 1}, {Offset: 3, Length: 1}}, []int64{1, r.Int64N(3)}
	h.Count = uint64(r.Int64N(1000))
	return h
}

func custom(r *rand.Rand) *histogram.FloatHistogram {
	return &histogram.FloatHistogram{
		Schema: histogram.CustomBucketsSchema, Count: r.Float64(), Sum: r.NormFloat64(), CounterResetHint: histogram.GaugeType,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 3}}, PositiveBuckets: []float64{r.Float64(), -1, math.NaN()}, CustomValues: []float64{0.1, 1},
	}
}

// TestHistograms carries native histograms of both kinds, mixed with floats.
func TestHistograms(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	e, d := pair(t, DefaultLimits())
	var f Frame
	for round := range int64(100) {
		var b Batch
		for i := range 20 {
			p := Sample{Ref: series1(t, e, i), T: round * 15000}
			switch {
			case r.IntN(20) == 0:
				p.V = r.Float64()
			case r.IntN(30) == 0:
				p.H = &histogram.Histogram{Sum: math.Float64frombits(value.StaleNaN)}
			case r.IntN(30) == 0:
				p.FH = &histogram.FloatHistogram{Sum: math.Float64frombits(value.StaleNaN)}
			case i%3 == 0:
				p.FH = integers(r, 8, round).ToFloat(nil)
			case i%3 == 1:
				p.FH = custom(r)
				p.FH.PositiveBuckets[2] = 4 // Equals holds no NaN equal to itself
			default:
				p.H = integers(r, 8+int(round/40), round)
			}
			b.Samples = append(b.Samples, p)
		}
		carry(t, e, d, &f, b)
	}
	for i := range 20 {
		e.Drop(series1(t, e, i))
	}
	carry(t, e, d, &f, Batch{})
	if d.states != 0 {
		t.Errorf("%d buckets are remembered of no series", d.states)
	}
}

// TestChurn lets series come and go, and holds the dictionary to what is alive.
func TestChurn(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	l := DefaultLimits()
	l.Series = 500
	e, d := pair(t, l)
	alive, known := map[int]Ref{}, map[Ref]labels.Labels{}
	var f Frame
	for round := range 400 {
		for range r.IntN(60) {
			if i := r.IntN(5000); len(alive) < l.Series {
				alive[i] = series1(t, e, i)
			}
		}
		for i, ref := range alive {
			if r.IntN(8) == 0 || round%97 == 0 {
				e.Drop(ref, ref)
				delete(alive, i)
			}
		}
		if round%53 == 0 {
			e.Reset()
		}
		var b Batch
		for _, ref := range alive {
			if r.IntN(4) > 0 {
				b.Samples = append(b.Samples, Sample{Ref: ref, T: int64(round), V: float64(round)})
			}
		}
		carry(t, e, d, &f, b)
		if f.Reset {
			clear(known)
		}
		for _, ref := range f.Drop {
			if _, ok := known[ref]; !ok {
				t.Fatalf("round %d: series %d was dropped, but is not known", round, ref)
			}
			delete(known, ref)
		}
		for _, n := range f.New {
			if _, ok := known[n.Ref]; ok {
				t.Fatalf("round %d: series %d is new, but is known", round, n.Ref)
			}
			known[n.Ref] = n.Labels
		}
		for _, p := range f.Samples {
			if !labels.Equal(known[p.Ref], e.series[p.Ref].labels) {
				t.Fatalf("round %d: series %d is known as %s, want %s", round, p.Ref, known[p.Ref], e.series[p.Ref].labels)
			}
		}
		if e.Len() != len(alive) || len(e.series) > l.Series {
			t.Fatalf("round %d: the dictionary has %d series in %d places, want %d", round, e.Len(), len(e.series), len(alive))
		}
		places := 0
		for i := range d.groups {
			places += len(d.groups[i].members)
		}
		if most := 2*len(known) + 16*len(d.groups); places > most {
			t.Fatalf("round %d: groups have %d places for %d series, want at most %d", round, places, len(known), most)
		}
	}
}

// TestSweep drops what had no sample for long.
func TestSweep(t *testing.T) {
	e, d := pair(t, DefaultLimits())
	old, young, unused := series1(t, e, 1), series1(t, e, 2), series1(t, e, 3)
	var f Frame
	carry(t, e, d, &f, Batch{Samples: []Sample{{Ref: old, T: 1}, {Ref: young, T: 100}}})
	if got := e.Sweep(50); !slices.Equal(got, []Ref{old}) {
		t.Fatalf("swept %v, want %v", got, old)
	}
	carry(t, e, d, &f, Batch{Samples: []Sample{{Ref: young, T: 200}, {Ref: unused, T: 200}}})
	if !slices.Equal(f.Drop, []Ref{old}) {
		t.Errorf("the other side dropped %v, want %v", f.Drop, old)
	}
	if _, err := e.Encode(nil, Batch{Samples: []Sample{{Ref: old}}}); !errors.Is(err, errRef) {
		t.Errorf("encoding a dropped series: %v, want %v", err, errRef)
	}
}

// TestExtras carries exemplars and metadata.
func TestExtras(t *testing.T) {
	e, d := pair(t, DefaultLimits())
	var f Frame
	for round := range int64(3) {
		b := Batch{}
		for i := range 10 {
			ref := series1(t, e, i)
			b.Exemplars = append(b.Exemplars, Exemplar{ref, exemplar.Exemplar{Labels: labels.FromStrings("trace_id", fmt.Sprint(round, i), "empty", ""), Value: float64(i), Ts: round*1000 + int64(i), HasTs: i%2 == 0}})
			b.Metadata = append(b.Metadata, Metadata{ref, metadata.Metadata{Type: "counter", Unit: "s", Help: fmt.Sprint("Help ", i)}})
		}
		b.Exemplars = append(b.Exemplars, Exemplar{series1(t, e, 0), exemplar.Exemplar{Labels: labels.EmptyLabels(), Value: 1}})
		carry(t, e, d, &f, b)
		if !reflect.DeepEqual(f.Metadata, b.Metadata) {
			t.Errorf("metadata arrived as %+v, want %+v", f.Metadata, b.Metadata)
		}
		for i, x := range b.Exemplars {
			if got := f.Exemplars[i]; got.Ref != x.Ref || !got.Equals(x.Exemplar) || got.HasTs != x.HasTs {
				t.Errorf("exemplar %d arrived as %+v, want %+v", i, got, x)
			}
		}
	}
}

// TestPlace loses, repeats and damages frames.
func TestPlace(t *testing.T) {
	e, d := pair(t, DefaultLimits())
	var frames [][]byte
	for i := range int64(8) {
		if i == 6 {
			e.Reset()
		}
		frame, err := e.Encode(nil, Batch{Samples: []Sample{{Ref: series1(t, e, 0), T: i, V: float64(i)}}})
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, frame)
	}
	damaged := slices.Clone(frames[2])
	damaged[len(damaged)/2] ^= 1
	wrong := slices.Clone(frames[2])
	wrong[1]++
	var f Frame
	for i, step := range []struct {
		frame []byte
		want  error
	}{
		{frames[1], ErrGap}, {frames[0], nil}, {frames[0], ErrReplay}, {frames[1], nil}, {frames[3], ErrGap}, {damaged, ErrCorrupt},
		{nil, ErrCorrupt}, {fix(wrong), ErrVersion}, {frames[2], nil}, {frames[3], nil}, {frames[6], nil}, {frames[4], ErrReplay}, {frames[6], ErrReplay}, {frames[7], nil},
	} {
		if err := d.Decode(step.frame, &f); !errors.Is(err, step.want) {
			t.Fatalf("step %d: %v, want %v", i, err, step.want)
		}
	}
	if epoch, seq, ok := d.Position(); epoch != 8 || seq != 2 || !ok {
		t.Errorf("the decoder is at %d of %d (%v), want 2 of 8", seq, epoch, ok)
	}
	if epoch, seq := e.Position(); epoch != 8 || seq != 2 {
		t.Errorf("the encoder is at %d of %d, want 2 of 8", seq, epoch)
	}
}
