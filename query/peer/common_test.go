package peer

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/wire"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

func talked(version uint32) func() uint32 { return func() uint32 { return version } }

func sameMatchers() cmp.Option {
	return cmp.Comparer(func(a, b *labels.Matcher) bool { return a.String() == b.String() })
}

func sameSeries() cmp.Option {
	return cmp.Comparer(func(a, b promql.Series) bool {
		return labels.Equal(a.Metric, b.Metric) && cmp.Equal(a.Floats, b.Floats) && cmp.Equal(a.Histograms, b.Histograms)
	})
}

// TestCommon asks islands of this protocol and of older ones: questions and answers are
// the same in one part and in two, however large what they have in common is.
func TestCommon(t *testing.T) {
	many := make([]promql.Series, 300)
	for i := range many {
		many[i] = promql.Series{Metric: labels.FromStrings("pod", fmt.Sprintf("%016x", uint64(i+1)*0x9e3779b97f4a7c15)), Floats: []promql.FPoint{{T: 3000, F: float64(i)}}}
	}
	one := []promql.Series{{Metric: labels.FromStrings("job", "shop"), Floats: []promql.FPoint{{T: 3000, F: 1.5}, {T: 4000, F: 2}}}}
	nameless := []promql.Series{{Floats: []promql.FPoint{{T: 4000, F: 2}}}}
	short := global.Leaf{Expr: "sum(x)", Start: 1000, End: 4000, Step: 1000, KnownUntil: 2000, Epoch: 7}
	long := global.Leaf{Expr: "sum(" + strings.Repeat("x", mostCommon) + ")", Start: 1000, End: 4000, Step: 1000}
	for _, tc := range []struct {
		name    string
		version uint32
		leaves  []global.Leaf
		rows    [][]promql.Series
	}{
		{"no protocol is known", 0, []global.Leaf{short}, [][]promql.Series{one}},
		{"an older one", wire.Remembered - 1, []global.Leaf{short}, [][]promql.Series{one}},
		{"this one", wire.Version, []global.Leaf{short}, [][]promql.Series{one}},
		{"no rows", wire.Version, []global.Leaf{short}, [][]promql.Series{nil}},
		{"rows without labels", wire.Version, []global.Leaf{short}, [][]promql.Series{nameless}},
		{"many labels", wire.Version, []global.Leaf{short}, [][]promql.Series{many}},
		{"some of them too many", wire.Version, []global.Leaf{short, short, short}, [][]promql.Series{one, many, one}},
		{"a long question", wire.Version, []global.Leaf{short, long}, [][]promql.Series{one, one}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &global.Request{
				Leaves: tc.leaves, Raw: []global.Raw{{Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "a", "b.*")}, MinTime: 5, MaxTime: 6}},
				Options: global.EngineOptions{Lookback: 300_000, DelayedNames: true}, Limits: global.Limits{Series: 1000, Samples: 2000, Bytes: 3000}, History: true,
			}
			var heard *global.Request
			var inParts bool
			want := &global.Answer{Oldest: 1, Newest: 2, Epoch: 3, Settled: 4, Promise: &global.Promise{Number: 5}}
			for i, rows := range tc.rows {
				want.Leaves = append(want.Leaves, global.LeafAnswer{Rows: rows, Read: int64(i), Tail: i == 0})
			}
			want.Raw = []global.RawAnswer{{}}
			client := answering(t, func(ctx context.Context, r *global.Request) (*global.Answer, error) {
				md, _ := metadata.FromIncomingContext(ctx)
				heard, inParts = r, len(md.Get(questionKey)) > 0
				return want, nil
			}).Noting("far").Speaking(talked(tc.version))
			for round := range 2 { // the second time it needs not be told
				got, err := client.Answer(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				if want := tc.version >= wire.Remembered && tc.name != "a long question"; inParts != want {
					t.Errorf("asked in parts: %v, want %v", inParts, want)
				}
				sent := *r
				sent.Tell = round == 0
				if d := cmp.Diff(&sent, heard, sameMatchers()); d != "" {
					t.Errorf("asked (-sent +heard):\n%s", d)
				}
				said := *want
				said.Promise, got.Stats = nil, global.Stats{}
				if d := cmp.Diff(&said, got, cmp.Comparer(labels.Equal), sameSeries()); d != "" {
					t.Errorf("answered (-said +got):\n%s", d)
				}
			}
			if n := client.codec.promises.number("far"); n != 5 {
				t.Errorf("promise %d was noted, want 5", n)
			}
		})
	}
}

// TestUncommon refuses parts that do not fit together.
func TestUncommon(t *testing.T) {
	pack := func(m proto.Message) string {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	question := &querypb.AnswerRequest{Leaves: []*querypb.Leaf{{Start: 1}}}
	for _, bad := range []string{"\xff", "", pack(&querypb.AnswerRequest{Leaves: []*querypb.Leaf{{}, {}}}), pack(&querypb.AnswerRequest{Leaves: []*querypb.Leaf{{}}, Raw: []*querypb.Selector{{}}})} {
		if m, _, err := putCommon(metadata.Pairs(questionKey, bad), question); err == nil {
			t.Errorf("%q was taken for a part of a question: %v", bad, m)
		}
	}
	m, came, err := putCommon(metadata.MD{}, question)
	if came || err != nil || !proto.Equal(m, question) {
		t.Errorf("without a header the question is %v, %v, %v", m, came, err)
	}
	answer := pack(&querypb.Answer{Leaves: []*querypb.LeafAnswer{{}}})
	for _, bad := range []string{"\xff", pack(&querypb.Answer{Oldest: 1}), pack(&querypb.Answer{Leaves: []*querypb.LeafAnswer{{}, {}}})} {
		if m, err := (said{[]byte(answer), bad}).read(); err == nil {
			t.Errorf("%q was taken for a part of an answer: %v", bad, m)
		}
	}
	if m, err := (said{data: []byte(answer)}).read(); err != nil || cmp.Diff(m, &querypb.Answer{Leaves: []*querypb.LeafAnswer{{}}}, protocmp.Transform()) != "" {
		t.Errorf("without a trailer the answer is %v, %v", m, err)
	}
}

// FuzzQuestion reads what another island may ask: no bytes make it panic, and what it
// takes has no more parts than there may be.
func FuzzQuestion(f *testing.F) {
	m := requestMessage(&global.Request{
		Leaves: []global.Leaf{{Expr: "x", Start: 1, End: 4000, Step: 1000}}, Options: global.EngineOptions{Lookback: 1},
		Raw: []global.Raw{{Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "a", "b.*")}, MinTime: 5, MaxTime: 6}},
	})
	common, rest, err := takeCommon(m)
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range []*querypb.AnswerRequest{m, rest} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, common, true)
		f.Add(data, common[:len(common)/2], true)
		f.Add(data, "", false)
	}
	f.Fuzz(func(t *testing.T, data []byte, common string, header bool) {
		m, md := &querypb.AnswerRequest{}, metadata.MD{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		if header {
			md = metadata.Pairs(questionKey, common)
		}
		m, _, err := putCommon(md, m)
		if err != nil {
			return
		}
		if r, err := request(m); err == nil && (len(r.Leaves)+len(r.Raw) > mostParts || r.Options.Lookback < 1) {
			t.Errorf("%d leaves, %d selections, options %v", len(r.Leaves), len(r.Raw), r.Options)
		}
	})
}
