package receive

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

func intHistogram(n int64) *histogram.Histogram {
	return &histogram.Histogram{
		Schema: 1, ZeroThreshold: 0.001, ZeroCount: uint64(n), Count: uint64(3 * n), Sum: float64(n),
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 1}}, PositiveBuckets: []int64{n},
		NegativeSpans: []histogram.Span{{Offset: 2, Length: 1}}, NegativeBuckets: []int64{n},
	}
}

func floatHistogram(n int64) *histogram.FloatHistogram { return intHistogram(n).ToFloat(nil) }

func customHistogram(n int64) *histogram.Histogram {
	return &histogram.Histogram{
		Schema: histogram.CustomBucketsSchema, Count: uint64(2 * n), Sum: float64(n),
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []int64{n, 0},
		CustomValues: []float64{0.1, 1},
	}
}

// generator makes requests of all kinds, right and wrong. The kind of a series
// follows from its number, so that a series keeps it.
type generator struct {
	rng *rand.Rand
	now int64 // ms; requests move it on
}

func newGenerator(seed uint64, from time.Time) *generator {
	return &generator{rng: rand.New(rand.NewPCG(seed, 1)), now: from.UnixMilli()}
}

type point struct {
	st, t int64
	v     float64
	h     *histogram.Histogram
	fh    *histogram.FloatHistogram
}

type genExemplar struct {
	name, value string
	v           float64
	t           int64
}

type genSeries struct {
	labels    [][2]string
	points    []point
	exemplars []genExemplar
}

func (g *generator) request() []genSeries {
	g.now += 15_000
	out := make([]genSeries, g.rng.IntN(12))
	for i := range out {
		out[i] = g.series()
	}
	return out
}

func (g *generator) one(in int) bool { return g.rng.IntN(in) == 0 }

func (g *generator) series() genSeries {
	id := g.rng.IntN(60)
	s := genSeries{labels: [][2]string{
		{"__name__", fmt.Sprintf("metric_%d", id%7)}, {"id", fmt.Sprint(id)}, {"job", "ünïcode"}, {"zone", "eu"},
	}}
	g.disturb(&s)
	for range 1 + g.rng.IntN(3)*g.rng.IntN(2) {
		s.points = append(s.points, g.point(id))
	}
	if g.one(20) {
		s.points = nil
	}
	for range g.rng.IntN(3) * g.rng.IntN(2) {
		s.exemplars = append(s.exemplars, genExemplar{"trace_id", fmt.Sprint(g.rng.IntN(9)), float64(g.rng.IntN(9)), g.time()})
	}
	return s
}

// disturb spoils the labels now and then.
func (g *generator) disturb(s *genSeries) {
	switch g.rng.IntN(24) {
	case 0:
		g.rng.Shuffle(len(s.labels), func(i, j int) { s.labels[i], s.labels[j] = s.labels[j], s.labels[i] })
	case 1:
		s.labels = append(s.labels, [2]string{"empty", ""})
	case 2:
		s.labels = append(s.labels, [2]string{"job", "twice"})
	case 3:
		s.labels = s.labels[1:]
	case 4:
		s.labels[0][1] = ""
	case 5:
		s.labels = append(s.labels, [2]string{"bad", "\xff"})
	case 6:
		s.labels = append(s.labels, [2]string{"\xff", "bad"})
	case 7:
		s.labels = append(s.labels, [2]string{"", "nameless"})
	case 8:
		s.labels = append(s.labels, [2]string{"Zürich.utf8 name", "x"})
	case 9:
		s.labels = nil
	}
}

func (g *generator) time() int64 {
	switch g.rng.IntN(16) {
	case 0:
		return g.now - int64(g.rng.IntN(120))*15_000 // out of order, or a duplicate
	case 1:
		return g.now + 3600_000 // too far ahead
	case 2:
		return g.now - 5*3600_000 // too old
	default:
		return g.now
	}
}

func (g *generator) point(id int) point {
	p := point{t: g.time()}
	n := int64(1 + g.rng.IntN(50))
	if g.one(3) {
		p.st = g.now - 60_000
	}
	switch id % 6 {
	case 0:
		p.h = intHistogram(n)
	case 1:
		p.fh = floatHistogram(n)
	case 2:
		p.h = customHistogram(n)
	default:
		p.v = float64(g.rng.IntN(4))
		if g.one(12) {
			p.v = math.Float64frombits(value.StaleNaN)
		}
		return p
	}
	switch {
	case g.one(15) && p.h != nil:
		p.h.Count++ // invalid
	case g.one(15) && p.h != nil && p.h.Schema == 1:
		p.h.Schema = 9 + int32(g.rng.IntN(3)) // finer than known: reduced
	case g.one(15):
		p.h, p.fh = &histogram.Histogram{Sum: math.Float64frombits(value.StaleNaN)}, nil
	}
	return p
}

func toV1(all []genSeries) *prompb.WriteRequest {
	r := &prompb.WriteRequest{}
	for _, s := range all {
		ts := prompb.TimeSeries{}
		for _, l := range s.labels {
			ts.Labels = append(ts.Labels, prompb.Label{Name: l[0], Value: l[1]})
		}
		for _, p := range s.points {
			switch {
			case p.fh != nil:
				ts.Histograms = append(ts.Histograms, prompb.FromFloatHistogram(p.t, p.fh))
			case p.h != nil:
				ts.Histograms = append(ts.Histograms, prompb.FromIntHistogram(p.t, p.h))
			default:
				ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: p.t, Value: p.v})
			}
		}
		for _, e := range s.exemplars {
			ts.Exemplars = append(ts.Exemplars, prompb.Exemplar{Labels: []prompb.Label{{Name: e.name, Value: e.value}}, Value: e.v, Timestamp: e.t})
		}
		r.Timeseries = append(r.Timeseries, ts)
	}
	return r
}

// toV2 also breaks references now and then.
func (g *generator) toV2(all []genSeries) *writev2.Request {
	symbols := writev2.NewSymbolTable()
	r := &writev2.Request{}
	for _, s := range all {
		ts := writev2.TimeSeries{Metadata: writev2.Metadata{
			Type:    writev2.Metadata_MetricType(g.rng.IntN(9)),
			HelpRef: symbols.Symbolize("help"), UnitRef: symbols.Symbolize("seconds"),
		}}
		for _, l := range s.labels {
			ts.LabelsRefs = append(ts.LabelsRefs, symbols.Symbolize(l[0]), symbols.Symbolize(l[1]))
		}
		for _, p := range s.points {
			switch {
			case p.fh != nil:
				ts.Histograms = append(ts.Histograms, writev2.FromFloatHistogram(p.st, p.t, p.fh))
			case p.h != nil:
				ts.Histograms = append(ts.Histograms, writev2.FromIntHistogram(p.st, p.t, p.h))
			default:
				ts.Samples = append(ts.Samples, writev2.Sample{StartTimestamp: p.st, Timestamp: p.t, Value: p.v})
			}
		}
		if len(s.points) == 0 {
			s.exemplars = nil // a difference, tested apart
		}
		for _, e := range s.exemplars {
			ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{LabelsRefs: []uint32{symbols.Symbolize(e.name), symbols.Symbolize(e.value)}, Value: e.v, Timestamp: e.t})
		}
		switch g.rng.IntN(60) {
		case 0:
			ts.LabelsRefs = append(ts.LabelsRefs, 1)
		case 1:
			ts.LabelsRefs = append(ts.LabelsRefs, 1, 10_000)
		case 2:
			ts.Metadata.UnitRef = 10_000
		case 3:
			if len(s.points) == 0 {
				break
			}
			ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{LabelsRefs: []uint32{1}, Timestamp: g.now})
		}
		r.Timeseries = append(r.Timeseries, ts)
	}
	r.Symbols = symbols.Symbols()
	return r
}
