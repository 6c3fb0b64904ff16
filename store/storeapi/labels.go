package storeapi

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/wire/thanospb"
)

// maxMatchers bounds what one question may hold.
const maxMatchers = 1000

// asked is a question as the store understands it.
type asked struct {
	cfg      Config
	external labels.Labels // attached to each series
	without  []string
	matchers []*labels.Matcher
}

// ask takes the external labels out of the matchers, as the store's series have
// none of them; nil if they rule this island out.
func (s *Server) ask(matchers []*thanospb.LabelMatcher, without []string) (*asked, error) {
	now := s.cur.Load()
	if len(matchers) > maxMatchers || len(without) > maxMatchers {
		return nil, status.Errorf(codes.InvalidArgument, "%d matchers and %d labels are left out, at most %d", len(matchers), len(without), maxMatchers)
	}
	a := &asked{cfg: now.cfg, without: without}
	for _, m := range matchers {
		one, err := matcher(m)
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		value := now.labels.Get(one.Name)
		switch {
		case value == "":
			a.matchers = append(a.matchers, one)
		case !one.Matches(value):
			return nil, nil
		}
	}
	b := labels.NewBuilder(now.labels)
	b.Del(without...)
	a.external = b.Labels()
	if len(a.matchers) == 0 { // all of this island
		a.matchers = []*labels.Matcher{labels.MustNewMatcher(labels.MatchNotEqual, labels.MetricName, "")}
	}
	return a, nil
}

func matcher(m *thanospb.LabelMatcher) (*labels.Matcher, error) {
	types := map[thanospb.LabelMatcher_Type]labels.MatchType{
		thanospb.LabelMatcher_EQ: labels.MatchEqual, thanospb.LabelMatcher_NEQ: labels.MatchNotEqual,
		thanospb.LabelMatcher_RE: labels.MatchRegexp, thanospb.LabelMatcher_NRE: labels.MatchNotRegexp,
	}
	t, ok := types[m.GetType()]
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "matcher of type %d is not known", m.GetType())
	}
	return labels.NewMatcher(t, m.GetName(), m.GetValue())
}

// labels are a series' with the external ones, which win, and without those that
// are to be left out.
func (a *asked) labels(of labels.Labels) (labels.Labels, []*thanospb.Label) {
	b := labels.NewBuilder(of)
	b.Del(a.without...)
	a.external.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
	all := b.Labels()
	out := make([]*thanospb.Label, 0, all.Len())
	all.Range(func(l labels.Label) {
		// Cloned, for the store's may lie in a file that is unmapped after the query.
		out = append(out, &thanospb.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)})
	})
	return all, out
}

// LabelNames implements thanos.Store.
func (s *Server) LabelNames(ctx context.Context, r *thanospb.LabelNamesRequest) (*thanospb.LabelNamesResponse, error) {
	a, err := s.ask(r.GetMatchers(), r.GetWithoutReplicaLabels())
	if err != nil || a == nil {
		return &thanospb.LabelNamesResponse{}, err
	}
	q, err := s.o.Store.ChunkQuerier(r.GetStart(), r.GetEnd())
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	defer q.Close()
	names, warnings, err := q.LabelNames(ctx, &storage.LabelHints{}, a.matchers...)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	out := &thanospb.LabelNamesResponse{}
	for _, w := range warnings {
		out.Warnings = append(out.Warnings, w.Error())
	}
	if len(out.Warnings) > 0 && strict(r) {
		return nil, status.Error(codes.Aborted, strings.Join(out.Warnings, "; "))
	}
	if len(names) == 0 {
		return out, nil
	}
	for _, n := range names {
		if !slices.Contains(a.without, n) {
			out.Names = append(out.Names, strings.Clone(n))
		}
	}
	a.external.Range(func(l labels.Label) { out.Names = append(out.Names, l.Name) })
	out.Names = limited(out.Names, r.GetLimit())
	return out, nil
}

// LabelValues implements thanos.Store.
func (s *Server) LabelValues(ctx context.Context, r *thanospb.LabelValuesRequest) (*thanospb.LabelValuesResponse, error) {
	if r.GetLabel() == "" {
		return nil, status.Error(codes.InvalidArgument, "the label has no name")
	}
	a, err := s.ask(r.GetMatchers(), r.GetWithoutReplicaLabels())
	if err != nil || a == nil || slices.Contains(r.GetWithoutReplicaLabels(), r.GetLabel()) {
		return &thanospb.LabelValuesResponse{}, err
	}
	q, err := s.o.Store.ChunkQuerier(r.GetStart(), r.GetEnd())
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	defer q.Close()
	label := r.GetLabel()
	own := a.external.Get(label)
	if own != "" { // it has a value where there is a series at all
		label = labels.MetricName
	}
	values, warnings, err := q.LabelValues(ctx, label, &storage.LabelHints{}, a.matchers...)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	out := &thanospb.LabelValuesResponse{}
	for _, w := range warnings {
		out.Warnings = append(out.Warnings, w.Error())
	}
	if len(out.Warnings) > 0 && strict(r) {
		return nil, status.Error(codes.Aborted, strings.Join(out.Warnings, "; "))
	}
	switch {
	case own != "" && len(values) > 0:
		out.Values = []string{own}
	case own == "":
		for _, v := range values {
			out.Values = append(out.Values, strings.Clone(v))
		}
	}
	out.Values = limited(out.Values, r.GetLimit())
	return out, nil
}

func limited(all []string, limit int64) []string {
	slices.Sort(all)
	all = slices.Compact(all)
	if limit > 0 && int64(len(all)) > limit {
		all = all[:limit]
	}
	return all
}

// Info implements thanos.info.Info. Thanos takes the island for a sidecar: what it
// has is new, and the rest is in the bucket.
func (s *Server) Info(context.Context, *thanospb.InfoRequest) (*thanospb.InfoResponse, error) {
	set := &thanospb.LabelSet{}
	s.cur.Load().labels.Range(func(l labels.Label) {
		set.Labels = append(set.Labels, &thanospb.Label{Name: l.Name, Value: l.Value})
	})
	oldest, _ := s.o.Store.Span()
	return &thanospb.InfoResponse{
		LabelSets: []*thanospb.LabelSet{set}, ComponentType: "sidecar",
		Store: &thanospb.StoreInfo{
			MinTime: oldest, MaxTime: math.MaxInt64, SupportsWithoutReplicaLabels: true,
			TsdbInfos: []*thanospb.TSDBInfo{{Labels: set, MinTime: oldest, MaxTime: math.MaxInt64}},
		},
	}, nil
}
