package island

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/alert"
	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/probe/council"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// suppliedRules alert on what is probed, unless that is off.
func suppliedRules(cfg *config.Config) []alert.Supplied {
	if !cfg.Probe.Rules || len(cfg.Probes.Local)+len(cfg.Probes.Shared) == 0 {
		return nil
	}
	return []alert.Supplied{{Name: probe.RulesName, Text: probe.Rules()}}
}

// annotate is what the rooms know of an alert beside what its rule says.
func (r *rooms) annotate(ls labels.Labels) map[string]string {
	return r.probe.Annotations(ls, strings.TrimSuffix(r.portal.URL().String(), "/"))
}

// votes is council.Mesh. What is judged of targets has samples, so those judge that
// hold any.
type votes struct{ island *Island }

// Judges implements council.Mesh.
func (v votes) Judges() (names []string) {
	m := v.island.membership.Load()
	if m == nil {
		return nil
	}
	var connected []trust.Key
	if running := m.mesh.Load(); running != nil {
		connected = running.Connected()
	}
	self := m.home.Node().Public()
	for _, member := range m.state.Load().Members() {
		if aggregates(member.Role) && (member.Key == self || slices.Contains(connected, member.Key)) {
			names = append(names, member.Name)
		}
	}
	return names
}

// Cast implements council.Mesh.
func (v votes) Cast(ctx context.Context, judge string, r *probepb.CastRequest) (*probepb.CastResponse, error) {
	conn, err := v.island.vantageConn(judge, rpc.Normal)
	if err != nil {
		return nil, err
	}
	return probepb.NewVotesClient(conn).Cast(ctx, r)
}

// List implements council.Mesh.
func (v votes) List(ctx context.Context, judge string, r *probepb.ListRequest) (*probepb.ListResponse, error) {
	conn, err := v.island.vantageConn(judge, rpc.Normal)
	if err != nil {
		return nil, err
	}
	return probepb.NewVotesClient(conn).List(ctx, r)
}

// ballots serves other islands' votes.
type ballots struct {
	probepb.UnimplementedVotesServer
	m *membership
}

// Cast takes a member's votes. Those that may probe may vote.
func (b ballots) Cast(ctx context.Context, r *probepb.CastRequest) (*probepb.CastResponse, error) {
	caller, ok := rpc.CallerFrom(ctx)
	var member *trust.Member
	if ok {
		member, ok = b.m.state.Load().MemberByKey(caller.Key)
	}
	if !ok || !aggregates(member.Role) && member.Role != trust.RoleVantage {
		return nil, grpcstatus.Error(codes.PermissionDenied, "vote on targets: only islands, admins and vantages probe")
	}
	ls := map[string]string{}
	for name, value := range member.Labels {
		ls[name] = value
	}
	ls[config.IslandLabel] = member.Name
	answer, err := b.m.island.getRooms().probe.Council().Hear(council.Voter{Name: member.Name, Labels: ls}, r)
	if err != nil {
		return nil, grpcstatus.Error(codes.FailedPrecondition, err.Error())
	}
	return answer, nil
}

// List returns what is judged here.
func (b ballots) List(_ context.Context, r *probepb.ListRequest) (*probepb.ListResponse, error) {
	return b.m.island.getRooms().probe.Council().Answer(r), nil
}

func (m *membership) serveVotes(node *mesh.Mesh) error {
	const (
		mostCast, mostListed = 1 << 20, 4 << 20
		mostAsked, mostSaid  = 1 << 10, 8 << 10
		listTimeout          = 5 * time.Second
		describesPerSecond   = 2
		describesBurst       = 10
	)
	return node.RegisterService(&probepb.Votes_ServiceDesc, ballots{m: m}, map[string]rpc.Rule{
		probepb.Votes_Cast_FullMethodName: {AnyMember: true, Class: rpc.Normal, Idempotent: true, MaxRequestBytes: mostCast},
		probepb.Votes_List_FullMethodName: {Action: policy.Read, Class: rpc.Normal, Idempotent: true, MaxTimeout: listTimeout, MaxResponseBytes: mostListed},
		probepb.Votes_Describe_FullMethodName: {
			Action: policy.Read, Class: rpc.Normal, Idempotent: true, MaxTimeout: listTimeout, MaxRequestBytes: mostAsked, MaxResponseBytes: mostSaid,
			RatePerSecond: describesPerSecond, Burst: describesBurst,
		},
	})
}
