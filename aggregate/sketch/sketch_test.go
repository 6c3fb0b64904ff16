package sketch

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/histogram"
)

// distributions give values of many shapes, each of the same seed always the same.
func distributions() map[string]func(r *rand.Rand) float64 {
	return map[string]func(r *rand.Rand) float64{
		"uniform":     func(r *rand.Rand) float64 { return r.Float64() },
		"lognormal":   func(r *rand.Rand) float64 { return math.Exp(3 * r.NormFloat64()) },
		"normal":      func(r *rand.Rand) float64 { return 100 * r.NormFloat64() },
		"pareto":      func(r *rand.Rand) float64 { return math.Pow(r.Float64(), -2) },
		"two peaks":   func(r *rand.Rand) float64 { return float64(r.IntN(2))*1e6 + r.Float64() },
		"constant":    func(*rand.Rand) float64 { return 0.1 },
		"whole":       func(r *rand.Rand) float64 { return float64(r.IntN(10)) - 4 },
		"huge range":  func(r *rand.Rand) float64 { return math.Float64frombits(r.Uint64()) },
		"minus":       func(r *rand.Rand) float64 { return -math.Exp(r.NormFloat64()) },
		"large whole": func(r *rand.Rand) float64 { return 1e15 + float64(r.IntN(1000)) },
	}
}

func values(name string, n int) []float64 {
	r := rand.New(rand.NewPCG(1, 2))
	var vs []float64
	for len(vs) < n {
		if v := distributions()[name](r); !math.IsNaN(v) && !math.IsInf(v, 0) {
			vs = append(vs, v)
		}
	}
	return vs
}

func TestQuantileError(t *testing.T) {
	for name := range distributions() {
		for _, n := range []int{1, 2, 17, 10_000} {
			vs := values(name, n)
			h := New()
			for _, v := range vs {
				h.Add(v)
			}
			slices.Sort(vs)
			for _, q := range []float64{0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1} {
				want := vs[int(math.Floor(q*float64(n-1)+0.5))]
				got := h.Quantile(q)
				if math.Abs(got-want) > math.Abs(want)/100+smallest {
					t.Errorf("%s: quantile %v of %d values is %v, want %v", name, q, n, got, want)
				}
			}
		}
	}
}

func TestMergeOfPartsIsTheWhole(t *testing.T) {
	for name := range distributions() {
		vs := values(name, 5000)
		whole, wholeSet, wholeRanges := New(), &Distinct{}, &VMRange{}
		parts := make([]*LogHist, 7)
		sets, ranges := make([]*Distinct, len(parts)), make([]*VMRange, len(parts))
		for i := range parts {
			parts[i], sets[i], ranges[i] = New(), &Distinct{}, &VMRange{}
		}
		for i, v := range vs {
			whole.Add(v)
			wholeSet.AddFloat(v)
			wholeRanges.Add(v)
			p := i % len(parts)
			parts[p].Add(v)
			sets[p].AddFloat(v)
			ranges[p].Add(v)
		}
		merged, set, rng := New(), &Distinct{}, &VMRange{}
		for _, i := range rand.New(rand.NewPCG(3, 4)).Perm(len(parts)) {
			merged.Merge(parts[i])
			set.Merge(sets[i])
			rng.Merge(ranges[i])
		}
		if diff := cmp.Diff(buckets(whole), buckets(merged)); diff != "" {
			t.Errorf("%s: -whole +merged\n%s", name, diff)
		}
		if relative(whole.Sum(), merged.Sum()) > 1e-12 && name != "huge range" {
			t.Errorf("%s: sums %v and %v", name, whole.Sum(), merged.Sum())
		}
		if !bytes.Equal(wholeSet.AppendBinary(nil), set.AppendBinary(nil)) {
			t.Errorf("%s: merged set differs", name)
		}
		if !bytes.Equal(wholeRanges.AppendBinary(nil), rng.AppendBinary(nil)) {
			t.Errorf("%s: merged ranges differ", name)
		}
		if rng.Subtract(ranges[0]); rng.Count() != wholeRanges.Count()-ranges[0].Count() {
			t.Errorf("%s: %d after subtracting %d of %d", name, rng.Count(), ranges[0].Count(), wholeRanges.Count())
		}
	}
}

func relative(a, b float64) float64 { return math.Abs(a-b) / max(math.Abs(a), math.Abs(b), 1e-300) }

type bucket struct {
	Negative bool
	Key      uint32
	N        uint64
}

func buckets(h *LogHist) (out []bucket) {
	h.neg.eachDown(func(key uint32, n uint64) bool { out = append(out, bucket{true, key, n}); return true })
	out = append(out, bucket{N: h.zeros})
	h.pos.each(func(key uint32, n uint64) bool { out = append(out, bucket{false, key, n}); return true })
	return out
}

func TestLogHistEdges(t *testing.T) {
	h := New()
	if !math.IsNaN(h.Quantile(0.5)) {
		t.Error("an empty histogram has a median")
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		h.Add(v)
	}
	if h.Count() != 0 {
		t.Errorf("%d values were taken that are none", h.Count())
	}
	for _, v := range []float64{0, math.Copysign(0, -1), 5e-324, -5e-324, smallest, -smallest, math.MaxFloat64, -math.MaxFloat64} {
		h.Add(v)
	}
	h.AddN(7, 3)
	if h.Count() != 11 || h.zeros != 4 {
		t.Errorf("count %d, zeros %d", h.Count(), h.zeros)
	}
	if h.Quantile(0) != -math.MaxFloat64 || h.Quantile(1) != math.MaxFloat64 {
		t.Errorf("extremes %v and %v", h.Quantile(0), h.Quantile(1))
	}
	if h.Sum() != 21 {
		t.Errorf("sum %v", h.Sum())
	}
	if c := h.Clone(); !cmp.Equal(buckets(c), buckets(h)) || c.Quantile(1) != math.MaxFloat64 {
		t.Error("the clone differs")
	}
}

func TestNative(t *testing.T) {
	for name := range distributions() {
		h := New()
		for _, v := range values(name, 2000) {
			h.Add(v)
		}
		for _, schema := range []int32{-4, 0, 3, FullSchema, 8} {
			n := h.Native(schema)
			if err := n.Validate(); err != nil {
				t.Errorf("%s, schema %d: %v", name, schema, err)
			}
			total := n.ZeroCount
			for it := n.PositiveBucketIterator(); it.Next(); {
				b := it.At()
				total += b.Count
			}
			for it := n.NegativeBucketIterator(); it.Next(); {
				total += it.At().Count
			}
			if total != 2000 || n.Count != 2000 {
				t.Errorf("%s, schema %d: %v values in buckets, count %v", name, schema, total, n.Count)
			}
		}
	}
	for _, schema := range []int32{-4, -1, 0, 1, 3, 6, 8} {
		for _, v := range []float64{1, 1.0001, 0.9999, 2, 3, 1e-9, 1e9, 0.5, 0.75} {
			i := nativeIndex(v, schema)
			growth := math.Exp2(math.Exp2(-float64(schema)))
			low, high := math.Pow(growth, float64(i-1)), math.Pow(growth, float64(i))
			if v <= low*(1-1e-12) || v > high*(1+1e-12) {
				t.Errorf("schema %d: %v is in bucket %d (%v, %v]", schema, v, i, low, high)
			}
		}
	}
}

// TestAddNative: quantiles of what a native histogram counted are within its
// buckets' width of the values.
func TestAddNative(t *testing.T) {
	for name := range distributions() {
		all := values(name, 2000)
		exact := New()
		for _, v := range all {
			exact.Add(v)
		}
		slices.Sort(all)
		for _, schema := range []int32{0, 3, 6, 8} {
			h := New()
			h.AddNative(exact.Native(schema))
			if h.Count() != 2000 {
				t.Errorf("%s, schema %d: %d values", name, schema, h.Count())
			}
			// Making the histogram moved values by 1/128, reading it back does again.
			bound := math.Exp2(math.Exp2(-float64(schema))/2)*(1+1.0/128)*(1+1.0/128) - 1
			for _, q := range []float64{0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1} {
				want := all[int(math.Floor(q*1999+0.5))]
				if got := h.Quantile(q); math.Abs(got-want) > bound*math.Abs(want)+zeroThreshold {
					t.Errorf("%s, schema %d: quantile %v is %v, want %v but for %.3f", name, schema, q, got, want, bound)
				}
			}
		}
	}
}

func TestAddNativeCustom(t *testing.T) {
	n := &histogram.FloatHistogram{
		Schema: histogram.CustomBucketsSchema, CustomValues: []float64{1, 2, 10},
		Count: 100, PositiveSpans: []histogram.Span{{Offset: 0, Length: 4}}, PositiveBuckets: []float64{10, 40.5, 39.5, 10},
	}
	h := New()
	h.AddNative(n)
	for q, want := range map[float64]float64{0: 0.5, 0.05: 0.5, 0.3: 1.5, 0.5: 1.5, 0.52: 6, 0.8: 6, 0.95: 10, 1: 10} {
		if got := h.Quantile(q); math.Abs(got-want) > want/128 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if h.Count() != 100 {
		t.Errorf("%d values, want 100", h.Count())
	}
	below := &histogram.FloatHistogram{Schema: histogram.CustomBucketsSchema, CustomValues: []float64{-5},
		Count: 0.25, PositiveSpans: []histogram.Span{{Offset: 0, Length: 1}}, PositiveBuckets: []float64{0.25}}
	h = New()
	h.AddNative(below)
	if got := h.Quantile(0.5); got != -5 || h.Count() != 1 {
		t.Errorf("a quarter of a value below -5: quantile %v of %d values", got, h.Count())
	}
	h.AddNative(nil)
	h.AddNative(&histogram.FloatHistogram{Count: math.NaN(), ZeroCount: math.NaN()})
	if h.Count() != 1 {
		t.Errorf("nothing counts as %d values", h.Count()-1)
	}
}

func TestDistinct(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, 255, 256, 257, 1000, 20_000, 300_000} {
		d := &Distinct{}
		if n > 0 {
			d.AddHash(0)
			d.AddHash(0)
		}
		for i := 1; i < n; i++ {
			h := r.Uint64()
			d.AddHash(h)
			d.AddHash(h)
		}
		got, limit := d.Estimate(), 0.0
		if n > exactLimit {
			limit = 4 * 1.04 / math.Sqrt(registers) // four standard errors
		}
		if relative(float64(got), float64(n)) > limit {
			t.Errorf("%d hashes are counted as %d", n, got)
		}
	}
	d := &Distinct{}
	d.AddFloat(0)
	d.AddFloat(math.Copysign(0, -1))
	for i := range 100 {
		d.AddHash(uint64(i) << 3)
	}
	if got := d.Estimate(); got != 100 { // the bits of 0 are 0
		t.Errorf("%d, want 100", got)
	}
}

// The text of the labels is VictoriaMetrics': written down from its library.
func TestVMRange(t *testing.T) {
	for _, tc := range []struct {
		v    float64
		want string
	}{
		{0, "0...1.000e-09"}, {1e-10, "0...1.000e-09"}, {1e-9, "1.000e-09...1.136e-09"}, {2e-9, "1.896e-09...2.154e-09"},
		{0.1, "8.799e-02...1.000e-01"}, {1, "8.799e-01...1.000e+00"}, {1.0001, "1.000e+00...1.136e+00"}, {10, "8.799e+00...1.000e+01"},
		{1234, "1.136e+03...1.292e+03"}, {1e18, "1.000e+18...+Inf"}, {9.99e17, "8.799e+17...1.000e+18"}, {math.Inf(1), "1.000e+18...+Inf"},
		{-1, ""}, {math.NaN(), ""},
	} {
		h := &VMRange{}
		h.Add(tc.v)
		got := ""
		h.Buckets(func(vmrange string, n uint64) { got += vmrange[:len(vmrange)*int(n)] })
		if got != tc.want {
			t.Errorf("%v is in %q, want %q", tc.v, got, tc.want)
		}
	}
}

func TestBinary(t *testing.T) {
	for name := range distributions() {
		for _, n := range []int{0, 1, 300, 3000} {
			h, d, r := New(), &Distinct{}, &VMRange{}
			for _, v := range values(name, n) {
				h.Add(v)
				d.AddFloat(v)
				r.Add(v)
			}
			tail := []byte("tail")
			h2, rest, err := DecodeLogHist(append(h.AppendBinary(nil), tail...))
			if err != nil || !bytes.Equal(rest, tail) || !cmp.Equal(buckets(h), buckets(h2)) || h.Sum() != h2.Sum() || !same(h.Quantile(0), h2.Quantile(0)) {
				t.Errorf("%s %d: histogram comes back as another: %v, rest %q", name, n, err, rest)
			}
			d2, rest, err := DecodeDistinct(append(d.AppendBinary(nil), tail...))
			if err != nil || !bytes.Equal(rest, tail) || d.Estimate() != d2.Estimate() {
				t.Errorf("%s %d: set comes back as another: %v", name, n, err)
			}
			r2, rest, err := DecodeVMRange(append(r.AppendBinary(nil), tail...))
			if err != nil || !bytes.Equal(rest, tail) || !bytes.Equal(r.AppendBinary(nil), r2.AppendBinary(nil)) {
				t.Errorf("%s %d: ranges come back as others: %v", name, n, err)
			}
		}
	}
}

func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func seeds(f *testing.F, encode func(n int) []byte) {
	for _, n := range []int{0, 1, 3, 300} {
		f.Add(encode(n))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3})
}

func FuzzLogHist(f *testing.F) {
	seeds(f, func(n int) []byte {
		h := New()
		for _, v := range values("normal", n) {
			h.Add(v)
		}
		return h.AppendBinary(nil)
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, rest, err := DecodeLogHist(b)
		if err != nil {
			return
		}
		if len(rest) > len(b) {
			t.Fatal("more is left than there was")
		}
		again, rest, err := DecodeLogHist(h.AppendBinary(nil))
		if err != nil || len(rest) != 0 || again.Count() != h.Count() {
			t.Fatalf("does not come back: %v", err)
		}
		h.Merge(again)
		if q := h.Quantile(0.5); h.Count() > 0 && math.IsNaN(q) {
			t.Fatal("no median")
		}
		h.Native(3)
	})
}

func FuzzDistinct(f *testing.F) {
	seeds(f, func(n int) []byte {
		d := &Distinct{}
		for i := range n {
			d.AddHash(uint64(i))
		}
		return d.AppendBinary(nil)
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, _, err := DecodeDistinct(b)
		if err != nil {
			return
		}
		before := d.Estimate()
		d.Merge(d.Clone())
		if after := d.Estimate(); after != before {
			t.Fatalf("merged with itself it counts %d, not %d", after, before)
		}
		if _, rest, err := DecodeDistinct(d.AppendBinary(nil)); err != nil || len(rest) != 0 {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

func FuzzVMRange(f *testing.F) {
	seeds(f, func(n int) []byte {
		h := &VMRange{}
		for _, v := range values("lognormal", n) {
			h.Add(v)
		}
		return h.AppendBinary(nil)
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, err := DecodeVMRange(b)
		if err != nil {
			return
		}
		h.Buckets(func(name string, n uint64) {
			if name == "" || n == 0 {
				t.Fatalf("range %q of %d", name, n)
			}
		})
		if _, rest, err := DecodeVMRange(h.AppendBinary(nil)); err != nil || len(rest) != 0 {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

func BenchmarkLogHistAdd(b *testing.B) {
	vs := values("lognormal", 1<<12)
	h := New()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.Add(vs[i&(1<<12-1)])
	}
}

func BenchmarkLogHistMerge(b *testing.B) {
	h, to := New(), New()
	for _, v := range values("lognormal", 100_000) {
		h.Add(v)
	}
	b.ReportMetric(float64(len(h.AppendBinary(nil))), "B/encoded")
	for b.Loop() {
		to.Merge(h)
	}
}

func BenchmarkDistinctAdd(b *testing.B) {
	for _, n := range []uint64{256, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := &Distinct{}
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				d.AddHash(i % n)
			}
		})
	}
}

func BenchmarkVMRangeAdd(b *testing.B) {
	vs := values("lognormal", 1<<12)
	h := &VMRange{}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.Add(vs[i&(1<<12-1)])
	}
}
