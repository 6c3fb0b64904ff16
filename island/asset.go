package island

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/asset"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/wire/assetpb"
)

// buildAsset makes the room that finds things. It lists what the others know.
func (i *Island) buildAsset(r *rooms) (err error) {
	l := &listing{island: i, rooms: r}
	r.asset, err = asset.New(asset.Options{
		Island: i.ownName,
		Sources: []asset.Source{
			{Name: "targets", Every: 5 * time.Second, List: l.targets},
			{Name: "hosts", Every: 15 * time.Second, List: l.hosts},
			{Name: "containers", Every: 15 * time.Second, List: l.containers},
			{Name: "metrics", Every: 30 * time.Second, List: l.metrics},
			{Name: "rules", Every: 15 * time.Second, List: l.rules},
			{Name: "alerts", Every: 5 * time.Second, List: l.alerts},
			{Name: "probes", Every: 5 * time.Second, List: l.probes},
			{Name: "islands", Every: 5 * time.Second, List: l.islands},
			{Name: "documents", Every: 5 * time.Second, List: l.documents},
		},
		Others: i.searchable,
		Ask:    func(ctx context.Context, expr string) (promql.Vector, error) { return i.vector(ctx, r, expr) },
		Logger: i.room("asset"), Registerer: i.registry, Health: i.health,
	})
	return err
}

// searchable are the other members that know of something to find: those that hold
// samples.
func (i *Island) searchable() (others []asset.Other) {
	m := i.membership.Load()
	if m == nil {
		return nil
	}
	self := m.home.Node().Public()
	for _, member := range m.state.Load().Members() {
		if member.Key == self || !aggregates(member.Role) {
			continue
		}
		connect := m.asker(member.Key)
		others = append(others, asset.Other{Name: member.Name, Ask: func(ctx context.Context, r asset.Request) (asset.Answer, error) {
			conn, err := connect()
			if err != nil {
				return asset.Answer{}, err
			}
			return asset.Ask(ctx, conn, r)
		}})
	}
	return others
}

// Bounds of one call: somebody is typing.
const (
	searchTimeout       = time.Second
	searchRequestBytes  = 4 << 10
	searchResponseBytes = 4 << 20
	searchesPerSecond   = 50
	searchesBurst       = 200
)

func (m *membership) serveSearches(node *mesh.Mesh) error {
	return node.RegisterService(&assetpb.Assets_ServiceDesc, m.island.getRooms().asset.Server(), map[string]rpc.Rule{
		assetpb.Assets_Search_FullMethodName: {
			Action: policy.Read, Class: rpc.Urgent, Idempotent: true, Timeout: searchTimeout, MaxTimeout: searchTimeout,
			MaxRequestBytes: searchRequestBytes, MaxResponseBytes: searchResponseBytes, RatePerSecond: searchesPerSecond, Burst: searchesBurst,
		},
	})
}

// ownName is the one under which other islands know this one.
func (i *Island) ownName() string {
	if m := i.membership.Load(); m != nil {
		if self := m.self(); self != nil {
			return self.Name
		}
	}
	return i.Config().Island.Name
}

// vector evaluates expr over the island's own samples, as they are now.
func (i *Island) vector(ctx context.Context, r *rooms, expr string) (promql.Vector, error) {
	q, err := r.query.Engine().NewInstantQuery(ctx, r.store, nil, expr, time.Now())
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", expr, err)
	}
	defer q.Close()
	vec, err := q.Exec(ctx).Vector()
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", expr, err)
	}
	return slices.Clone(vec), nil // closing the query takes its memory back
}
