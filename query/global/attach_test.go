package global

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// TestAttach reads series with and without labels of the attached names.
func TestAttach(t *testing.T) {
	store := memory(t)
	for _, ls := range []labels.Labels{
		labels.FromStrings("__name__", "plain", "a", "1"),
		labels.FromStrings("__name__", "own", "island", "here"),
		labels.FromStrings("__name__", "other", "island", "there"),
		labels.FromStrings("__name__", "both", "island", "there", "exported_island", "x"),
	} {
		fill(t, store, []sample{{labels: ls, ms: 1000, v: 1}})
	}
	data := Attach(store, labels.FromStrings("island", "here", "region", "eu"))
	for matcher, want := range map[string][]string{
		`{__name__="plain"}`:                        {`{__name__="plain", a="1", island="here", region="eu"}`},
		`{__name__="own"}`:                          {`{__name__="own", island="here", region="eu"}`},
		`{__name__="other"}`:                        {`{__name__="other", exported_island="there", island="here", region="eu"}`},
		`{__name__="both"}`:                         {`{__name__="both", exported_exported_island="there", exported_island="x", island="here", region="eu"}`},
		`{island="there"}`:                          nil,
		`{__name__=~".+", region!="eu"}`:            nil,
		`{exported_island="there"}`:                 {`{__name__="other", exported_island="there", island="here", region="eu"}`},
		`{__name__=~"o.*", exported_island=""}`:     {`{__name__="own", island="here", region="eu"}`},
		`{__name__=~"b.*", exported_island=~".x?"}`: {`{__name__="both", exported_exported_island="there", exported_island="x", island="here", region="eu"}`},
		`{island="here", a="1"}`:                    {`{__name__="plain", a="1", island="here", region="eu"}`},
	} {
		ms, err := parser.NewParser(parser.Options{}).ParseMetricSelector(matcher)
		if err != nil {
			t.Fatal(err)
		}
		q, err := data.Querier(0, 2000)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for set := q.Select(t.Context(), true, nil, ms...); set.Next(); {
			got = append(got, set.At().Labels().String())
		}
		q.Close()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got)\n%s", matcher, d)
		}
		cq, err := data.ChunkQuerier(0, 2000)
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for set := cq.Select(t.Context(), true, nil, ms...); set.Next(); {
			got = append(got, set.At().Labels().String())
		}
		cq.Close()
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("chunks of %s (-want +got)\n%s", matcher, d)
		}
	}
}

// TestAttachedNames: labels under the names that they are moved to are listed.
func TestAttachedNames(t *testing.T) {
	store := memory(t)
	for _, ls := range []labels.Labels{
		labels.FromStrings("__name__", "plain", "a", "1"),
		labels.FromStrings("__name__", "own", "island", "here"),
		labels.FromStrings("__name__", "other", "island", "there", "b", "2"),
		labels.FromStrings("__name__", "both", "island", "yonder", "exported_island", "x"),
	} {
		fill(t, store, []sample{{labels: ls, ms: 1000, v: 1}})
	}
	data := Attach(store, labels.FromStrings("island", "here", "region", "eu"))
	q, err := data.Querier(0, 2000)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	cq, err := data.ChunkQuerier(0, 2000)
	if err != nil {
		t.Fatal(err)
	}
	defer cq.Close()
	for _, c := range []struct{ name, selector, want string }{
		{"", `{}`, "[__name__ a b exported_exported_island exported_island island region]"},
		{"", `{__name__="plain"}`, "[__name__ a island region]"},
		{"", `{__name__="own"}`, "[__name__ island region]"},
		{"", `{exported_island="there"}`, "[__name__ b exported_island island region]"},
		{"", `{exported_island="nowhere"}`, "[]"},
		{"exported_island", `{}`, "[there x]"},
		{"exported_island", `{__name__="other"}`, "[there]"},
		{"exported_exported_island", `{}`, "[yonder]"},
		{"__name__", `{exported_island!=""}`, "[both other]"},
		{"island", `{exported_island!=""}`, "[here]"},
		{"island", `{island="there"}`, "[]"},
		{"island", `{}`, "[here]"},
		{"b", `{}`, "[2]"},
	} {
		var ms []*labels.Matcher
		if c.selector != "{}" {
			if ms, err = parser.NewParser(parser.Options{}).ParseMetricSelector(c.selector); err != nil {
				t.Fatal(err)
			}
		}
		for _, from := range []storage.LabelQuerier{q, cq} {
			got, _, err := from.LabelNames(t.Context(), nil, ms...)
			if c.name != "" {
				got, _, err = from.LabelValues(t.Context(), c.name, nil, ms...)
			}
			if fmt.Sprint(got) != c.want || err != nil {
				t.Errorf("%s of %s: %v %v, want %s", c.name, c.selector, got, err, c.want)
			}
		}
	}
}

// TestAttachEverything: a selector of attached labels alone selects all series.
func TestAttachEverything(t *testing.T) {
	store := memory(t)
	fill(t, store, []sample{{labels: labels.FromStrings("__name__", "a"), ms: 1000}, {labels: labels.FromStrings("job", "nameless"), ms: 1000}})
	q, err := Attach(store, labels.FromStrings("island", "here")).Querier(0, 2000)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	here := labels.MustNewMatcher(labels.MatchEqual, "island", "here")
	n := 0
	for set := q.Select(t.Context(), false, nil, here); set.Next(); {
		n++
	}
	names, _, err1 := q.LabelNames(t.Context(), nil, here)
	values, _, err2 := q.LabelValues(t.Context(), "island", nil)
	none, _, err3 := q.LabelValues(t.Context(), "island", nil, labels.MustNewMatcher(labels.MatchEqual, "job", "x"))
	if n != 2 || fmt.Sprint(names, values, none, err1, err2, err3) != "[__name__ island job] [here] [] <nil> <nil> <nil>" {
		t.Error(n, names, values, none, err1, err2, err3)
	}
}

// TestRawSamples: samples that travel encoded are those of the store, with start
// times and counter reset hints, and no more than asked for.
func TestRawSamples(t *testing.T) {
	f := newFleet(t, newRand(5), 1, false, nil)
	all := labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".+")
	for _, span := range [][2]int64{{0, dataEnd}, {400_000, 900_000}, {777_777, 777_777}} {
		want := f.merged
		q, err := want.Querier(span[0], span[1])
		if err != nil {
			t.Fatal(err)
		}
		a, err := f.islands[0].Answer(t.Context(), &Request{
			Raw: []Raw{{Matchers: []*labels.Matcher{all}, MinTime: span[0], MaxTime: span[1]}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []storage.Series
		for i := range a.Raw[0].Series {
			got = append(got, &fetched{series: &a.Raw[0].Series[i], mint: span[0], maxt: span[1]})
		}
		n, points := 0, 0
		for set := q.Select(t.Context(), true, nil, all); set.Next(); {
			if print1(set.At(), nil) == "" {
				continue
			}
			for n < len(got) && print1(got[n], nil) == "" { // a histogram chunk without samples in the span
				n++
			}
			if n == len(got) {
				t.Fatalf("%v: no series %s", span, set.At().Labels())
			}
			if w, g := print1(set.At(), &points), print1(got[n], nil); w != g || !labels.Equal(set.At().Labels(), got[n].Labels()) {
				t.Errorf("%v %s\nwant %s\n got %s", span, set.At().Labels(), w, g)
			}
			n++
		}
		q.Close()
		if points == 0 && span[0] != span[1] {
			t.Errorf("%v: nothing to compare", span)
		}
	}
}

// print1 writes all samples of a series down.
func print1(s storage.Series, points *int) string {
	out := ""
	it := s.Iterator(nil)
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		if points != nil {
			*points++
		}
		if kind == chunkenc.ValFloat {
			t, v := it.At()
			out += fmt.Sprintf("%d/%d %v;", it.AtST(), t, v)
			continue
		}
		t, h := it.AtFloatHistogram(nil)
		out += fmt.Sprintf("%d/%d %v %v;", it.AtST(), t, h, h.CounterResetHint)
	}
	return out
}

// FuzzVet: no chunk makes a check panic, and what passes can be read.
func FuzzVet(f *testing.F) {
	fleet := newFleet(f, newRand(6), 1, false, nil)
	a, err := fleet.islands[0].Answer(f.Context(), &Request{
		Raw: []Raw{{Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, "c1.*|nh")}, MaxTime: dataEnd}},
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range a.Raw[0].Series[:2] {
		f.Add(byte(s.Chunks[0].Encoding), s.Chunks[0].Data)
	}
	f.Fuzz(func(t *testing.T, encoding byte, data []byte) {
		s := RawSeries{Labels: labels.FromStrings(label, "x"), Chunks: []Chunk{{Encoding: chunkenc.Encoding(encoding), Data: data}}}
		v := &vet{label: label, name: "x"}
		n, err := v.raw(&Raw{}, []RawSeries{s})
		if err != nil {
			return
		}
		points := 0
		print1(&fetched{series: &s, mint: -1 << 63, maxt: 1<<63 - 1}, &points)
		if int64(points) > n {
			t.Errorf("%d samples were counted, %d read", n, points)
		}
	})
}
