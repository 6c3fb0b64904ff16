package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/mesh/hosttest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Held by the library for the process's life.
		goleak.IgnoreAnyFunction("github.com/ipfs/go-log/v2.NewPipeReader"),
		goleak.IgnoreAnyFunction("github.com/libp2p/go-libp2p-asn-util.init"),
	)
}

type heard struct {
	mu   sync.Mutex
	msgs map[string]peer.ID
}

func (h *heard) deliver(from peer.ID, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.msgs == nil {
		h.msgs = map[string]peer.ID{}
	}
	h.msgs[string(data)] = from
}

func (h *heard) from(text string) peer.ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.msgs[text]
}

func (h *heard) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.msgs)
}

type island struct {
	host.Host
	*Gossip
	heard
}

// start makes an island with gossip running; member decides instead of the
// roster when given.
func start(t *testing.T, r *hosttest.Roster, cfg Config, member func(peer.ID) bool) *island {
	t.Helper()
	i := &island{Host: hosttest.New(t, r, nil)}
	if member == nil {
		member = r.Has
	}
	g, err := New(Options{Config: cfg, Host: i.Host, Network: "abcdefgh", Member: member, Deliver: i.deliver})
	if err != nil {
		t.Fatal(err)
	}
	i.Gossip = g
	hosttest.Run(t, g.Run)
	return i
}

// subscribed waits until a knows that b listens.
func subscribed(t *testing.T, a, b *island) {
	t.Helper()
	hosttest.Until(t, "streams both ways", func() bool {
		return streams(a.Host, b.ID()) >= 2 && streams(b.Host, a.ID()) >= 2
	})
}

// grafted waits until an island forwards to n neighbours: in the second before, a
// message goes no further than its author's neighbours.
func grafted(t *testing.T, i *island, n float64) {
	t.Helper()
	hosttest.Until(t, "grafted neighbours", func() bool { return testutil.ToFloat64(i.metrics.neighbours) >= n })
}

func streams(h host.Host, p peer.ID) int {
	n := 0
	for _, c := range h.Network().ConnsToPeer(p) {
		for _, s := range c.GetStreams() {
			if bytes.HasPrefix([]byte(s.Protocol()), []byte("/meshsub/")) {
				n++
			}
		}
	}
	return n
}

func TestReachesAllOf30(t *testing.T) {
	r := &hosttest.Roster{}
	var all []*island
	for range 30 {
		all = append(all, start(t, r, Default(), nil))
	}
	for i, a := range all { // a ring with two chords each: 6 neighbours
		for _, step := range []int{1, 7, 12} {
			b := all[(i+step)%len(all)]
			hosttest.Connect(t, a.Host, b.Host)
			subscribed(t, a, b)
		}
	}
	for n, from := range []*island{all[0], all[17]} {
		text := fmt.Sprintf("change %d", n)
		if err := from.Announce(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
		for i, to := range all {
			if to == from {
				continue
			}
			hosttest.Until(t, fmt.Sprintf("%q at island %d", text, i), func() bool { return to.from(text) == from.ID() })
		}
		if from.count() != n {
			t.Errorf("the author heard itself: %d messages, want %d", from.count(), n)
		}
	}
}

func TestTwoIslands(t *testing.T) {
	r := &hosttest.Roster{}
	a, b := start(t, r, Default(), nil), start(t, r, Default(), nil)
	hosttest.Connect(t, a.Host, b.Host)
	subscribed(t, a, b)
	for from, to := range map[*island]*island{a: b, b: a} {
		text := "from " + from.ID().String()
		if err := from.Announce(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
		hosttest.Until(t, text, func() bool { return to.from(text) == from.ID() })
	}
}

// TestAuthorNeverMet: in a large network most authors are no neighbours of whom
// their word reaches, who then has no hello of them to go by.
func TestAuthorNeverMet(t *testing.T) {
	r := &hosttest.Roster{}
	author, between := start(t, r, Default(), nil), start(t, r, Default(), nil)
	far := &island{Host: hosttest.New(t, r, nil)}
	g, err := New(Options{Config: Default(), Host: far.Host, Network: "abcdefgh",
		Member: func(p peer.ID) bool { return p == between.ID() }, Author: r.Has, Deliver: far.deliver})
	if err != nil {
		t.Fatal(err)
	}
	far.Gossip = g
	hosttest.Run(t, g.Run)
	hosttest.Connect(t, author.Host, between.Host)
	subscribed(t, author, between)
	hosttest.Connect(t, between.Host, far.Host)
	subscribed(t, between, far)
	grafted(t, between, 2)
	if err := author.Announce(t.Context(), []byte("a change")); err != nil {
		t.Fatal(err)
	}
	hosttest.Until(t, "the change, by way of another", func() bool { return far.from("a change") == author.ID() })
}

func TestFloodIsBounded(t *testing.T) {
	r := &hosttest.Roster{}
	cfg := Default()
	cfg.AuthorRate, cfg.AuthorBurst = 0.001, 10
	cfg.NeighbourRate, cfg.NeighbourBurst = 0.001, 60
	greedy := Default()
	greedy.AuthorRate, greedy.AuthorBurst, greedy.Queue = 1e6, 1e6, 1000
	flooder := start(t, r, greedy, nil)
	victim, far := start(t, r, cfg, nil), start(t, r, cfg, nil)
	hosttest.Connect(t, flooder.Host, victim.Host)
	subscribed(t, flooder, victim)
	hosttest.Connect(t, victim.Host, far.Host)
	subscribed(t, victim, far)
	grafted(t, victim, 2)
	const sent = 500
	for i := range sent {
		for errors.Is(flooder.Announce(t.Context(), fmt.Appendf(nil, "flood %d", i)), ErrBusy) {
		}
	}
	dropped := func(i *island, reason string) float64 {
		return testutil.ToFloat64(i.metrics.dropped.WithLabelValues(reason))
	}
	hosttest.Until(t, "all messages either heard or dropped", func() bool {
		return float64(victim.count())+dropped(victim, "author_rate")+dropped(victim, "neighbour_rate")+dropped(flooder, "peer_queue") >= sent
	})
	if got := victim.count(); got != cfg.AuthorBurst {
		t.Errorf("victim delivered %d, want the author's burst of %d", got, cfg.AuthorBurst)
	}
	if got := dropped(victim, "author_rate"); got > float64(cfg.NeighbourBurst-cfg.AuthorBurst) || got == 0 {
		t.Errorf("%v signatures checked in vain, want 1 to %d", got, cfg.NeighbourBurst-cfg.AuthorBurst)
	}
	hosttest.Until(t, "the forwarded ones", func() bool { return far.count() == cfg.AuthorBurst })

	// Others are heard as before.
	if err := far.Announce(t.Context(), []byte("still here")); err != nil {
		t.Fatal(err)
	}
	hosttest.Until(t, "another author's word", func() bool { return victim.from("still here") == far.ID() })
}

func TestForeignMessageIsRefused(t *testing.T) {
	r := &hosttest.Roster{}
	stranger := start(t, nil, Default(), func(peer.ID) bool { return true })
	notStranger := func(p peer.ID) bool { return p != stranger.ID() }
	// The gate of this test lets the stranger in, as one that was revoked a moment
	// ago: gossip alone must refuse it, as neighbour and as author.
	r.Add(stranger.ID())
	near := start(t, r, Default(), notStranger)
	lax := start(t, r, Default(), func(peer.ID) bool { return true })
	behind := start(t, r, Default(), notStranger)
	hosttest.Connect(t, stranger.Host, near.Host)
	hosttest.Connect(t, stranger.Host, lax.Host)
	subscribed(t, stranger, lax)
	hosttest.Connect(t, lax.Host, behind.Host)
	subscribed(t, lax, behind)
	grafted(t, lax, 2)
	if err := stranger.Announce(t.Context(), []byte("let me in")); err != nil {
		t.Fatal(err)
	}
	hosttest.Until(t, "the message at who is lax", func() bool { return lax.from("let me in") == stranger.ID() })
	hosttest.Until(t, "the forwarded message's refusal", func() bool {
		return testutil.ToFloat64(behind.metrics.dropped.WithLabelValues("stranger")) > 0
	})
	hosttest.Until(t, "the neighbour's refusal", func() bool {
		return testutil.ToFloat64(near.metrics.dropped.WithLabelValues("stranger")) > 0
	})
	if near.count()+behind.count() != 0 {
		t.Errorf("a stranger was heard: %d by its neighbour, %d through a member", near.count(), behind.count())
	}
}

// TestForgedAuthor sends a message in somebody else's name.
func TestForgedAuthor(t *testing.T) {
	r := &hosttest.Roster{}
	a, victim := start(t, r, Default(), nil), start(t, r, Default(), nil)
	liar := hosttest.New(t, r, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	key := liar.Peerstore().PrivKey(liar.ID())
	ps, err := pubsub.NewGossipSub(ctx, liar, pubsub.WithFloodPublish(true))
	if err != nil {
		t.Fatal(err)
	}
	topic, err := ps.Join(Topic("abcdefgh"))
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Connect(t, liar, victim.Host)
	hosttest.Until(t, "the liar knows a listener", func() bool { return len(topic.ListPeers()) == 1 })
	// Its own validation refuses the forgery too, but sends it before that.
	_ = topic.Publish(ctx, []byte("signed by another"), pubsub.WithSecretKeyAndPeerId(key, a.ID()))
	if err := topic.Publish(ctx, []byte("honest")); err != nil {
		t.Fatal(err)
	}
	hosttest.Until(t, "the honest message", func() bool { return victim.from("honest") == liar.ID() })
	if victim.from("signed by another") != "" {
		t.Error("a message in another's name was delivered")
	}
}

func TestAnnounceIsBounded(t *testing.T) {
	cfg := Default()
	cfg.Queue = 3
	h := hosttest.New(t, nil, nil)
	g, err := New(Options{Config: cfg, Host: h, Network: "n", Member: func(peer.ID) bool { return true }, Deliver: func(peer.ID, []byte) {}})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, MaxBytes + 1} {
		if err := g.Announce(t.Context(), make([]byte, size)); err == nil || errors.Is(err, ErrBusy) {
			t.Errorf("announcing %d bytes: %v, want a refusal", size, err)
		}
	}
	for i := range cfg.Queue {
		if err := g.Announce(t.Context(), make([]byte, MaxBytes)); err != nil {
			t.Errorf("announcement %d before Run: %v", i, err)
		}
	}
	if err := g.Announce(t.Context(), []byte{1}); !errors.Is(err, ErrBusy) {
		t.Errorf("full queue: %v, want ErrBusy", err)
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{}).Validate(); err == nil {
		t.Error("rates of zero passed")
	}
}
