package mesh

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"

	"github.com/atoll-mesh/atoll/mesh/discover"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/join"
	"github.com/atoll-mesh/atoll/mesh/reach"
	"github.com/atoll-mesh/atoll/mesh/session"
	"github.com/atoll-mesh/atoll/trust"
)

// foreign is a plain libp2p host with a key of its own.
func foreign(t testing.TB, k trust.PrivateKey) host.Host {
	t.Helper()
	priv, err := ident.Private(k)
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(priv), libp2p.NoListenAddrs, libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// addrsOver are an island's addresses of one transport.
func (i *island) addrsOver(transport string) []ma.Multiaddr {
	var out []ma.Multiaddr
	for _, a := range i.listening() {
		if isTCP(a) == (transport == "tcp") {
			out = append(out, a)
		}
	}
	return out
}

// everything lists all that an island speaks.
func everything(i *island) []protocol.ID {
	return append(i.host.Mux().Protocols(),
		identify.ID, identify.IDPush, ping.ID, session.Protocol, i.rpcProtocol(),
		pubsub.GossipSubID_v11, discover.Prefix(i.o.Network.Short())+"/kad/1.0.0", circuit.ProtoIDv2Hop)
}

// speak connects anew and tries to agree on a protocol.
func speak(h host.Host, to *island, addrs []ma.Multiaddr, id protocol.ID) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	defer h.Network().ClosePeer(to.host.ID())
	if err := h.Connect(ctx, peer.AddrInfo{ID: to.host.ID(), Addrs: addrs}); err != nil {
		return err
	}
	s, err := h.Network().NewStream(network.WithNoDial(ctx, "test"), to.host.ID())
	if err != nil {
		return err
	}
	defer s.Reset()
	_ = s.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = mss.SelectOneOf([]protocol.ID{id}, s)
	return err
}

func TestStrangersReachNothing(t *testing.T) {
	w := newWorld(t)
	a := w.islands(1)[0]
	for _, transport := range []string{"tcp", "quic"} {
		h := foreign(t, key("stranger over "+transport))
		for _, id := range append(everything(a), join.Protocol) {
			if err := speak(h, a, a.addrsOver(transport), id); err == nil {
				t.Errorf("over %s a stranger may speak %s", transport, id)
			}
		}
		if conns := a.swarm.ConnsToPeer(h.ID()); len(conns) > 0 {
			t.Errorf("over %s a stranger is connected: %v", transport, conns)
		}
	}
	if n := a.metric(t, "atoll_mesh_connections_refused_total", "reason", "stranger"); n < 2 {
		t.Errorf("counted %v refused connections", n)
	}
}

func TestGuestsSpeakJoinAndNothingElse(t *testing.T) {
	w := newWorld(t)
	w.invite("guest")
	a := w.islands(1)[0]
	for _, transport := range []string{"tcp", "quic"} {
		h := foreign(t, key("guest"))
		for _, id := range everything(a) {
			if err := speak(h, a, a.addrsOver(transport), id); err == nil {
				t.Errorf("over %s a guest may speak %s", transport, id)
			}
		}
		if err := speak(h, a, a.addrsOver(transport), join.Protocol); err != nil {
			t.Errorf("over %s a guest may not speak %s: %v", transport, join.Protocol, err)
		}
		if conns := a.swarm.ConnsToPeer(h.ID()); len(conns) > 0 {
			t.Errorf("over %s a guest entered the swarm", transport)
		}
	}
}

func TestRevokedMemberIsCutOff(t *testing.T) {
	w := newWorld(t)
	three := w.islands(3)
	a, b, c := three[0], three[1], three[2]
	w.connect(a, b)
	w.connect(b, c)
	w.connect(a, c)
	w.revoke("isle01", "stolen")
	begin := time.Now()
	a.TrustChanged()
	c.TrustChanged()
	eventually(t, "the revoked island is disconnected", func() bool {
		return a.swarm.Connectedness(b.host.ID()) == network.NotConnected && c.swarm.Connectedness(b.host.ID()) == network.NotConnected
	})
	t.Logf("disconnected after %s", time.Since(begin).Round(time.Millisecond))
	if a.inReach(b) {
		t.Error("the revoked island is still in reach")
	}
	if !a.inReach(c) {
		t.Error("the others lost each other")
	}
	// It has not heard of its revocation by itself, and tries again.
	eventually(t, "the revoked island is told why", func() bool {
		return b.status(t, "isle00").State == StateRefused && b.status(t, "isle00").LastError == "it refuses this island: this island's key was revoked: stolen"
	})
	h := foreign(t, key("isle01"))
	for _, transport := range []string{"tcp", "quic"} {
		if err := speak(h, a, a.addrsOver(transport), ping.ID); err == nil {
			t.Errorf("over %s a revoked key may ping", transport)
		}
	}
	if err := a.Connect(t.Context(), b.key()); !errors.Is(err, ErrNotMember) {
		t.Errorf("Connect: %v", err)
	}
}

func TestSixtyMembersBehindOneAddress(t *testing.T) {
	w := newWorld(t)
	w.admit("hub")
	names := make([]string, 60)
	for i := range names {
		names[i] = fmt.Sprintf("isle%02d", i)
	}
	w.admit(names...)
	hub := w.island("hub")
	hosts := make([]host.Host, len(names))
	for i, name := range names {
		hosts[i] = foreign(t, key(name))
	}
	// All stay open: the limits are on connections at once. libp2p's QUIC listener
	// drops some of sixty that come in one instant; they dial again, as islands do.
	for _, transport := range []string{"tcp", "quic"} {
		for _, h := range hosts {
			_ = h.Network().ClosePeer(hub.host.ID()) // the swarm dials nobody it is connected to
			h.Peerstore().ClearAddrs(hub.host.ID())
		}
		rounds := 0
		eventually(t, "all sixty are connected over "+transport+" at once", func() bool {
			rounds++
			dialAll(hosts, hub, transport)
			// Connect returns before the other side has decided: its count is what holds.
			return hub.connectedOver(transport) == len(hosts)
		})
		t.Logf("over %s: sixty at once after %d looks", transport, rounds)
	}
}

// dialAll has each host that is not connected dial the hub, all at once.
func dialAll(hosts []host.Host, hub *island, transport string) {
	var wg sync.WaitGroup
	for _, h := range hosts {
		if h.Network().Connectedness(hub.host.ID()) == network.Connected {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			reach.ClearBackoff(h, hub.host.ID())
			_ = h.Connect(ctx, peer.AddrInfo{ID: hub.host.ID(), Addrs: hub.addrsOver(transport)})
		})
	}
	wg.Wait()
}

// connectedOver counts the peers with an open connection of one transport.
func (i *island) connectedOver(transport string) int {
	peers := map[peer.ID]bool{}
	for _, c := range i.swarm.Conns() {
		if _, t := pathOf(c); t == transport {
			peers[c.RemotePeer()] = true
		}
	}
	return len(peers)
}

func TestFloodOfStrangers(t *testing.T) {
	w := newWorld(t)
	two := w.islands(2)
	a, b := two[0], two[1]
	w.connect(b, a)
	before := heap()
	const strangers, connections = 50, 2000
	hosts := make([]host.Host, strangers)
	for i := range hosts {
		hosts[i] = foreign(t, key(fmt.Sprint("flood", i)))
	}
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() {
			for n := range connections / strangers {
				addrs := a.addrsOver([]string{"tcp", "quic"}[(i+n)%2])
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				_ = h.Connect(ctx, peer.AddrInfo{ID: a.host.ID(), Addrs: addrs})
				cancel()
				h.Network().ClosePeer(a.host.ID())
				reach.ClearBackoff(h, a.host.ID())
			}
		})
	}
	flooded := make(chan struct{})
	go func() { wg.Wait(); close(flooded) }()
	pings := 0
	for over := false; !over; {
		select {
		case <-flooded:
			over = true
		default:
			pongs, err := b.Ping(context.Background(), a.key(), 1)
			if err != nil || pongs[0].Err != nil {
				t.Fatalf("ping %d during the flood: %v %v", pings, pongs, err)
			}
			pings++
		}
	}
	if n := len(a.swarm.Conns()); n > 4 {
		t.Errorf("%d connections are open after the flood", n)
	}
	flood := a.metric(t, "atoll_mesh_connections_refused_total", "reason", "flood")
	stranger := a.metric(t, "atoll_mesh_connections_refused_total", "reason", "stranger")
	t.Logf("%d pings; refused as strangers %v, as a flood %v", pings, stranger, flood)
	if stranger == 0 || stranger+flood < connections/2 {
		t.Errorf("refused %v strangers and %v of the flood, want most of %d", stranger, flood, connections)
	}
	for _, h := range hosts {
		_ = h.Close()
	}
	if grown := heap() - before; grown > 32<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	} else {
		t.Logf("the heap grew by %d KiB", grown>>10)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
