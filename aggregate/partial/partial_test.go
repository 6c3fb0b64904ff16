package partial

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/rule"
)

const every = "[avg, count_samples, count_series, histogram_bucket, increase, increase_prometheus, last, max, min, 'quantiles(0.5)', rate_avg, rate_sum, stddev, stdvar, sum_samples, unique_samples, native_histogram]"

func ruleOf(t testing.TB, outputs string) *rule.Rule {
	t.Helper()
	set, err := rule.Load("test.yml", []byte("- {interval: 1m, without: [pod], outputs: "+outputs+"}"))
	if err != nil {
		t.Fatal(err)
	}
	return set.Rules[0]
}

func TestSum2(t *testing.T) {
	var s Sum2
	for range 10 {
		s.Add(1e16)
		s.Add(1)
	}
	for range 10 {
		s.Add(-1e16)
	}
	if s.Value() != 10 {
		t.Errorf("sum %v, want 10", s.Value())
	}
	var o Sum2
	o.AddSum(s)
	o.SubSum(s)
	if !o.IsZero() {
		t.Errorf("%v is left of a sum minus itself", o)
	}
	s.Add(math.Inf(1))
	s.Add(1)
	if !math.IsInf(s.Value(), 1) {
		t.Errorf("sum %v, want +Inf", s.Value())
	}
}

// observe fills an accumulator as an engine would.
func observe(needs rule.Needs, vs []float64) Acc {
	var a Acc
	for i, v := range vs {
		a.Observe(needs, int64(i+1), v)
		a.Increase.Add(v)
		a.IncreaseProm.Add(2 * v)
		a.Rate += v / 10
		a.Rates++
		a.Series++
		a.Carry.Add(1)
	}
	a.Hist = &histogram.FloatHistogram{Schema: 1, Count: float64(len(vs)), Sum: 3, PositiveSpans: []histogram.Span{{Offset: 1, Length: 1}}, PositiveBuckets: []float64{float64(len(vs))}}
	return a
}

func samples(n int) []float64 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	vs := make([]float64, n)
	for i := range vs {
		vs[i] = math.Exp(r.NormFloat64())
	}
	return vs
}

// near compares but for rounding.
func near(t *testing.T, name string, a, b float64) {
	t.Helper()
	if math.Abs(a-b) > 1e-12*max(math.Abs(a), math.Abs(b)) {
		t.Errorf("%s: %v and %v", name, a, b)
	}
}

func TestMergeOfPartsIsTheWhole(t *testing.T) {
	needs := ruleOf(t, every).Needs()
	vs := samples(1000)
	whole := observe(needs, vs)
	var parts []Acc
	for i := 0; i < len(vs); i += 130 {
		parts = append(parts, observe(needs, vs[i:min(i+130, len(vs))]))
		parts[len(parts)-1].LastT += int64(i)
	}
	for seed := range uint64(5) {
		var merged Acc
		for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(len(parts)) {
			merged.Merge(needs, &parts[i])
		}
		near(t, "increase", whole.Increase.Value(), merged.Increase.Value())
		near(t, "increase_prometheus", whole.IncreaseProm.Value(), merged.IncreaseProm.Value())
		near(t, "sum", whole.Sum.Value(), merged.Sum.Value())
		near(t, "rate", whole.Rate, merged.Rate)
		near(t, "mean", whole.Mean, merged.Mean)
		near(t, "m2", whole.M2, merged.M2)
		near(t, "carry", whole.Carry.Value(), merged.Carry.Value())
		near(t, "median", whole.Quant.Quantile(0.5), merged.Quant.Quantile(0.5))
		type plain struct {
			Rates, Count, Series, Unique, Ranges uint64
			Min, Max, Last, Hist                 float64
			LastT                                int64
		}
		of := func(a *Acc) plain {
			return plain{a.Rates, a.Count, a.Series, a.Unique.Estimate(), a.Buckets.Count(), a.Min, a.Max, a.Last, a.Hist.Count, a.LastT}
		}
		if diff := cmp.Diff(of(&whole), of(&merged)); diff != "" {
			t.Errorf("-whole +merged\n%s", diff)
		}
	}
}

func TestCloneIsIndependent(t *testing.T) {
	needs := ruleOf(t, every).Needs()
	a := observe(needs, samples(10))
	before := hex.EncodeToString(AppendAcc(nil, needs, 0, &a))
	c := a.Clone()
	b := observe(needs, samples(20))
	c.Merge(needs, &b)
	if hex.EncodeToString(AppendAcc(nil, needs, 0, &a)) != before {
		t.Error("merging into a clone changed the original")
	}
}

func window(t testing.TB, outputs string, groups int, fill func(i int) Acc) *Window {
	w := &Window{Rule: ruleOf(t, outputs), End: 1_790_000_040_000, Revision: 3}
	for i := range groups {
		g := labels.FromStrings("__name__", "http_requests:rate", "cluster", fmt.Sprintf("eu-%d", i%3), "env", "production", "job", "api-server",
			"method", []string{"GET", "POST", "PUT"}[i%3], "namespace", fmt.Sprintf("team-%d", i%25), "path", fmt.Sprintf("/api/v1/things/%d", i), "status", fmt.Sprint(200+i%4))
		w.Rows = append(w.Rows, Row{Group: g, Hash: g.Hash(), Acc: fill(i)})
	}
	return w
}

func finder(r *rule.Rule) func(uint64) *rule.Rule {
	return func(hash uint64) *rule.Rule {
		if hash == r.Hash {
			return r
		}
		return nil
	}
}

func TestBytesPerRow(t *testing.T) {
	counter := func(i int) Acc { return Acc{Increase: Sum2{Hi: float64(6000 + 37*i)}} }
	one, many := window(t, "[total]", 1, counter), window(t, "[total]", 1001, counter)
	each := float64(len(AppendWindow(nil, many))-len(AppendWindow(nil, one))) / 1000
	t.Logf("%.1f bytes a row", each)
	if each > 12 {
		t.Errorf("a row of one counter takes %.1f bytes, want at most 12", each)
	}
}

func TestWindowComesBack(t *testing.T) {
	for _, outputs := range []string{"[total]", every, "[avg, stddev]", "[last]"} {
		w := window(t, outputs, 100, func(i int) Acc { return observe(ruleOf(t, outputs).Needs(), samples(i)) })
		w.Open = true
		b := AppendWindow(nil, w)
		got, rest, err := DecodeWindow(append(b, "tail"...), finder(w.Rule))
		if err != nil || string(rest) != "tail" {
			t.Fatalf("%s: %v, rest %q", outputs, err, rest)
		}
		if got.Rule != w.Rule || got.End != w.End || got.Revision != w.Revision || !got.Open || len(got.Rows) != len(w.Rows) {
			t.Fatalf("%s: head %+v", outputs, got)
		}
		for i, row := range got.Rows {
			if !labels.Equal(row.Group, w.Rows[i].Group) || row.Hash != w.Rows[i].Hash {
				t.Fatalf("%s: row %d is %s", outputs, i, row.Group)
			}
		}
		if string(AppendWindow(nil, got)) != string(b) {
			t.Errorf("%s: written again it differs", outputs)
		}
		for cut := range min(len(b), 300) {
			if _, _, err := DecodeWindow(b[:cut], finder(w.Rule)); err == nil {
				t.Fatalf("%s: %d of %d bytes are taken for a window", outputs, cut, len(b))
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	w := window(t, "[total]", 2, func(int) Acc { return Acc{} })
	b := AppendWindow(nil, w)
	if _, _, err := DecodeWindow(b, func(uint64) *rule.Rule { return nil }); err == nil || !strings.Contains(err.Error(), "no rule here") {
		t.Errorf("unknown rule: %v", err)
	}
	b[0] = 9
	if _, _, err := DecodeWindow(b, finder(w.Rule)); err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("other version: %v", err)
	}
}

// A window in the bytes of the first version must be read for ever.
func TestGoldenVector(t *testing.T) {
	w := window(t, every, 3, func(i int) Acc { return observe(ruleOf(t, every).Needs(), samples(i*2)) })
	text, err := os.ReadFile("testdata/window.v1.hex")
	if os.Getenv("UPDATE") != "" {
		text, err = []byte(hex.EncodeToString(AppendWindow(nil, w))), os.WriteFile("testdata/window.v1.hex", []byte(hex.EncodeToString(AppendWindow(nil, w))), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(AppendWindow(nil, w)); got != strings.TrimSpace(string(text)) {
		t.Errorf("the window is written as\n%s\nwant\n%s", got, text)
	}
}

func TestSplit(t *testing.T) {
	w := window(t, "[total]", 10, func(int) Acc { return Acc{} })
	pieces := Split(w, 4)
	rows := 0
	for i, p := range pieces {
		if p.Piece != uint32(i) || p.Pieces != 3 || p.End != w.End {
			t.Errorf("piece %d is %d of %d", i, p.Piece, p.Pieces)
		}
		rows += len(p.Rows)
	}
	if rows != 10 || len(Split(w, 10)) != 1 || w.Pieces != 0 {
		t.Errorf("%d rows in pieces", rows)
	}
}

func FuzzDecodeWindow(f *testing.F) {
	r := ruleOf(f, every)
	for _, n := range []int{0, 1, 3} {
		f.Add(AppendWindow(nil, window(f, every, n, func(i int) Acc { return observe(r.Needs(), samples(i)) })))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w, _, err := DecodeWindow(b, func(uint64) *rule.Rule { return r })
		if err != nil {
			return
		}
		again, rest, err := DecodeWindow(AppendWindow(nil, w), finder(r))
		if err != nil || len(rest) != 0 || len(again.Rows) != len(w.Rows) {
			t.Fatalf("does not come back: %v", err)
		}
		var sum Acc
		for i := range w.Rows {
			sum.Merge(r.Needs(), &w.Rows[i].Acc)
		}
	})
}

func BenchmarkWindow(b *testing.B) {
	w := window(b, "[total]", 1000, func(i int) Acc { return Acc{Increase: Sum2{Hi: float64(6000 + 37*i)}} })
	var buf []byte
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			buf = AppendWindow(buf[:0], w)
		}
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := DecodeWindow(buf, finder(w.Rule)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
