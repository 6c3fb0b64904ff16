package reach

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/hosttest"
)

// silentRelay takes questions, tells of each, and answers none: as a relay beyond a
// hole does.
func silentRelay(t *testing.T, p *place) (host.Host, <-chan struct{}) {
	t.Helper()
	h := hosttest.New(t, &p.Roster, nil)
	asked := make(chan struct{}, 16)
	h.SetStreamHandler(proto.ProtoIDv2Hop, func(network.Stream) { asked <- struct{}{} })
	return h, asked
}

// within fails the test unless done is closed in a generous time, which is less than
// the minute after which the library gives up by itself.
func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("never ended: %s", what)
	}
}

func TestAskingARelayEndsWithTheContext(t *testing.T) {
	var p place
	relay, asked := silentRelay(t, &p)
	a := p.island(t, hidden())
	hosttest.Connect(t, a.Host, relay)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := a.relays.ask(ctx, relay.ID()); err == nil {
			t.Error("a relay that says nothing gave a slot")
		}
	}()
	within(t, "the question's way to the relay", asked)
	cancel()
	within(t, "a question whose context has ended", done)
}

func TestRunEndsWhileARelayIsAsked(t *testing.T) {
	var p place
	relay, asked := silentRelay(t, &p)
	p.offer(Candidate{ID: relay.ID()})
	a := p.island(t, hidden())
	hosttest.Connect(t, a.Host, relay)
	a.RelaysChanged()
	within(t, "the question's way to the relay", asked)
	done := make(chan struct{})
	go func() { defer close(done); a.stop() }()
	within(t, "an island that asks a relay", done)
}

// TestSilentRelayHidesNoOther dials a peer through a relay that says nothing, and
// then through one that works, while the first dial goes on.
func TestSilentRelayHidesNoOther(t *testing.T) {
	var p place
	silent, asked := silentRelay(t, &p)
	relay := p.island(t, relaying())
	p.offer(Candidate{ID: relay.ID()})
	a, b := p.island(t, hidden()), p.island(t, hidden())
	b.SetStreamHandler("/echo", echo)
	hosttest.Connect(t, a.Host, silent)
	hosttest.Connect(t, b.Host, relay.Host)
	hosttest.Until(t, "relayed addresses", func() bool { return len(circuits(b)) > 0 })

	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan struct{})
	go func() {
		defer close(first)
		way := ma.StringCast("/p2p/" + silent.ID().String() + "/p2p-circuit")
		if _, err := a.DialRelayed(ctx, silent.Addrs()[0].Encapsulate(way), b.ID()); err == nil {
			t.Error("a relay that says nothing connected two")
		}
	}()
	within(t, "the first dial's way to its relay", asked)

	a.Peerstore().AddAddrs(b.ID(), circuits(b), peerstore.PermanentAddrTTL)
	second := make(chan struct{})
	go func() {
		defer close(second)
		if _, err := a.Network().DialPeer(t.Context(), b.ID()); err != nil {
			t.Errorf("through the relay that works: %v", err)
		}
	}()
	within(t, "a dial through a relay that works", second)
	roundTrip(t, a.Host, b.ID(), 1<<10)

	cancel()
	within(t, "a dial whose context has ended", first)
	roundTrip(t, a.Host, b.ID(), 1<<10)
}

// TestRelayedConnectionOutlivesItsDial ends the context of a dial that has worked.
func TestRelayedConnectionOutlivesItsDial(t *testing.T) {
	var p place
	relay := p.island(t, relaying())
	p.offer(Candidate{ID: relay.ID()})
	a, b := p.island(t, hidden()), p.island(t, hidden())
	hosttest.Connect(t, b.Host, relay.Host)
	hosttest.Until(t, "relayed addresses", func() bool { return len(circuits(b)) > 0 })
	ctx, cancel := context.WithCancel(t.Context())
	c, err := a.DialRelayed(ctx, circuits(b)[0], b.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	s, err := c.OpenStream(t.Context())
	if err != nil {
		t.Fatalf("a stream over a connection whose dial is over: %v", err)
	}
	_ = s.Reset()
}

func TestAddressesWithoutARelayAreNotDialled(t *testing.T) {
	for _, text := range []string{"/ip4/11.0.0.1/tcp/1", "/p2p-circuit", "/ip4/11.0.0.1/tcp/1/p2p-circuit"} {
		if relay, ok := RelayOf(ma.StringCast(text)); ok {
			t.Errorf("%s leads through %q", text, relay)
		}
	}
}
