package island

import (
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// runsOf reaches a member that is to probe what somebody asks for.
func (i *Island) runsOf(vantage string) (probepb.RunsClient, error) {
	conn, err := i.vantageConn(vantage, rpc.Normal)
	if err != nil {
		return nil, err
	}
	return probepb.NewRunsClient(conn), nil
}

// auditProbe writes down who has what probed. An island without a network has no
// audit log, and says it in its own.
func (i *Island) auditProbe(actor, action, subject, detail string) error {
	i.room("probe").Info("somebody has a target probed", "actor", actor, "action", action, "target", subject, "detail", detail)
	m := i.membership.Load()
	if m == nil {
		return nil
	}
	_, err := m.audit.Append(trust.AuditEntry{Actor: actor, Action: action, Subject: subject, Detail: detail[:min(len(detail), mostDetail)]})
	if err != nil {
		return fmt.Errorf("nothing is probed because the audit log cannot be written: %w", err)
	}
	return nil
}

// runs serves other islands that want something probed from here.
type runs struct {
	probepb.UnimplementedRunsServer
	m *membership
}

// Run probes once.
func (r runs) Run(request *probepb.RunRequest, stream grpc.ServerStreamingServer[probepb.RunReply]) error {
	caller, ok := rpc.CallerFrom(stream.Context())
	if !ok || caller.Name == "" {
		return grpcstatus.Error(codes.PermissionDenied, "probe for others: only members may ask")
	}
	return r.m.island.getRooms().probe.RunFor(caller.Name, request, stream)
}

// Bounds of one call: a probe may take as long as the longest module's, and its
// answer holds at most a trace and a few hundred samples.
const (
	runTimeout       = 75 * time.Second
	runRequestBytes  = 8 << 10
	runResponseBytes = 256 << 10
	runsPerSecond    = 50 // before the body is read; the room counts callers
	runsBurst        = 200
)

func (m *membership) serveRuns(node *mesh.Mesh) error {
	return node.RegisterService(&probepb.Runs_ServiceDesc, runs{m: m}, map[string]rpc.Rule{
		// Standing, since a trace takes half a minute: it must not hold up those who
		// share the slots of a class.
		probepb.Runs_Run_FullMethodName: {
			Action: policy.Probe, Class: rpc.Normal, Standing: true, Timeout: runTimeout, MaxTimeout: runTimeout,
			MaxRequestBytes: runRequestBytes, MaxResponseBytes: runResponseBytes, RatePerSecond: runsPerSecond, Burst: runsBurst,
		},
	})
}
