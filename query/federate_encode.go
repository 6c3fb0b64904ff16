package query

import (
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"google.golang.org/protobuf/proto"
)

// federateEncoder gathers samples into metric families and writes each family
// once the next begins. Samples must come ordered by name. One name may come
// as several families in a row, of floats and of histograms: not a valid
// exposition in the strict sense, but what Prometheus sends and reads.
type federateEncoder struct {
	enc      expfmt.Encoder
	protobuf bool
	external []labels.Label

	family    *dto.MetricFamily
	histogram bool // the last sample was one
	gauge     bool // and of the gauge kind
	nameless  int
}

// externalLabels is what every federated series carries unless it has its own.
// An empty instance label keeps the federating server from adding ours.
func externalLabels(ls labels.Labels) []labels.Label {
	var out []labels.Label
	ls.Range(func(l labels.Label) { out = append(out, l) })
	if !ls.Has(model.InstanceLabel) {
		out = append(out, labels.Label{Name: model.InstanceLabel})
	}
	slices.SortFunc(out, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (e *federateEncoder) add(s promql.Sample) error {
	isHistogram := s.H != nil
	if isHistogram && !e.protobuf && !s.H.UsesCustomBuckets() {
		return nil // only protobuf can carry a native histogram
	}
	gauge := isHistogram && s.H.CounterResetHint == histogram.GaugeType
	name := s.Metric.Get(labels.MetricName)
	if name == "" {
		e.nameless++
		return nil
	}
	if e.family.GetName() != name || e.histogram != isHistogram || e.gauge != gauge {
		if err := e.flush(); err != nil {
			return err
		}
		e.family = &dto.MetricFamily{Name: proto.String(name), Type: familyType(isHistogram, gauge).Enum()}
	}
	e.histogram, e.gauge = isHistogram, gauge

	m := &dto.Metric{Label: e.labels(s.Metric), TimestampMs: proto.Int64(s.T)}
	switch {
	case !isHistogram:
		m.Untyped = &dto.Untyped{Value: proto.Float64(s.F)}
	case s.H.UsesCustomBuckets():
		m.Histogram = classicHistogram(s.H)
	default:
		m.Histogram = nativeHistogram(s.H)
	}
	e.family.Metric = append(e.family.Metric, m)
	return nil
}

func familyType(isHistogram, gauge bool) dto.MetricType {
	switch {
	case gauge:
		return dto.MetricType_GAUGE_HISTOGRAM
	case isHistogram:
		return dto.MetricType_HISTOGRAM
	default:
		return dto.MetricType_UNTYPED
	}
}

func (e *federateEncoder) labels(ls labels.Labels) []*dto.LabelPair {
	var out []*dto.LabelPair
	ls.Range(func(l labels.Label) {
		if l.Name != labels.MetricName && l.Value != "" {
			out = append(out, &dto.LabelPair{Name: proto.String(l.Name), Value: proto.String(l.Value)})
		}
	})
	for _, l := range e.external {
		if ls.Get(l.Name) == "" {
			out = append(out, &dto.LabelPair{Name: proto.String(l.Name), Value: proto.String(l.Value)})
		}
	}
	return out
}

// flush writes the family gathered so far, if there is one.
func (e *federateEncoder) flush() error {
	f := e.family
	e.family = nil
	if f == nil {
		return nil
	}
	return e.enc.Encode(f)
}

func nativeHistogram(h *histogram.FloatHistogram) *dto.Histogram {
	return &dto.Histogram{
		SampleCountFloat: proto.Float64(h.Count),
		SampleSum:        proto.Float64(h.Sum),
		Schema:           proto.Int32(h.Schema),
		ZeroThreshold:    proto.Float64(h.ZeroThreshold),
		ZeroCountFloat:   proto.Float64(h.ZeroCount),
		PositiveSpan:     spans(h.PositiveSpans),
		PositiveCount:    h.PositiveBuckets,
		NegativeSpan:     spans(h.NegativeSpans),
		NegativeCount:    h.NegativeBuckets,
	}
}

func spans(in []histogram.Span) []*dto.BucketSpan {
	var out []*dto.BucketSpan
	for _, s := range in {
		out = append(out, &dto.BucketSpan{Offset: proto.Int32(s.Offset), Length: proto.Uint32(s.Length)})
	}
	return out
}

// classicHistogram turns a histogram with custom bounds into the buckets that
// every format can carry. The +Inf bucket is left to the encoder.
func classicHistogram(h *histogram.FloatHistogram) *dto.Histogram {
	out := &dto.Histogram{
		SampleCountFloat: proto.Float64(h.Count),
		SampleSum:        proto.Float64(h.Sum),
		Bucket:           make([]*dto.Bucket, len(h.CustomValues)),
	}
	it := h.PositiveBucketIterator()
	more := it.Next()
	var cumulative float64
	for i, le := range h.CustomValues {
		for more && int(it.At().Index) < i {
			more = it.Next()
		}
		if more && int(it.At().Index) == i {
			cumulative += it.At().Count
		}
		out.Bucket[i] = &dto.Bucket{UpperBound: proto.Float64(le), CumulativeCountFloat: proto.Float64(cumulative)}
	}
	return out
}
