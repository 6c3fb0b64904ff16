package island

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/aggregate"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/mesh/witness"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/aggregatepb"
)

// aggregators are the islands that aggregate together, and how they reach each other.
type aggregators struct {
	m *membership

	mu    sync.Mutex
	asked time.Time
	names []string
	keys  map[string]trust.Key
}

// membersAge is for how long a list of the members is used again.
const membersAge = time.Second

// accountName is what counts by an island go by: it stays when the island's key
// changes, and is another one when the island leaves and joins again.
func accountName(member *trust.Member) string {
	return member.GivenName + "@" + strconv.FormatInt(member.Joined.UnixMilli(), 36)
}

// seriesKey keys the hashes of series among the islands of a network. What a
// network is called outside does not tell it.
func seriesKey(network trust.NetworkID) uint64 {
	sum := sha256.Sum256(append([]byte("atoll series\n"), network[:]...))
	return binary.LittleEndian.Uint64(sum[:]) | 1 // 0 is none
}

// aggregates reports whether islands of a role take part: the others hold no samples.
func aggregates(role string) bool { return role == trust.RoleAdmin || role == trust.RoleIsland }

// list lists the islands that aggregate. One that is merely out of reach stays
// in; one of which a statement says that it is lost does not.
func (a *aggregators) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys != nil && time.Since(a.asked) < membersAge {
		return a.names
	}
	lost := map[trust.Key]bool{}
	for _, d := range a.m.documents.List(statementPrefix) {
		if s, err := witness.DecodeStatement(d.GetValue()); err == nil && s.Kind == witness.KindLost {
			lost[s.Target] = true
		}
	}
	a.asked, a.names, a.keys = time.Now(), nil, map[string]trust.Key{}
	for _, member := range a.m.state.Load().Members() {
		if !aggregates(member.Role) {
			continue
		}
		name := accountName(member)
		a.keys[name] = member.Key
		if !lost[member.Key] {
			a.names = append(a.names, name)
		}
	}
	return a.names
}

func (a *aggregators) key(name string) (trust.Key, bool) {
	a.list()
	a.mu.Lock()
	defer a.mu.Unlock()
	key, ok := a.keys[name]
	return key, ok
}

// Send implements share.Transport.
func (a *aggregators) Send(ctx context.Context, member string, message []byte) ([]byte, error) {
	key, ok := a.key(member)
	if !ok {
		return nil, fmt.Errorf("send parts of windows to %s: no member any more", member)
	}
	running := a.m.mesh.Load()
	if running == nil {
		return nil, mesh.ErrNotReady
	}
	conn, err := running.Conn(key, rpc.Normal)
	if err != nil {
		return nil, err
	}
	answer, err := aggregatepb.NewPartialsClient(conn).Push(ctx, &aggregatepb.PushRequest{Message: message})
	return answer.GetReply(), err
}

// enterAggregation makes this island one of those that aggregate together, if
// its role is one of theirs.
func (m *membership) enterAggregation(health *health.List) (run func(context.Context) error, err error) {
	room := m.island.getRooms().aggregate
	self := m.self()
	if self == nil || !aggregates(self.Role) {
		room.Leave()
		return nil, nil
	}
	a := &aggregators{m: m}
	return room.Enter(aggregate.Network{
		Self: accountName(self), Members: a.list, Transport: a, Key: seriesKey(m.home.Network()), Registerer: m.registry, Health: health,
	})
}

// handOverTimeout bounds how long an island that leaves waits until the others have
// what it aggregated with them.
const handOverTimeout = 15 * time.Second

// handOver gives what is aggregated with other islands to them.
func (i *Island) handOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	return i.getRooms().aggregate.HandOver(ctx)
}

// partials serves other islands' parts of windows.
type partials struct {
	aggregatepb.UnimplementedPartialsServer
	m *membership
}

// Push hands a message on to the aggregation.
func (p partials) Push(ctx context.Context, r *aggregatepb.PushRequest) (*aggregatepb.PushResponse, error) {
	caller, ok := rpc.CallerFrom(ctx)
	var member *trust.Member
	if ok {
		member, ok = p.m.state.Load().MemberByKey(caller.Key)
	}
	if !ok || !aggregates(member.Role) {
		return nil, grpcstatus.Error(codes.PermissionDenied, "push parts of windows: only islands and admins aggregate")
	}
	reply, err := p.m.island.getRooms().aggregate.Handle(ctx, accountName(member), r.GetMessage())
	if errors.Is(err, flow.ErrUnavailable) {
		return nil, err
	}
	if err != nil {
		return nil, grpcstatus.Error(codes.InvalidArgument, err.Error())
	}
	return &aggregatepb.PushResponse{Reply: reply}, nil
}

func (m *membership) servePartials(node *mesh.Mesh) error {
	return node.RegisterService(&aggregatepb.Partials_ServiceDesc, partials{m: m}, map[string]rpc.Rule{
		aggregatepb.Partials_Push_FullMethodName: {AnyMember: true, Class: rpc.Normal, Idempotent: true},
	})
}
