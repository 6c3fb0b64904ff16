package receive

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// Whatever the bytes, the decoder must say what generated code says.

func FuzzDecodeV1(f *testing.F) {
	for _, m := range seedsV1() {
		p, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
		f.Add(p[:len(p)/2])
	}
	f.Add([]byte{0x0a, 0x06, 0x0a, 0x00, 0x12, 0x00, 0x0a, 0x00}) // labels apart
	f.Add([]byte{0x0b, 0x0c})                                     // a group
	f.Fuzz(func(t *testing.T, p []byte) {
		var want prompb.WriteRequest
		wantErr := want.Unmarshal(p)
		got, gotErr := readV1(p)
		for _, ts := range want.Timeseries { // as the model has them: that is what is stored
			for i, h := range ts.Histograms {
				if h.IsFloatHistogram() {
					ts.Histograms[i] = prompb.FromFloatHistogram(h.Timestamp, h.ToFloatHistogram())
				} else {
					ts.Histograms[i] = prompb.FromIntHistogram(h.Timestamp, h.ToIntHistogram())
				}
			}
		}
		compare(t, got, want.Timeseries, gotErr, wantErr)
	})
}

func FuzzDecodeV2(f *testing.F) {
	for _, m := range seedsV2() {
		p, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
		f.Add(p[:len(p)/2])
	}
	f.Add([]byte{0x2a, 0x04, 0x08, 0x01, 0x08, 0x02})       // references not packed
	f.Add([]byte{0x2a, 0x05, 0x0a, 0x01, 0x80, 0x01, 0x01}) // the last one runs over
	f.Fuzz(func(t *testing.T, p []byte) {
		var want writev2.Request
		wantErr := want.Unmarshal(p)
		b := newBatch()
		gotErr := b.decodeV2(p)
		var got []writev2.TimeSeries
		if gotErr == nil {
			got = b.asV2()
		}
		if gotErr == nil && wantErr == nil {
			if diff := cmp.Diff(b.symbols, want.Symbols, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("symbols (-got +want):\n%s", diff)
			}
		}
		for _, ts := range want.Timeseries {
			for i, h := range ts.Histograms {
				if h.IsFloatHistogram() {
					ts.Histograms[i] = writev2.FromFloatHistogram(h.StartTimestamp, h.Timestamp, h.ToFloatHistogram())
				} else {
					ts.Histograms[i] = writev2.FromIntHistogram(h.StartTimestamp, h.Timestamp, h.ToIntHistogram())
				}
			}
		}
		compare(t, got, want.Timeseries, gotErr, wantErr)
	})
}

func compare[T any](t *testing.T, got, want []T, gotErr, wantErr error) {
	t.Helper()
	if _, large := errors.AsType[*tooLarge](gotErr); large {
		return
	}
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("error %v, generated code says %v", gotErr, wantErr)
	}
	if gotErr != nil {
		return
	}
	ignore := cmp.FilterPath(func(p cmp.Path) bool {
		name := p.Last().String()
		return name == ".XXX_unrecognized" || name == ".XXX_NoUnkeyedLiteral" || name == ".XXX_sizecache"
	}, cmp.Ignore())
	if diff := cmp.Diff(got, want, ignore, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()); diff != "" {
		t.Fatalf("(-got +want):\n%s", diff)
	}
}

func newBatch() *batch {
	b := &batch{}
	b.reset(1000, 1<<24)
	return b
}

func readV1(p []byte) ([]prompb.TimeSeries, error) {
	b := newBatch()
	if err := b.decodeV1(p, nil); err != nil {
		return nil, err
	}
	var out []prompb.TimeSeries
	for i := range b.series {
		s := &b.series[i]
		ts := prompb.TimeSeries{Exemplars: b.exemplarV1[s.exemplarFrom:s.exemplarTo]}
		for p := s.labels; len(p) > 0; {
			_, _, next := tag(p, 0)
			lo, hi := sized(p, next)
			name, value, _ := decodeLabel(p[lo:hi])
			ts.Labels = append(ts.Labels, prompb.Label{Name: string(name), Value: string(value)})
			p = p[hi:]
		}
		for _, x := range b.samples[s.sampleFrom:s.sampleTo] {
			ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: x.t, Value: x.v})
		}
		for _, x := range b.histograms[s.histogramFrom:s.histogramTo] {
			if x.fh != nil {
				ts.Histograms = append(ts.Histograms, prompb.FromFloatHistogram(x.t, x.fh))
			} else {
				ts.Histograms = append(ts.Histograms, prompb.FromIntHistogram(x.t, x.h))
			}
		}
		out = append(out, ts)
	}
	return out, nil
}

func (b *batch) asV2() (out []writev2.TimeSeries) {
	for _, s := range b.series {
		ts := writev2.TimeSeries{
			LabelsRefs: b.refs[s.refFrom:s.refTo],
			Exemplars:  b.exemplarV2[s.exemplarFrom:s.exemplarTo],
			Metadata:   writev2.Metadata{Type: s.metaType, HelpRef: s.helpRef, UnitRef: s.unitRef},
		}
		for _, x := range b.samples[s.sampleFrom:s.sampleTo] {
			ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: x.t, Value: x.v, StartTimestamp: x.st})
		}
		for _, x := range b.histograms[s.histogramFrom:s.histogramTo] {
			if x.fh != nil {
				ts.Histograms = append(ts.Histograms, writev2.FromFloatHistogram(x.st, x.t, x.fh))
			} else {
				ts.Histograms = append(ts.Histograms, writev2.FromIntHistogram(x.st, x.t, x.h))
			}
		}
		out = append(out, ts)
	}
	return out
}

func TestRoomBoundsSmallElements(t *testing.T) {
	for name, body := range map[string][]byte{
		"symbols": {0x22, 0x00},
		"series":  {0x2a, 0x00},
		"samples": {0x2a, 0x02, 0x12, 0x00},
	} {
		b := &batch{}
		b.reset(1<<30, 10_000)
		var many []byte
		for range 10_000 {
			many = append(many, body...)
		}
		var large *tooLarge
		if err := b.decodeV2(many); !errors.As(err, &large) || large.reason != reasonExpansion {
			t.Errorf("%s: error %v, want reason %s", name, err, reasonExpansion)
		}
	}
}

func seedsV1() []*prompb.WriteRequest {
	return []*prompb.WriteRequest{
		{},
		v1(1000, "a", "b"),
		{
			Timeseries: []prompb.TimeSeries{{
				Labels:     []prompb.Label{{Name: "__name__", Value: "h"}},
				Histograms: []prompb.Histogram{prompb.FromIntHistogram(5, intHistogram(3)), prompb.FromFloatHistogram(6, floatHistogram(4))},
				Exemplars:  []prompb.Exemplar{{Labels: []prompb.Label{{Name: "trace_id", Value: "x"}}, Value: 1, Timestamp: 5}},
			}},
			Metadata: []prompb.MetricMetadata{{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "h", Help: "help"}},
		},
	}
}

func seedsV2() []*writev2.Request {
	h := v2(1000, "h")
	h.Timeseries[0].Histograms = []writev2.Histogram{writev2.FromIntHistogram(1, 5, intHistogram(3)), writev2.FromFloatHistogram(2, 6, floatHistogram(4))}
	h.Timeseries[0].Exemplars = []writev2.Exemplar{{LabelsRefs: []uint32{3, 4}, Value: 1, Timestamp: 5}}
	h.Timeseries[0].Metadata = writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_HISTOGRAM, HelpRef: 1, UnitRef: 2}
	return []*writev2.Request{{}, v2(1000, "a", "b"), h}
}
