package render

import (
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// FromPromQL turns what the engine returns into what the API client returns
// for the same answer. It copies: the query may be closed afterwards.
func FromPromQL(v parser.Value) (model.Value, error) {
	switch v := v.(type) {
	case promql.Scalar:
		return &model.Scalar{Timestamp: model.Time(v.T), Value: model.SampleValue(v.V)}, nil
	case promql.String:
		return &model.String{Timestamp: model.Time(v.T), Value: v.V}, nil
	case promql.Vector:
		out := make(model.Vector, 0, len(v))
		for _, s := range v {
			out = append(out, &model.Sample{
				Metric: metric(s.Metric), Timestamp: model.Time(s.T), Value: model.SampleValue(s.F), Histogram: sampleHistogram(s.H),
			})
		}
		return out, nil
	case promql.Matrix:
		out := make(model.Matrix, 0, len(v))
		for _, s := range v {
			out = append(out, stream(s))
		}
		return out, nil
	default:
		return nil, fmt.Errorf("rendering: got a PromQL value of type %T, which is unknown", v)
	}
}

func stream(s promql.Series) *model.SampleStream {
	out := &model.SampleStream{Metric: metric(s.Metric)}
	for _, p := range s.Floats {
		out.Values = append(out.Values, model.SamplePair{Timestamp: model.Time(p.T), Value: model.SampleValue(p.F)})
	}
	for _, p := range s.Histograms {
		out.Histograms = append(out.Histograms, model.SampleHistogramPair{Timestamp: model.Time(p.T), Histogram: sampleHistogram(p.H)})
	}
	return out
}

func metric(ls labels.Labels) model.Metric {
	m := make(model.Metric, ls.Len())
	ls.Range(func(l labels.Label) { m[model.LabelName(l.Name)] = model.LabelValue(l.Value) })
	return m
}

func sampleHistogram(h *histogram.FloatHistogram) *model.SampleHistogram {
	if h == nil {
		return nil
	}
	out := &model.SampleHistogram{Count: model.FloatString(h.Count), Sum: model.FloatString(h.Sum)}
	for it := h.AllBucketIterator(); it.Next(); {
		if b := it.At(); b.Count != 0 {
			out.Buckets = append(out.Buckets, &model.HistogramBucket{
				Boundaries: boundaries(b.LowerInclusive, b.UpperInclusive),
				Lower:      model.FloatString(b.Lower), Upper: model.FloatString(b.Upper), Count: model.FloatString(b.Count),
			})
		}
	}
	return out
}

// boundaries is the API's code for which ends belong to a bucket.
func boundaries(lower, upper bool) int32 {
	switch {
	case lower && upper:
		return 3
	case lower:
		return 1
	case upper:
		return 0
	default:
		return 2
	}
}
