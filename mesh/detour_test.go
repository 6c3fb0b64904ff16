package mesh

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch/pb"
	"github.com/libp2p/go-msgio/pbio"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"

	"github.com/atoll-mesh/atoll/mesh/gate"
	"github.com/atoll-mesh/atoll/mesh/reach"
)

// TestHoleOverDetour makes a connection around another one. Its ends agree on who made
// it, so that the other one may arrange a hole over it: the library refuses all else.
func TestHoleOverDetour(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire", "curacao")
	run := func(name, reachability string) *island {
		return w.run(w.prepare(name, func(o *Options) { o.Config.Reach.Reachability = reachability }))
	}
	relay, a, b := run("curacao", reach.Public), run("anegada", reach.Private), run("bonaire", reach.Private)
	w.connect(a, relay)
	w.connect(b, relay)
	w.connect(a, b)
	var circuit ma.Multiaddr
	eventually(t, "b has a slot at the relay, and both can punch", func() bool {
		for _, x := range []*island{a, b} {
			if protos := x.host.Mux().Protocols(); !slices.Contains(protos, holepunch.Protocol) {
				return false
			}
		}
		for _, addr := range b.host.Addrs() {
			if _, ok := reach.RelayOf(addr); ok {
				circuit = addr
			}
		}
		return circuit != nil
	})
	there, err := a.throughRelay(t.Context(), circuit, b.host.ID())
	if err != nil {
		t.Fatal(err)
	}
	var here network.Conn
	eventually(t, "b has the detour", func() bool {
		for _, c := range b.swarm.ConnsToPeer(a.host.ID()) {
			if reach.Relayed(c) {
				here = c
			}
		}
		return here != nil
	})
	if !gate.Dialled(there) || gate.Dialled(here) {
		t.Fatalf("made by a according to a: %t, by b according to b: %t", gate.Dialled(there), gate.Dialled(here))
	}

	s, err := here.NewStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Reset() }()
	_ = s.SetDeadline(time.Now().Add(patience))
	if err := mss.SelectProtoOrFail(holepunch.Protocol, s); err != nil {
		t.Fatalf("a hole is not arranged over the detour: %v", err)
	}
	connect := &pb.HolePunch{Type: pb.HolePunch_CONNECT.Enum(), ObsAddrs: [][]byte{b.addrsOver("tcp")[0].Bytes()}}
	var answer pb.HolePunch
	if err := pbio.NewDelimitedWriter(s).WriteMsg(connect); err != nil {
		t.Fatal(err)
	}
	if err := pbio.NewDelimitedReader(s, 4096).ReadMsg(&answer); err != nil || answer.GetType() != pb.HolePunch_CONNECT {
		t.Errorf("asked for a hole over the detour it says %v: %v", &answer, err)
	}
}
