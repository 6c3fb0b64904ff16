package island

import (
	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/query/peer"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

// neighbours is query.Neighbours: the members that hold samples, by the names
// under which all know them.
func (i *Island) neighbours() (self string, others []global.Island) {
	m := i.membership.Load()
	if m == nil {
		return i.Config().Island.Name, nil
	}
	own, held, names := m.home.Node().Public(), m.holders.list(), map[string]bool{}
	self = i.Config().Island.Name
	for _, member := range m.state.Load().Members() {
		switch {
		case member.Key == own:
			self = member.Name
		case aggregates(member.Role):
			id := member.Key.String()
			facts := i.questions.Facts(id, member.Name)
			origin := m.client(facts, member.Key).Noting(id).Hedged(m.askerBy(member.Key, rpc.Normal))
			others = append(others, global.WithCopies(origin, m.copiesOf(facts, held[accountName(member)])))
		}
		names[member.Name] = true
	}
	return self, append(others, m.departed(held, names)...)
}

// client asks a member.
func (m *membership) client(facts global.Facts, key trust.Key) *peer.Client {
	return m.island.questions.Client(facts, m.asker(key)).Speaking(func() uint32 {
		if running := m.mesh.Load(); running != nil {
			return running.Speaks(key)
		}
		return 0
	})
}

// asker connects to a member when there is something to ask.
func (m *membership) asker(key trust.Key) func() (grpc.ClientConnInterface, error) {
	return m.askerBy(key, rpc.Urgent)
}

// askerBy does so in a class. Each has a connection of its own, which takes the way
// that is best when it is made.
func (m *membership) askerBy(key trust.Key, class rpc.Class) func() (grpc.ClientConnInterface, error) {
	return func() (grpc.ClientConnInterface, error) {
		running := m.mesh.Load()
		if running == nil {
			return nil, mesh.ErrNotReady
		}
		return running.Conn(key, class)
	}
}

// serveQueries registers what other islands ask.
func (m *membership) serveQueries(node *mesh.Mesh) error {
	i := m.island
	return node.RegisterService(&querypb.Query_ServiceDesc, i.questions.Server(i.getRooms().query.Itself()).WithCopies(m.askedCopy), map[string]rpc.Rule{
		querypb.Query_Answer_FullMethodName:    {Action: policy.Read, Class: rpc.Urgent, Idempotent: true},
		querypb.Query_Labels_FullMethodName:    {Action: policy.Read, Class: rpc.Urgent, Idempotent: true},
		querypb.Query_Series_FullMethodName:    {Action: policy.Read, Class: rpc.Urgent, Idempotent: true},
		querypb.Query_Exemplars_FullMethodName: {Action: policy.Read, Class: rpc.Urgent, Idempotent: true},
	})
}
