package peer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type answererFunc func(context.Context, *global.Request) (*global.Answer, error)

// catalog is an answerer with a catalog of its own.
type catalog struct {
	answererFunc
	asked []any
}

func (f answererFunc) answer(ctx context.Context, r *global.Request) (*global.Answer, error) {
	return f(ctx, r)
}

func (c *catalog) Answer(ctx context.Context, r *global.Request) (*global.Answer, error) {
	return c.answer(ctx, r)
}

func (c *catalog) Labels(_ context.Context, r *global.LabelsRequest) ([]string, []global.Note, error) {
	c.asked = append(c.asked, r)
	return []string{"a", "b"}, []global.Note{{Text: "careful"}}, nil
}

func (c *catalog) Series(_ context.Context, r *global.SeriesRequest) (all []labels.Labels, said []global.Note, err error) {
	c.asked = append(c.asked, r)
	for i := range 2*partSeries + 1 {
		all = append(all, labels.FromStrings("i", fmt.Sprintf("%04d", i)))
	}
	return all, []global.Note{{Text: "careful"}}, nil
}

func (c *catalog) Exemplars(_ context.Context, r *global.ExemplarsRequest) ([]exemplar.QueryResult, error) {
	c.asked = append(c.asked, r)
	return listedExemplars, nil
}

var listedExemplars = []exemplar.QueryResult{{
	SeriesLabels: labels.FromStrings("a", "1"),
	Exemplars:    []exemplar.Exemplar{{Labels: labels.FromStrings("trace", "x"), Value: 2, Ts: 3, HasTs: true}},
}}

// dial serves s and returns an island that asks it.
func dial(t *testing.T, s querypb.QueryServer) *Client {
	t.Helper()
	c, err := NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	l := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	querypb.RegisterQueryServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///island", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c.Client(global.Facts{Name: "far"}, func() (grpc.ClientConnInterface, error) { return conn, nil })
}

func answering(t *testing.T, f answererFunc) *Client {
	t.Helper()
	c, err := NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	return dial(t, c.Server(&catalog{answererFunc: f}))
}

func chunk(t *testing.T, points ...promql.FPoint) global.Chunk {
	t.Helper()
	x := chunkenc.NewXORChunk()
	app, err := x.Appender()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		app.Append(0, p.T, p.F)
	}
	return global.Chunk{MinTime: points[0].T, MaxTime: points[len(points)-1].T, Encoding: chunkenc.EncXOR, Data: x.Bytes()}
}

// TestQuestionAndAnswer: what goes in on one side comes out on the other.
func TestQuestionAndAnswer(t *testing.T) {
	asked := &global.Request{
		Leaves: []global.Leaf{{Expr: "sum(up)", Start: 1000, End: 3000, Step: 1000, KnownUntil: 1000, Epoch: 1 << 63}, {Expr: "up", Start: -5, End: -5, Step: 1}},
		Raw: []global.Raw{{MinTime: -10, MaxTime: 7000, Matchers: []*labels.Matcher{
			labels.MustNewMatcher(labels.MatchEqual, "a", "1"), labels.MustNewMatcher(labels.MatchNotEqual, "b", ""),
			labels.MustNewMatcher(labels.MatchRegexp, "c", "x|y"), labels.MustNewMatcher(labels.MatchNotRegexp, "d", ".+"),
		}}},
		Options: global.EngineOptions{Lookback: 300_000, DelayedNames: true, StartTimestamps: true},
		Limits:  global.Limits{Series: 10, Samples: 100, Bytes: 1000},
		History: true,
	}
	h := &histogram.FloatHistogram{Schema: 1, Count: 3, Sum: 4, ZeroThreshold: 0.1, PositiveSpans: []histogram.Span{{Offset: 1, Length: 2}}, PositiveBuckets: []float64{1, 2}}
	said := &global.Answer{
		Leaves: []global.LeafAnswer{
			{Rows: []promql.Series{{Floats: []promql.FPoint{{T: 2000, F: 1.5}, {T: 3000, F: math.Inf(1)}}}}, Tail: true, Read: 7, Mixed: true, Notes: []global.Note{{Text: "mixed"}, {Text: "hm", Info: true}}},
			{Rows: []promql.Series{{Metric: labels.FromStrings("island", "far"), Histograms: []promql.HPoint{{T: -5, H: h}}}}},
		},
		Raw: []global.RawAnswer{{Series: []global.RawSeries{{
			Labels: labels.FromStrings("__name__", "x", "island", "far"), Chunks: []global.Chunk{chunk(t, promql.FPoint{T: 1, F: 2}, promql.FPoint{T: 5, F: 3})},
		}}}},
		Oldest: -10, Newest: 99, Epoch: 1 << 63, Settled: 98,
	}
	var got *global.Request
	c := answering(t, func(_ context.Context, r *global.Request) (*global.Answer, error) {
		got = r
		return said, nil
	})
	answer, err := c.Answer(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(asked, got, sameMatchers()); d != "" {
		t.Errorf("question (-asked +got):\n%s", d)
	}
	if answer.Stats.Bytes == 0 || answer.Stats.Series != 3 || answer.Stats.Samples != 5 {
		t.Errorf("stats %+v", answer.Stats)
	}
	answer.Stats = global.Stats{}
	if d := cmp.Diff(said, answer, cmp.Comparer(labels.Equal), sameSeries()); d != "" {
		t.Errorf("answer (-said +got):\n%s", d)
	}
}

// TestLargeAnswer needs many parts.
func TestLargeAnswer(t *testing.T) {
	asked := &global.Request{Leaves: []global.Leaf{{Expr: "x", Start: 0, End: 199_000, Step: 1000}}, Options: global.EngineOptions{Lookback: 1}}
	said := &global.Answer{Leaves: make([]global.LeafAnswer, 1)}
	for i := range 2000 {
		s := promql.Series{Metric: labels.FromStrings("i", strings.Repeat("x", 1+i%7)+string(rune('a'+i%26)), "n", strings.Repeat("y", 1+i/7))}
		for k := range int64(200) {
			s.Floats = append(s.Floats, promql.FPoint{T: k * 1000, F: math.Sin(float64(i) * float64(k+1))})
		}
		said.Leaves[0].Rows = append(said.Leaves[0].Rows, s)
	}
	c := answering(t, func(context.Context, *global.Request) (*global.Answer, error) { return said, nil })
	answer, err := c.Answer(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Leaves[0].Rows) != 2000 || answer.Stats.Bytes < 4*partBytes {
		t.Errorf("%d rows, %d bytes", len(answer.Leaves[0].Rows), answer.Stats.Bytes)
	}
}

func TestFaultsKeepTheirKind(t *testing.T) {
	for kind := range faultKinds {
		c := answering(t, func(context.Context, *global.Request) (*global.Answer, error) {
			return nil, &global.Fault{Kind: kind, Text: "because"}
		})
		_, err := c.Answer(t.Context(), &global.Request{Options: global.EngineOptions{Lookback: 1}})
		var f *global.Fault
		if !errors.As(err, &f) || f.Kind != kind || f.Text != "because" {
			t.Errorf("kind %d came as %v", kind, err)
		}
	}
}

// hostile is a server that says what it likes.
type hostile struct {
	querypb.UnimplementedQueryServer
	parts func(send func(*querypb.AnswerPart) error) error
}

func (h hostile) Answer(_ *querypb.AnswerRequest, s grpc.ServerStreamingServer[querypb.AnswerPart]) error {
	return h.parts(s.Send)
}

func TestHostileAnswers(t *testing.T) {
	asked := &global.Request{
		Leaves:  []global.Leaf{{Expr: "x", Start: 0, End: 0, Step: 1}},
		Options: global.EngineOptions{Lookback: 1}, Limits: global.Limits{Series: 1, Samples: 1, Bytes: 1},
	}
	for name, test := range map[string]struct {
		parts func(func(*querypb.AnswerPart) error) error
		want  string
	}{
		"endless": {func(send func(*querypb.AnswerPart) error) error {
			for {
				if err := send(&querypb.AnswerPart{Data: make([]byte, partBytes)}); err != nil {
					return err
				}
			}
		}, "more than"},
		"garbage": {func(send func(*querypb.AnswerPart) error) error {
			return send(&querypb.AnswerPart{Data: []byte("garbage")})
		}, "read the answer"},
		"nothing": {func(func(*querypb.AnswerPart) error) error { return nil }, "0 leaves"},
	} {
		c := dial(t, hostile{parts: test.parts})
		if _, err := c.Answer(t.Context(), asked); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBombs: what is small on the wire and large in memory is not taken apart
// beyond the question's memory, nor is more taken in.
func TestBombs(t *testing.T) {
	asked := &global.Request{Leaves: []global.Leaf{{Expr: "x", Start: 0, End: 999_000, Step: 1000}}, Options: global.EngineOptions{Lookback: 1}}
	said := &global.Answer{Leaves: make([]global.LeafAnswer, 1)}
	for i := range 1000 { // a million equal points
		s := promql.Series{Metric: labels.FromStrings("n", fmt.Sprint(i))}
		for k := range int64(1000) {
			s.Floats = append(s.Floats, promql.FPoint{T: k * 1000, F: math.NaN()})
		}
		said.Leaves[0].Rows = append(said.Leaves[0].Rows, s)
	}
	c := answering(t, func(context.Context, *global.Request) (*global.Answer, error) { return said, nil })
	for bytes, fits := range map[int64]bool{0: true, 20 << 20: true, 15 << 20: false, 1 << 20: false, 1000: false} {
		if asked.Share = nil; bytes > 0 {
			asked.Share = global.NewShare(bytes)
		}
		a, err := c.Answer(t.Context(), asked)
		var f *global.Fault
		switch {
		case fits && (err != nil || len(a.Leaves[0].Rows) != 1000 || a.Stats.Bytes > 100_000):
			t.Errorf("%d bytes: %v", bytes, err)
		case !fits && (!errors.As(err, &f) || f.Kind != global.FaultLimit):
			t.Errorf("%d bytes: %v", bytes, err)
		}
	}
}

func TestMalformedQuestions(t *testing.T) {
	options := &querypb.EngineOptions{Lookback: 1}
	for name, m := range map[string]*querypb.AnswerRequest{
		"no lookback":   {},
		"negative":      {Options: options, Limits: &querypb.Limits{Samples: -1}},
		"many leaves":   {Options: options, Leaves: make([]*querypb.Leaf, mostParts+1)},
		"many matchers": {Options: options, Raw: []*querypb.Selector{{Matchers: make([]*querypb.Matcher, mostMatchers+1)}}},
		"bad regexp":    {Options: options, Raw: []*querypb.Selector{{Matchers: []*querypb.Matcher{{Type: querypb.Matcher_REGEXP, Name: "a", Value: "("}}}}},
		"bad type":      {Options: options, Raw: []*querypb.Selector{{Matchers: []*querypb.Matcher{{Type: 9, Name: "a"}}}}},
	} {
		if _, err := request(m); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestCatalog(t *testing.T) {
	codec, err := NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	far := &catalog{}
	c := dial(t, codec.Server(far))
	up := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", "up")}
	matcher := cmp.Comparer(func(a, b *labels.Matcher) bool { return a.String() == b.String() })

	names := &global.LabelsRequest{Name: "job", Matchers: up, MinTime: 1, MaxTime: 2, Limit: 3}
	values, said, err := c.Labels(t.Context(), names)
	if err != nil || !slices.Equal(values, []string{"a", "b"}) || len(said) != 1 {
		t.Errorf("labels: %v, %v, %v", values, said, err)
	}
	series := &global.SeriesRequest{Matchers: up, MinTime: 1, MaxTime: 2, Limit: 3}
	all, said, err := c.Series(t.Context(), series)
	if err != nil || len(all) != 2*partSeries+1 || all[partSeries].Get("i") != "1000" || len(said) != 1 {
		t.Errorf("series: %d, %v, %v", len(all), said, err)
	}
	exemplars := &global.ExemplarsRequest{Selectors: [][]*labels.Matcher{up, up}, MinTime: 1, MaxTime: 2}
	found, err := c.Exemplars(t.Context(), exemplars)
	if err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(listedExemplars, found, cmp.Comparer(labels.Equal)); d != "" {
		t.Errorf("exemplars (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]any{names, series, exemplars}, far.asked, matcher); d != "" {
		t.Errorf("questions (-asked +got):\n%s", d)
	}
}

func TestMalformedLabels(t *testing.T) {
	for name, list := range map[string][]*querypb.Label{
		"order": {{Name: "b", Value: "1"}, {Name: "a", Value: "1"}},
		"twice": {{Name: "a", Value: "1"}, {Name: "a", Value: "2"}},
		"empty": {{Name: "a"}},
		"many":  make([]*querypb.Label, mostLabels+1),
	} {
		if ls, err := labelSet(list); err == nil {
			t.Errorf("%s: %s", name, ls)
		}
	}
}

// FuzzAnswer reads what another island may send: no bytes make it panic, and what
// it takes has as many parts as were asked for.
func FuzzAnswer(f *testing.F) {
	codec, err := NewCodec()
	if err != nil {
		f.Fatal(err)
	}
	asked := &global.Request{
		Leaves: []global.Leaf{{Expr: "x", Start: 0, End: 4000, Step: 1000, KnownUntil: 2000, Epoch: 5}},
		Raw:    []global.Raw{{MinTime: 0, MaxTime: 10}},
	}
	x := chunkenc.NewXORChunk()
	app, err := x.Appender()
	if err != nil {
		f.Fatal(err)
	}
	app.Append(0, 5, 1)
	for _, tail := range []bool{false, true} {
		m, err := codec.message(&global.Answer{
			Leaves: []global.LeafAnswer{{Rows: []promql.Series{{Metric: labels.FromStrings("a", "b"), Floats: []promql.FPoint{{T: 3000, F: 1}}}}, Tail: tail}},
			Raw: []global.RawAnswer{{Series: []global.RawSeries{{
				Labels: labels.FromStrings("a", "b"), Chunks: []global.Chunk{{MinTime: 5, MaxTime: 5, Encoding: chunkenc.EncXOR, Data: x.Bytes()}},
			}}}},
			Epoch: 5, Settled: 9,
		}, asked, mostCommon)
		if err != nil {
			f.Fatal(err)
		}
		whole := proto.CloneOf(m)
		md, err := leaveCommon(m)
		if err != nil {
			f.Fatal(err)
		}
		for m, common := range map[*querypb.Answer]string{m: md.Get(answerKey)[0], whole: ""} {
			data, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, common)
			f.Add(data[:len(data)/2], common)
		}
	}
	f.Add([]byte{0x0a, 0x00, 0x12, 0x00}, "")
	f.Fuzz(func(t *testing.T, data []byte, common string) {
		m, err := said{data, common}.read()
		if err != nil {
			return
		}
		asked.Share = global.NewShare(1 << 20)
		if a, err := codec.answer(m, asked); err == nil && (len(a.Leaves) != 1 || len(a.Raw) != 1) {
			t.Errorf("%d leaves, %d selections", len(a.Leaves), len(a.Raw))
		}
	})
}
