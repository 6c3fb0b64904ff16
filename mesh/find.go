package mesh

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// mostFound bounds the addresses of one answer.
const mostFound = 32

// discovery tells members where others are.
type discovery struct {
	meshpb.UnimplementedDiscoveryServer
	m *Mesh
}

// Find implements meshpb.DiscoveryServer.
func (d discovery) Find(_ context.Context, r *meshpb.FindRequest) (*meshpb.FindResponse, error) {
	key, err := trust.KeyOf(r.GetKey())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if d.m.gate.State().Standing(key) != trust.MemberStanding {
		return nil, status.Error(codes.NotFound, "not a member of this network")
	}
	res := &meshpb.FindResponse{}
	for _, a := range d.m.host.Peerstore().Addrs(ident.Peer(key)) {
		if len(res.Addresses) < mostFound {
			res.Addresses = append(res.Addresses, a.Bytes())
		}
	}
	return res, nil
}

func (m *Mesh) serveDiscovery() error {
	return m.server.Register(&meshpb.Discovery_ServiceDesc, discovery{m: m}, map[string]rpc.Rule{
		meshpb.Discovery_Find_FullMethodName: {AnyMember: true, Class: rpc.Urgent, Idempotent: true},
	})
}

// whereIs asks one member about another.
func (m *Mesh) whereIs(ctx context.Context, whom, about peer.ID) ([]ma.Multiaddr, error) {
	to, ok := ident.Key(whom)
	target, ok2 := ident.Key(about)
	if !ok || !ok2 {
		return nil, fmt.Errorf("ask where %s is: no member's key", about)
	}
	conn, err := m.Conn(to, rpc.Urgent)
	if err != nil {
		return nil, err
	}
	res, err := meshpb.NewDiscoveryClient(conn).Find(ctx, &meshpb.FindRequest{Key: target.Bytes()})
	if err != nil {
		return nil, err
	}
	var out []ma.Multiaddr
	for _, b := range res.GetAddresses()[:min(len(res.GetAddresses()), mostFound)] {
		a, err := ma.NewMultiaddrBytes(b)
		if err != nil {
			return nil, fmt.Errorf("ask where %s is: %w", about, err)
		}
		out = append(out, a)
	}
	return out, nil
}
