package storeapi

import (
	"context"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/thanospb"
)

// taker is the caller's end of an answer.
type taker struct {
	grpc.ServerStream
	ctx   context.Context
	names [][]*thanospb.Label
}

func (s *taker) Context() context.Context { return s.ctx }

func (s *taker) Send(r *thanospb.SeriesResponse) error {
	for _, one := range append(slices.Clone(r.GetBatch().GetSeries()), r.GetSeries()) {
		if one != nil {
			s.names = append(s.names, one.Labels)
		}
	}
	return nil
}

// FuzzRequests: what a client sends as a request is answered, or refused with a
// status; series come in order, and no more than were asked for.
func FuzzRequests(f *testing.F) {
	server := &Server{o: Options{Store: newDB(f)}, m: newMetrics(prometheus.NewPedanticRegistry())}
	c := Default()
	c.MaxSeries = 1000
	server.cur.Store(&settings{c, external})
	for _, m := range []proto.Message{
		&thanospb.SeriesRequest{
			MinTime: base, MaxTime: base + 1e6, Limit: 2, ResponseBatchSize: 3, WithoutReplicaLabels: []string{"replica"},
			Matchers: []*thanospb.LabelMatcher{{Type: thanospb.LabelMatcher_RE, Name: "__name__", Value: "m|n"}},
		},
		&thanospb.SeriesRequest{MinTime: base, MaxTime: base, Matchers: []*thanospb.LabelMatcher{{Type: 9, Name: "a", Value: "("}}},
		&thanospb.LabelNamesRequest{Start: base, End: base + 1e6, Limit: 1},
		&thanospb.LabelValuesRequest{Label: "a", Start: base, End: base + 1e6},
	} {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		proper := func(err error) {
			if _, ok := status.FromError(err); err != nil && !ok {
				t.Errorf("%v is no status", err)
			}
		}
		var series thanospb.SeriesRequest
		if proto.Unmarshal(raw, &series) == nil {
			s := &taker{ctx: t.Context()}
			proper(server.Series(&series, s))
			if n := int64(len(s.names)); series.GetLimit() > 0 && n > series.GetLimit() {
				t.Errorf("%d series, %d were asked for", n, series.GetLimit())
			}
			if !slices.IsSortedFunc(s.names, func(a, b []*thanospb.Label) int { return labels.Compare(plain(a), plain(b)) }) {
				t.Errorf("not in order: %v", s.names)
			}
		}
		var names thanospb.LabelNamesRequest
		if proto.Unmarshal(raw, &names) == nil {
			_, err := server.LabelNames(t.Context(), &names)
			proper(err)
		}
		var values thanospb.LabelValuesRequest
		if proto.Unmarshal(raw, &values) == nil {
			_, err := server.LabelValues(t.Context(), &values)
			proper(err)
		}
	})
}

func plain(in []*thanospb.Label) labels.Labels {
	b := labels.NewScratchBuilder(len(in))
	for _, l := range in {
		b.Add(l.Name, l.Value)
	}
	return b.Labels()
}
