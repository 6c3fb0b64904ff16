package island

import (
	"context"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// evidenceOf reaches a member that gathers or keeps evidence.
func (i *Island) evidenceOf(vantage string, bulk bool) (probepb.EvidenceClient, error) {
	class := rpc.Normal
	if bulk {
		class = rpc.Bulk
	}
	conn, err := i.vantageConn(vantage, class)
	if err != nil {
		return nil, err
	}
	return probepb.NewEvidenceClient(conn), nil
}

// Bounds of calls about evidence. Gathering is answered at once; who turns a whole
// network's targets asks for many together.
const (
	gatherTimeout       = 10 * time.Second
	gatherRequestBytes  = 16 << 10
	gathersPerSecond    = 5
	gathersBurst        = 50
	findsPerSecond      = 10
	findsBurst          = 50
	findResponseBytes   = 5 << 20
	fetchTimeout        = 2 * time.Minute
	fetchesPerSecond    = 5
	fetchesBurst        = 20
	fetchResponseBytes  = 128 << 10 // of one part
	evidenceRequestSize = 8 << 10
)

func (m *membership) serveEvidence(node *mesh.Mesh) error {
	server := m.island.getRooms().probe.EvidenceServer(func(ctx context.Context) string {
		caller, _ := rpc.CallerFrom(ctx)
		return caller.Name
	})
	return node.RegisterService(&probepb.Evidence_ServiceDesc, server, map[string]rpc.Rule{
		probepb.Evidence_Gather_FullMethodName: {
			Action: policy.Probe, Class: rpc.Normal, Timeout: gatherTimeout, MaxTimeout: gatherTimeout,
			MaxRequestBytes: gatherRequestBytes, RatePerSecond: gathersPerSecond, Burst: gathersBurst,
		},
		probepb.Evidence_Find_FullMethodName: {
			Action: policy.Read, Class: rpc.Normal, Idempotent: true,
			MaxRequestBytes: evidenceRequestSize, MaxResponseBytes: findResponseBytes, RatePerSecond: findsPerSecond, Burst: findsBurst,
		},
		probepb.Evidence_Fetch_FullMethodName: {
			Action: policy.Read, Class: rpc.Bulk, Timeout: fetchTimeout, MaxTimeout: fetchTimeout,
			MaxRequestBytes: evidenceRequestSize, MaxResponseBytes: fetchResponseBytes, RatePerSecond: fetchesPerSecond, Burst: fetchesBurst,
		},
	})
}
