package batch

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

func some() []Sample {
	a, b := labels.FromStrings("__name__", "a", "x", "1"), labels.FromStrings("__name__", "b")
	nhcb := &histogram.FloatHistogram{
		Schema: histogram.CustomBucketsSchema, Count: 3, Sum: 4, CustomValues: []float64{1, 2},
		PositiveSpans: []histogram.Span{{Length: 2}}, PositiveBuckets: []float64{1, 2},
	}
	return []Sample{
		{Labels: a, T: 1000, V: 1.5}, {Labels: a, ST: 500, T: 2000, V: math.Inf(1)},
		{Labels: b, T: -5, V: math.NaN()},
		{Labels: a, T: 3000, H: tsdbutil.GenerateTestHistogram(3)},
		{Labels: b, T: 4000, FH: tsdbutil.GenerateTestFloatHistogram(4)},
		{Labels: b, T: 5000, FH: nhcb},
	}
}

func encode(t testing.TB, ss []Sample) []byte {
	t.Helper()
	e := NewEncoder()
	for _, s := range ss {
		e.Add(s)
	}
	b, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	entry := encode(t, some())
	info, err := Peek(entry)
	if err != nil || info.Samples != 6 || info.MinT != -5 || info.MaxT != 5000 {
		t.Errorf("head: %+v, %v", info, err)
	}
	got, err := Decode(entry, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(some(), got, cmpopts.EquateNaNs(), cmpopts.EquateEmpty(), cmp.Comparer(labels.Equal)); d != "" {
		t.Error(d)
	}
}

func TestNothingOfTheLastEntryStays(t *testing.T) {
	e := NewEncoder()
	for _, s := range some() {
		e.Add(s)
	}
	if _, err := e.Finish(); err != nil {
		t.Fatal(err)
	}
	e.Add(some()[0])
	b, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode(b, nil); err != nil || len(got) != 1 || got[0].V != 1.5 {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	good := encode(f, some())
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(append(good[:head:head], 0xff, 0xff, 0xff, 0xff, 0x0f))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Decode(b, nil)
		if err != nil {
			if !errors.Is(err, ErrDamaged) || len(got) != 0 {
				t.Fatalf("%d samples and %v", len(got), err)
			}
			return
		}
		again, err := Decode(encode(t, got), nil)
		if err != nil || len(again) != len(got) {
			t.Fatalf("%d samples became %d: %v", len(got), len(again), err)
		}
	})
}
