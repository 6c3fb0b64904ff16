package island

import (
	"context"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// vantageList are all members that probe, with what the mesh knows of them.
func (i *Island) vantageList() (out []probe.Vantage) {
	m := i.membership.Load()
	if m == nil {
		return nil
	}
	peers := map[trust.Key]mesh.PeerStatus{}
	if running := m.mesh.Load(); running != nil {
		for _, p := range running.Peers() {
			peers[p.Key] = p
		}
	}
	self := m.home.Node().Public()
	for _, member := range m.state.Load().Members() {
		if !aggregates(member.Role) && member.Role != trust.RoleVantage {
			continue
		}
		v := probe.Vantage{Name: member.Name, ID: member.Key.String(), Role: member.Role, Labels: member.Labels}
		if member.Key == self {
			v.Connected, v.LastSeen = true, time.Now()
		} else if p, ok := peers[member.Key]; ok {
			v.Connected = p.State == mesh.StateConnected || p.State == mesh.StateSuspect
			if p.LastSeen != nil {
				v.LastSeen = *p.LastSeen
			}
		}
		out = append(out, v)
	}
	return out
}

// describe asks a member where it stands.
func (i *Island) describe(ctx context.Context, vantage string) (*probepb.DescribeResponse, error) {
	conn, err := i.vantageConn(vantage, rpc.Normal)
	if err != nil {
		return nil, err
	}
	return probepb.NewVotesClient(conn).Describe(ctx, &probepb.DescribeRequest{})
}

// Describe says where this island stands.
func (b ballots) Describe(context.Context, *probepb.DescribeRequest) (*probepb.DescribeResponse, error) {
	return b.m.island.getRooms().probe.Describe(), nil
}
