package asset

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/wire/assetpb"
)

// Server answers other islands out of this one's inventory.
func (v *Inventory) Server() assetpb.AssetsServer { return server{v: v} }

type server struct {
	assetpb.UnimplementedAssetsServer
	v *Inventory
}

// Search implements assetpb.AssetsServer.
func (s server) Search(_ context.Context, r *assetpb.SearchRequest) (*assetpb.SearchResponse, error) {
	q, err := Parse(r.GetText())
	if err != nil {
		return nil, grpcstatus.Error(codes.InvalidArgument, "search: "+err.Error())
	}
	var only []Kind
	for _, name := range r.GetKinds() {
		if k, ok := KindOf(name); ok {
			only = append(only, k)
		}
	}
	if len(r.GetKinds()) > 0 && len(only) == 0 {
		return &assetpb.SearchResponse{}, nil // kinds of a later version
	}
	limit := int(min(r.GetLimit(), MaxLimit))
	if limit == 0 {
		limit = DefaultLimit
	}
	a := s.v.Search(q.Only(only...), limit)
	out := &assetpb.SearchResponse{Counts: map[string]uint32{}}
	for kind, n := range a.Counts {
		out.Counts[kind] = uint32(n)
	}
	for i := range a.Items {
		out.Resources = append(out.Resources, a.Items[i].message())
	}
	return out, nil
}

func (f *Found) message() *assetpb.Resource {
	id, _ := parseID(f.ID) // it was made here
	m := &assetpb.Resource{Kind: f.Kind, Id: id, Name: f.Name, State: f.State, Summary: f.Summary, Ref: f.ref, Score: uint32(f.score)}
	for name, value := range f.Labels {
		m.Labels = append(m.Labels, name, value)
	}
	for _, one := range f.Match {
		m.Match = append(m.Match, one.Field, one.Text)
	}
	return m
}

// Ask asks another island.
func Ask(ctx context.Context, conn grpc.ClientConnInterface, r Request) (Answer, error) {
	m := &assetpb.SearchRequest{Text: r.Text, Limit: uint32(r.Limit)}
	for _, k := range r.Kinds {
		m.Kinds = append(m.Kinds, k.String())
	}
	got, err := assetpb.NewAssetsClient(conn).Search(ctx, m)
	if err != nil {
		return Answer{}, err
	}
	return readAnswer(got, r.Limit)
}

// readAnswer trusts nothing in what another island says, but that it has found it.
func readAnswer(m *assetpb.SearchResponse, limit int) (Answer, error) {
	a := Answer{Counts: map[string]int{}}
	if len(m.GetResources()) > limit {
		return a, fmt.Errorf("read what was found: %d resources, asked for at most %d", len(m.GetResources()), limit)
	}
	for name, n := range m.GetCounts() {
		if _, known := KindOf(name); known {
			a.Counts[name] = int(n)
		}
	}
	for _, r := range m.GetResources() {
		if kind, known := KindOf(r.GetKind()); known { // others are of a later version
			a.Items = append(a.Items, readFound(kind, r))
		}
	}
	return a, nil
}

// mostMatches is how many fields are shown with what another island found.
const mostMatches = maxWords

func readFound(kind Kind, r *assetpb.Resource) Found {
	f := Found{
		Kind: kind.String(), ID: formatID(r.GetId()), Name: clean(r.GetName()), State: clean(r.GetState()), Summary: clean(r.GetSummary()),
		Labels: map[string]string{}, ref: clean(r.GetRef()), score: int(min(r.GetScore(), maxScore)),
	}
	for pair := range pairs(r.GetLabels(), MaxShown) {
		f.Labels[pair[0]] = pair[1]
	}
	for pair := range pairs(r.GetMatch(), mostMatches) {
		f.Match = append(f.Match, Match{Field: pair[0], Text: pair[1]})
	}
	f.Href = href(kind, f.Name, f.ref, func(name string) string { return f.Labels[name] })
	return f
}

// maxScore is beyond what any search reaches: each word at its best, and the kind.
const maxScore = 1 << 14

func pairs(all []string, most int) func(func([2]string) bool) {
	return func(yield func([2]string) bool) {
		for i := 0; i+1 < len(all) && i/2 < most; i += 2 {
			if !yield([2]string{clean(all[i]), clean(all[i+1])}) {
				return
			}
		}
	}
}
