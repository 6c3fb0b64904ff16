package columnar

import (
	"math"
	"testing"

	"github.com/atoll-mesh/atoll/flow/columnar/fleet"
)

const startMs = 1_700_000_000_000

// rig is a fleet whose series an encoder knows.
type rig struct {
	fleet *fleet.Fleet
	enc   *Encoder
	refs  [][]Ref
	batch Batch
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	enc, err := New(Options{Epoch: 1, Limits: DefaultLimits()})
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{fleet: fleet.New(1, startMs), enc: enc}
	for _, target := range r.fleet.Targets {
		var refs []Ref
		for _, ls := range target.Labels {
			ref, err := enc.Series(ls)
			if err != nil {
				tb.Fatal(err)
			}
			refs = append(refs, ref)
		}
		r.refs = append(r.refs, refs)
	}
	return r
}

// scrape makes a batch of so many rounds of scrapes.
func (r *rig) scrape(rounds int) Batch {
	r.batch.Samples = r.batch.Samples[:0]
	for range rounds {
		r.fleet.Round()
		for i, target := range r.fleet.Targets {
			for k, v := range target.Values {
				r.batch.Samples = append(r.batch.Samples, Sample{Ref: r.refs[i][k], T: target.T, V: v})
			}
		}
	}
	return r.batch
}

// BenchmarkStream reports what half an hour of a fleet costs at several batch
// lengths: bytes, and time to encode or decode, per sample. The first frame,
// with all labels, counts.
func BenchmarkStream(b *testing.B) {
	const half = 120
	for _, c := range []struct {
		name   string
		rounds int
	}{{"15s", 1}, {"1m", 4}, {"5m", 20}} {
		frames, samples := halfHour(b, c.rounds, half)
		b.Run("encode/"+c.name, func(b *testing.B) {
			bytes, n := 0, 0
			for range b.N {
				b.StopTimer()
				r := newRig(b)
				for range half / c.rounds {
					batch := r.scrape(c.rounds)
					b.StartTimer()
					frame, err := r.enc.Encode(nil, batch)
					b.StopTimer()
					if err != nil {
						b.Fatal(err)
					}
					bytes += len(frame)
					n += len(batch.Samples)
				}
			}
			b.ReportMetric(float64(bytes)/float64(n), "B/sample")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/sample")
		})
		b.Run("decode/"+c.name, func(b *testing.B) {
			for range b.N {
				dec, err := NewDecoder(DefaultLimits())
				if err != nil {
					b.Fatal(err)
				}
				var f Frame
				for _, frame := range frames {
					if err := dec.Decode(frame, &f); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(samples), "ns/sample")
		})
	}
}

func halfHour(tb testing.TB, rounds, total int) (frames [][]byte, samples int) {
	r := newRig(tb)
	for range total / rounds {
		batch := r.scrape(rounds)
		frame, err := r.enc.Encode(nil, batch)
		if err != nil {
			tb.Fatal(err)
		}
		frames = append(frames, frame)
		samples += len(batch.Samples)
	}
	return frames, samples
}

// TestFleet holds the stream to its size, and to giving back every bit.
func TestFleet(t *testing.T) {
	r := newRig(t)
	dec, err := NewDecoder(DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	var f Frame
	bytes, n := 0, 0
	for round := range 120 {
		batch := r.scrape(1)
		frame, err := r.enc.Encode(nil, batch)
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 || round == 1 || round == 119 {
			t.Logf("frame %d: %d bytes", round, len(frame))
		}
		bytes += len(frame)
		n += len(batch.Samples)
		if err := dec.Decode(frame, &f); err != nil {
			t.Fatal(err)
		}
		if len(f.Samples) != len(batch.Samples) {
			t.Fatalf("round %d: %d samples, want %d", round, len(f.Samples), len(batch.Samples))
		}
		for i, got := range f.Samples {
			want := batch.Samples[i]
			if got.Ref != want.Ref || got.T != want.T || math.Float64bits(got.V) != math.Float64bits(want.V) {
				t.Fatalf("round %d, sample %d: %+v, want %+v", round, i, got, want)
			}
		}
	}
	size := float64(bytes) / float64(n)
	t.Logf("%.3f bytes a sample", size)
	if size > 1.0 {
		t.Errorf("%.3f bytes a sample, want at most 1", size)
	}
}
