package reach

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	relayclient "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	circuitpb "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/mesh/hosttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type island struct {
	host.Host
	*Reach
	stop func()
}

// place is a network of islands in one test.
type place struct {
	hosttest.Roster
	relays atomic.Pointer[[]Candidate]
	denied atomic.Pointer[peer.ID]
}

func (p *place) offer(list ...Candidate) { p.relays.Store(&list) }

func (p *place) offered() []Candidate {
	if l := p.relays.Load(); l != nil {
		return *l
	}
	return nil
}

func (p *place) permit(id peer.ID) bool {
	if d := p.denied.Load(); d != nil && *d == id {
		return false
	}
	return p.Has(id)
}

func (p *place) island(t *testing.T, cfg Config, tweak ...func(*Reach)) *island {
	t.Helper()
	key := hosttest.Key(t)
	r, err := New(Options{Config: cfg, Key: key, Relays: p.offered, Permit: p.permit})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tweak {
		f(r)
	}
	i := &island{Host: hosttest.New(t, &p.Roster, key, r.HostOptions()...), Reach: r}
	if err := r.Bind(i.Host); err != nil {
		t.Fatal(err)
	}
	i.stop = hosttest.Run(t, r.Run)
	return i
}

func relaying() Config {
	c := Default()
	c.Reachability, c.Punch = Public, false
	return c
}

func hidden() Config {
	c := Default()
	c.Reachability, c.Punch, c.Reservations = Private, false, 1
	return c
}

// meet has a dial b through the relays that b advertises, and not otherwise.
func meet(t *testing.T, a, b *island) network.Conn {
	t.Helper()
	hosttest.Until(t, "relayed addresses", func() bool { return len(circuits(b)) > 0 })
	a.Peerstore().AddAddrs(b.ID(), circuits(b), peerstore.PermanentAddrTTL)
	c, err := a.Network().DialPeer(t.Context(), b.ID())
	if err != nil {
		t.Fatal(err)
	}
	if !Relayed(c) {
		t.Fatalf("connection to %s is not relayed", c.RemoteMultiaddr())
	}
	return c
}

func circuits(i *island) []ma.Multiaddr {
	var out []ma.Multiaddr
	for _, a := range i.Addrs() {
		if relayed(a) {
			out = append(out, a)
		}
	}
	return out
}

func echo(s network.Stream) {
	io.Copy(s, s)
	s.Close()
}

// roundTrip sends n bytes and wants them back.
func roundTrip(t *testing.T, c host.Host, to peer.ID, n int) {
	t.Helper()
	s, err := c.NewStream(t.Context(), to, "/echo")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	sent := make([]byte, n)
	rand.Read(sent)
	go func() {
		s.Write(sent)
		s.CloseWrite()
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d bytes came back: %v", len(got), n, err)
	}
}

func TestRelayHasNoLimits(t *testing.T) {
	var p place
	relay := p.island(t, relaying())
	p.offer(Candidate{ID: relay.ID(), Region: "x"})
	a, b := p.island(t, hidden()), p.island(t, hidden())
	a.SetStreamHandler("/echo", echo)
	hosttest.Connect(t, a.Host, relay.Host)
	hosttest.Connect(t, b.Host, relay.Host)
	c := meet(t, b, a)
	if c.Stat().Limited {
		t.Error("the relayed connection is limited: calls over it would wait for a direct one")
	}
	const n = 4 << 20
	roundTrip(t, b.Host, a.ID(), n)
	if got := testutil.ToFloat64(relay.metrics.relay.bytes); got < 2*n {
		t.Errorf("relay counted %v bytes, want at least %d", got, 2*n)
	}
	path := b.Path(a.ID())
	if !path.Connected || path.Direct || path.Relay != relay.ID() || path.Transport != "tcp" || path.Why != "punching is turned off here" {
		t.Errorf("path %+v, want relayed by %s over tcp because punching is off", path, relay.ID())
	}
	if got := b.Path(relay.ID()); !got.Direct || got.Why != "" {
		t.Errorf("path to the relay %+v, want direct", got)
	}
}

func TestRelayRate(t *testing.T) {
	var p place
	cfg := relaying()
	cfg.RelayRate = 1 << 20
	relay := p.island(t, cfg)
	p.offer(Candidate{ID: relay.ID()})
	a, b := p.island(t, hidden()), p.island(t, hidden())
	a.SetStreamHandler("/echo", echo)
	hosttest.Connect(t, a.Host, relay.Host)
	hosttest.Connect(t, b.Host, relay.Host)
	meet(t, b, a)
	begin := time.Now()
	roundTrip(t, b.Host, a.ID(), 1<<20) // both ways: one second's allowance at once, the other after
	if took := time.Since(begin); took < 500*time.Millisecond {
		t.Errorf("2 MiB passed in %v at 1 MiB/s", took)
	}
	if testutil.ToFloat64(relay.metrics.relay.held) == 0 {
		t.Error("the wait was not counted")
	}
}

func TestRelayIsForPermittedMembers(t *testing.T) {
	var p place
	relay := p.island(t, relaying())
	hosttest.Until(t, "relaying", relay.Relaying)
	ok, bad := p.island(t, hidden()), p.island(t, hidden())
	id := bad.ID()
	p.denied.Store(&id)
	for _, i := range []*island{ok, bad} {
		hosttest.Connect(t, i.Host, relay.Host)
	}
	if _, err := relayclient.Reserve(t.Context(), ok.Host, peer.AddrInfo{ID: relay.ID()}); err != nil {
		t.Fatalf("a permitted member got no slot: %v", err)
	}
	_, err := relayclient.Reserve(t.Context(), bad.Host, peer.AddrInfo{ID: relay.ID()})
	var re relayclient.ReservationError
	if !errors.As(err, &re) || re.Status != circuitpb.Status_PERMISSION_DENIED {
		t.Errorf("a member without the right to relay got %v, want PERMISSION_DENIED", err)
	}
	// Nor may it be carried to somebody who has a slot.
	way := ma.StringCast("/p2p/" + relay.ID().String() + "/p2p-circuit")
	bad.Peerstore().AddAddr(ok.ID(), overTCP(relay).Encapsulate(way), time.Hour)
	if c, err := bad.Network().DialPeer(t.Context(), ok.ID()); err == nil {
		t.Errorf("it was carried to %s", c.RemoteMultiaddr())
	} else if !strings.Contains(err.Error(), "PERMISSION_DENIED") {
		t.Errorf("dial failed for another reason: %v", err)
	}
	// A stranger does not even get a connection.
	stranger := hosttest.New(t, nil, nil)
	stranger.Peerstore().AddAddrs(relay.ID(), relay.Network().ListenAddresses(), time.Hour)
	if _, err := relayclient.Reserve(t.Context(), stranger, peer.AddrInfo{ID: relay.ID()}); err == nil {
		t.Error("a stranger got a slot")
	}
}

func TestReservationAtOnceAndReplaced(t *testing.T) {
	var p place
	one, two := p.island(t, relaying()), p.island(t, relaying())
	a := p.island(t, hidden())
	hosttest.Connect(t, a.Host, one.Host)
	hosttest.Connect(t, a.Host, two.Host)
	begin := time.Now()
	p.offer(Candidate{ID: one.ID(), Region: "x"})
	a.RelaysChanged()
	hosttest.Until(t, "a slot at the first relay", func() bool { return a.Reserved(one.ID()) })
	t.Logf("first reservation after %v", time.Since(begin))
	hosttest.Until(t, "the relayed address", func() bool { return leadsThrough(circuits(a), one.ID()) })

	p.offer(Candidate{ID: one.ID(), Region: "x"}, Candidate{ID: two.ID(), Region: "y"})
	begin = time.Now()
	one.stop()
	one.Close()
	hosttest.Until(t, "a slot at the second relay", func() bool { return a.Reserved(two.ID()) && !a.Reserved(one.ID()) })
	t.Logf("replaced after %v", time.Since(begin))
	hosttest.Until(t, "the new address only", func() bool {
		return leadsThrough(circuits(a), two.ID()) && !leadsThrough(circuits(a), one.ID())
	})

	p.offer()
	a.RelaysChanged()
	hosttest.Until(t, "no relayed address", func() bool { return len(circuits(a)) == 0 && len(a.Reservations()) == 0 })
}

func overTCP(i *island) ma.Multiaddr {
	for _, a := range i.Network().ListenAddresses() {
		if transportName(a) == "tcp" {
			return a
		}
	}
	return nil
}

func leadsThrough(list []ma.Multiaddr, relay peer.ID) bool {
	for _, a := range list {
		if strings.Contains(a.String(), relay.String()+"/p2p-circuit") {
			return true
		}
	}
	return false
}

func TestReservationsSpreadOverRegions(t *testing.T) {
	var p place
	var offers []Candidate
	cfg := hidden()
	cfg.Reservations = 3
	a := p.island(t, cfg)
	for _, region := range []string{"x", "x", "x", "y", "z"} {
		r := p.island(t, relaying())
		hosttest.Until(t, "relaying", r.Relaying)
		hosttest.Connect(t, a.Host, r.Host)
		offers = append(offers, Candidate{ID: r.ID(), Region: region})
	}
	p.offer(offers...)
	a.RelaysChanged()
	hosttest.Until(t, "three slots", func() bool { return len(a.Reservations()) == 3 })
	regions := map[string]bool{}
	for _, r := range a.Reservations() {
		regions[r.Region] = true
	}
	if len(regions) != 3 {
		t.Errorf("slots in regions %v, want x, y and z", regions)
	}
}

func TestRelayingFollowsReachability(t *testing.T) {
	var p place
	for _, tc := range []struct {
		reach, relay string
		want         bool
	}{{Public, Auto, true}, {Private, Auto, false}, {Private, On, true}, {Public, Off, false}} {
		cfg := Default()
		cfg.Reachability, cfg.Relay = tc.reach, tc.relay
		i := p.island(t, cfg)
		hosttest.Until(t, "a decision", func() bool { r, _ := i.Reachability(); return r != network.ReachabilityUnknown })
		hosttest.Until(t, "relaying as configured", func() bool { return i.Relaying() == tc.want })
	}
}

// TestDialBackPassesTheGate: AutoNAT's dial-back comes under a member's key.
func TestDialBackPassesTheGate(t *testing.T) {
	var p place
	cfg := Default()
	a := p.island(t, cfg, func(r *Reach) { r.probe.private = true })
	b := p.island(t, cfg, func(r *Reach) { r.probe.private = true })
	hosttest.Connect(t, a.Host, b.Host)
	want := string(overTCP(a).Bytes())
	hosttest.Until(t, "a dial-back's verdict", func() bool { return a.probe.known()[want] })
}

func TestPunchOnOneMachine(t *testing.T) {
	var p place
	relay := p.island(t, relaying())
	p.offer(Candidate{ID: relay.ID()})
	cfg := hidden()
	cfg.Punch = true
	a, b := p.island(t, cfg), p.island(t, cfg)
	hosttest.Connect(t, a.Host, relay.Host)
	hosttest.Connect(t, b.Host, relay.Host)
	hosttest.Until(t, "both able to punch", func() bool { return a.punch.service(false) != nil && b.punch.service(false) != nil })
	meet(t, b, a)
	a.PunchNow("")
	hosttest.Until(t, "a direct connection", func() bool {
		return a.Path(b.ID()).Direct && b.Path(a.ID()).Direct
	})
	if why := b.Why(a.ID()); why != "" {
		t.Errorf("a direct path has the reason %q for not being so", why)
	}
}
