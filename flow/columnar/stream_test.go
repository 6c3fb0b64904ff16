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
