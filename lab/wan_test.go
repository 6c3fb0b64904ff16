//go:build linux

package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// roundTrips returns n times, sorted.
func roundTrips(t *testing.T, from *Node, to netip.AddrPort, n int) []time.Duration {
	t.Helper()
	conn := socket(t, from)
	var times []time.Duration
	for range n {
		_, rtt, err := ask(conn, to, answered)
		if err != nil {
			t.Fatalf("ask %v from %s: %v", to, from.Name(), err)
		}
		times = append(times, rtt)
	}
	slices.Sort(times)
	return times
}

func wantRTT(t *testing.T, what string, times []time.Duration, want time.Duration) {
	t.Helper()
	lowest, median := times[0], times[len(times)/2]
	t.Logf("%s: set %v, min %v, median %v, max %v", what, want, lowest, median, times[len(times)-1])
	if lowest < want {
		t.Errorf("%s: a round trip took %v, less than the %v set", what, lowest, want)
	}
	// Bounded from above by the fastest: the asking and the answering goroutine run
	// at normal priority and take their own milliseconds on a busy machine.
	if most := want*3/2 + 5*time.Millisecond; lowest > most {
		t.Errorf("%s: no round trip took less than %v, want at most %v", what, lowest, most)
	}
}

// Not parallel, as all tests that bound a time from above: other labs' goroutines
// would compete for the same Go scheduler.
func TestRoundTripIsTwiceDelaysAndDistance(t *testing.T) {
	l := New(t)
	w := l.WAN(WANOptions{Seed: 1})
	w.SetDelay("eu", "us", 10*time.Millisecond)
	a := l.Public("a", LinkOptions{Region: "eu", Delay: 2 * time.Millisecond})
	b := l.Public("b", LinkOptions{Region: "us", Delay: 8 * time.Millisecond, IPv6: true})
	c := l.Public("c", LinkOptions{Region: "eu", Delay: 3 * time.Millisecond, IPv6: true})
	atB := reflector(t, b)
	reflector(t, c)
	wantRTT(t, "eu-us", roundTrips(t, a, atB, 30), 40*time.Millisecond)
	wantRTT(t, "eu-eu", roundTrips(t, a, netip.AddrPortFrom(c.Addr(), 3478), 30), 10*time.Millisecond)
	wantRTT(t, "eu-us over IPv6", roundTrips(t, c, netip.AddrPortFrom(b.Addr6(), 3478), 30), 42*time.Millisecond)
	b.Link().SetDelay(38 * time.Millisecond)
	wantRTT(t, "after SetDelay", roundTrips(t, a, atB, 10), 100*time.Millisecond)
	b.Link().SetDelay(0)
	b.Link().SetJitter(20 * time.Millisecond)
	times := roundTrips(t, a, atB, 40)
	wantRTT(t, "with jitter", times[:1], 24*time.Millisecond)
	// Two draws of 0 to 20 ms each: 40 times below 5 ms in sum has a chance under 1e-50.
	if most := times[len(times)-1]; most < 29*time.Millisecond {
		t.Errorf("slowest of %d round trips with 2 × 20 ms of jitter took %v", len(times), most)
	}
}

func TestAddressesLookPublic(t *testing.T) {
	t.Parallel()
	l := New(t)
	seen := map[netip.Prefix]string{}
	for i := range 12 {
		n := l.Public(fmt.Sprintf("p%d", i), LinkOptions{IPv6: true})
		for _, p := range []netip.Prefix{prefix(t, n.Addr(), 16), prefix(t, n.Addr6(), 32)} {
			if other, dup := seen[p]; dup {
				t.Errorf("%s and %s share %v", n.Name(), other, p)
			}
			seen[p] = n.Name()
		}
		if !netip.MustParsePrefix("11.0.0.0/8").Contains(n.Addr()) || !netip.MustParsePrefix("2a0e::/16").Contains(n.Addr6()) {
			t.Errorf("addresses %v, %v: want 11.0.0.0/8 and 2a0e::/16", n.Addr(), n.Addr6())
		}
	}
	fixed := l.Public("fixed", LinkOptions{Addr: netip.MustParseAddr("9.9.9.9"), Addr6: netip.MustParseAddr("2a0e:ffff::1")})
	if fixed.Addr().String() != "9.9.9.9" || fixed.Addr6().String() != "2a0e:ffff::1" {
		t.Errorf("addresses %v, %v: not the ones asked for", fixed.Addr(), fixed.Addr6())
	}
}

func prefix(t *testing.T, a netip.Addr, bits int) netip.Prefix {
	t.Helper()
	p, err := a.Prefix(bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLossIsAsOftenAsSet(t *testing.T) {
	t.Parallel()
	l := New(t)
	l.WAN(WANOptions{Seed: 7})
	a, b := l.Public("a", LinkOptions{}), l.Public("b", LinkOptions{})
	// Both links lose: 1 - 0.95 * 0.95 = 9.75 %.
	a.Link().SetLoss(0.05)
	b.Link().SetLoss(0.05)
	from, to := socket(t, a), socket(t, b)
	port := uint16(to.LocalAddr().(*net.UDPAddr).Port)
	target := net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.Addr(), port))
	const sent = 8000
	fate := func() (uint64, uint64) {
		c, d := a.Link().Counters(), b.Link().Counters()
		return c.Lost + d.Lost, d.InPackets
	}
	for i := range sent {
		if _, err := from.WriteTo([]byte("x"), target); err != nil {
			t.Fatal(err)
		}
		// Never more in flight than the device's queue holds.
		if i%200 == 199 {
			wait(t, func() bool { lost, in := fate(); return lost+in == uint64(i+1) })
		}
	}
	lost, arrived := fate()
	// Standard deviation 26.5: six of them either way.
	if lost < 780-160 || lost > 780+160 {
		t.Errorf("%d of %d packets lost, want about 780", lost, sent)
	}
	t.Logf("lost %d, arrived %d of %d", lost, arrived, sent)
	got := a.Link().Counters()
	if got.OutPackets != sent || got.OutBytes != sent*29 || got.InPackets != 0 {
		t.Errorf("counters of the sender %v: want out %d packets of 29 B, in 0", got, sent)
	}
}

// wait polls until ok.
func wait(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("what was waited for did not come within 10 s")
		}
	}
}

func TestRateIsALimit(t *testing.T) {
	l := New(t)
	const rate = 16_000_000
	a := l.Public("a", LinkOptions{Delay: time.Millisecond})
	b := l.Public("b", LinkOptions{Delay: time.Millisecond, Rate: rate})
	ln, err := a.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const size = 1_500_000
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write(make([]byte, size))
	}()
	start := time.Now()
	conn, err := b.Dial(within(t, answered), "tcp", netip.AddrPortFrom(a.Addr(), 80).String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := io.Copy(io.Discard, conn); n != size || err != nil {
		t.Fatalf("read %d bytes, %v; want %d", n, err, size)
	}
	took := time.Since(start)
	least := time.Duration(float64(size*8) / rate * float64(time.Second))
	t.Logf("%d bytes at %d bit/s took %v, at least %v", size, rate, took, least)
	if took < least {
		t.Errorf("%d bytes passed in %v, less than the %v of the rate", size, took, least)
	}
	if took > 4*least {
		t.Errorf("%d bytes took %v, four times the %v of the rate", size, took, least)
	}
}

func TestCutAndHeal(t *testing.T) {
	t.Parallel()
	l := New(t)
	far := l.Public("far", LinkOptions{})
	near := l.Public("near", LinkOptions{})
	box := l.NAT("box", PortRestricted, LinkOptions{})
	inside := box.Node("inside")
	at := reflector(t, far)
	for _, tc := range []struct {
		name string
		link *Link
		from *Node
	}{
		{"the asking host's link", near.Link(), near},
		{"the answering host's link", far.Link(), near},
		{"the box's uplink", box.Link(), inside},
		{"a link on a LAN", inside.Link(), inside},
	} {
		conn := socket(t, tc.from)
		mustReach(t, conn, at, tc.name+" whole")
		tc.link.Cut()
		mustNotReach(t, conn, at, tc.name+" cut")
		tc.link.Heal()
		mustReach(t, conn, at, tc.name+" healed")
	}
	far.Link().Cut()
	inside.Link().Cut()
	l.HealAll()
	mustReach(t, socket(t, inside), at, "all healed")
}

func TestBlockSwallowsWhatTheFilterTakes(t *testing.T) {
	t.Parallel()
	l := New(t)
	far, other := l.Public("far", LinkOptions{}), l.Public("other", LinkOptions{})
	box := l.NAT("box", PortRestricted, LinkOptions{})
	public, inside := l.Public("public", LinkOptions{}), box.Node("inside")
	atFar, atOther, tcp := reflector(t, far), reflector(t, other), serveTCP(t, far)
	for _, from := range []*Node{public, inside} {
		conn := socket(t, from)
		local := uint16(conn.LocalAddr().(*net.UDPAddr).Port)
		for _, tc := range []struct {
			filter                Filter
			udpFar, tcpFar, else_ bool
		}{
			{Filter{}, false, false, false},
			{Filter{Transport: UDP}, false, true, false},
			{Filter{Transport: TCP}, true, false, true},
			{Filter{Direction: In, Transport: UDP}, false, true, false},
			{Filter{Direction: Out, Transport: TCP}, true, false, true},
			{Filter{Remote: prefix(t, far.Addr(), 32)}, false, false, true},
			{Filter{RemotePort: 80}, true, false, true},
			{Filter{Direction: Out, LocalPort: local}, false, true, false},
			{Filter{Remote: prefix(t, other.Addr(), 16), RemotePort: 3478, Transport: UDP}, true, true, false},
		} {
			unblock := from.Link().Block(tc.filter)
			for _, probe := range []struct {
				what string
				want bool
				do   func(time.Duration) bool
			}{
				{"UDP to far", tc.udpFar, func(d time.Duration) bool { _, _, err := ask(conn, atFar, d); return err == nil }},
				{"TCP to far", tc.tcpFar, func(d time.Duration) bool { return dials(t, from, tcp, d) }},
				{"UDP to other", tc.else_, func(d time.Duration) bool { _, _, err := ask(conn, atOther, d); return err == nil }},
			} {
				patience := answered
				if !probe.want {
					patience = silence / 3
				}
				if got := probe.do(patience); got != probe.want {
					t.Errorf("%s with %+v: %s got through: %v, want %v", from.Name(), tc.filter, probe.what, got, probe.want)
				}
			}
			unblock()
		}
		mustReach(t, conn, atFar, "all unblocked")
	}
}

func TestPartition(t *testing.T) {
	t.Parallel()
	l := New(t)
	a, b, relay := l.Public("a", LinkOptions{}), l.Public("b", LinkOptions{}), l.Public("relay", LinkOptions{})
	box := l.NAT("box", Cone, LinkOptions{})
	inside := box.Node("inside")
	atA, atB, atRelay := reflector(t, a), reflector(t, b), reflector(t, relay)
	l.Partition([]Site{a, inside}, []Site{b})
	fromInside := socket(t, inside)
	mustReach(t, fromInside, atA, "same group")
	mustNotReach(t, fromInside, atB, "other group")
	mustNotReach(t, socket(t, b), atA, "other group")
	mustReach(t, fromInside, atRelay, "in no group")
	mustReach(t, socket(t, b), atRelay, "in no group")
	l.Partition([]Site{a}, []Site{box, b})
	mustReach(t, fromInside, atB, "same group now")
	mustNotReach(t, fromInside, atA, "other group now")
	l.HealAll()
	mustReach(t, fromInside, atA, "healed")
	mustReach(t, fromInside, atB, "healed")
}

func TestPrivateAndMulticastStayOffTheWAN(t *testing.T) {
	t.Parallel()
	l := New(t)
	a, b := l.Public("a", LinkOptions{}), l.NAT("box", Cone, LinkOptions{}).Node("b")
	at := reflector(t, b)
	conn := socket(t, a)
	mustNotReach(t, conn, at, "a private address")
	if got := a.Link().Counters(); got.Unroutable != 1 || got.OutPackets != 1 {
		t.Errorf("counters %v: want 1 packet out, 1 unroutable", got)
	}
	mustNotReach(t, conn, netip.MustParseAddrPort("224.0.0.251:5353"), "multicast")
	if got := a.Link().Counters(); got.OutPackets != 1 {
		t.Errorf("counters %v: multicast is counted", got)
	}
}
