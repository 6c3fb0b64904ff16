//go:build linux

package lab

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestNATMapsAndFilters(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind            Kind
		oneMapping      bool // for all destinations
		strangerGetsIn  bool
		samePortOutside bool
	}{
		{Cone, true, true, true},
		{PortRestricted, true, false, true},
		{Symmetric, false, false, false},
	} {
		t.Run(string(tc.kind), func(t *testing.T) {
			t.Parallel()
			l := New(t)
			one, two, stranger := l.Public("one", LinkOptions{}), l.Public("two", LinkOptions{}), l.Public("stranger", LinkOptions{})
			box := l.NAT("box", tc.kind, LinkOptions{})
			host := box.Node("host")
			atOne, atTwo := reflector(t, one), reflector(t, two)
			conn := socket(t, host)
			local := uint16(conn.LocalAddr().(*net.UDPAddr).Port)

			first := mustReach(t, conn, atOne, "first destination")
			second := mustReach(t, conn, atTwo, "second destination")
			if first.Addr() != box.Addr() || second.Addr() != box.Addr() || host.SeenFrom() != box.Addr() {
				t.Fatalf("seen from %v and %v, SeenFrom %v: want the box's %v", first, second, host.SeenFrom(), box.Addr())
			}
			if again := mustReach(t, conn, atOne, "again"); again != first {
				t.Errorf("mapping to one destination moved from %v to %v", first, again)
			}
			if (first == second) != tc.oneMapping {
				t.Errorf("seen as %v and %v: one mapping for all is %v, want %v", first, second, first == second, tc.oneMapping)
			}
			if (first.Port() == local) != tc.samePortOutside {
				t.Errorf("port %d is %d outside: kept is %v, want %v", local, first.Port(), first.Port() == local, tc.samePortOutside)
			}
			patience := answered
			if !tc.strangerGetsIn {
				patience = silence
			}
			if got := hears(t, conn, socket(t, stranger), first, patience); got != tc.strangerGetsIn {
				t.Errorf("a stranger's packet gets in: %v, want %v", got, tc.strangerGetsIn)
			}
			unmapped := netip.AddrPortFrom(box.Addr(), 9)
			if hears(t, conn, socket(t, stranger), unmapped, silence) {
				t.Error("a packet to a port without mapping got in")
			}
			box.Forget()
			if hears(t, conn, socket(t, stranger), first, silence) {
				t.Error("a mapping lives on after Forget")
			}
			mustReach(t, conn, atOne, "after Forget")
		})
	}
}

// Two hosts with one source port: a cone must keep both mappings apart, and each
// the same for every destination.
func TestConeKeepsCollidingPortsApart(t *testing.T) {
	t.Parallel()
	l := New(t)
	one, two, stranger := l.Public("one", LinkOptions{}), l.Public("two", LinkOptions{}), l.Public("stranger", LinkOptions{})
	box := l.NAT("box", Cone, LinkOptions{})
	// Both talk to the same far end, so that the kernel must choose another port.
	targets := []netip.AddrPort{reflector(t, one), reflector(t, two)}
	var mapped []netip.AddrPort
	for _, name := range []string{"a", "b"} {
		conn, err := box.Node(name).ListenPacket("udp", ":4001")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		first, second := mustReach(t, conn, targets[0], name), mustReach(t, conn, targets[1], name)
		if first != second {
			t.Errorf("host %s is %v to one and %v to the other", name, first, second)
		}
		mapped = append(mapped, first)
		if !hears(t, conn, socket(t, stranger), first, answered) {
			t.Errorf("host %s does not hear a stranger at %v", name, first)
		}
	}
	if mapped[0] == mapped[1] {
		t.Errorf("both hosts are %v", mapped[0])
	}
}

func TestHolePunching(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b Kind
		want bool
	}{
		{PortRestricted, PortRestricted, true},
		{Cone, Symmetric, true},
		{PortRestricted, Symmetric, false},
		{Symmetric, Symmetric, false},
	} {
		t.Run(string(tc.a)+" to "+string(tc.b), func(t *testing.T) {
			t.Parallel()
			l := New(t)
			at := reflector(t, l.Public("stun", LinkOptions{}))
			a := socket(t, l.NAT("box-a", tc.a, LinkOptions{}).Node("a"))
			b := socket(t, l.NAT("box-b", tc.b, LinkOptions{}).Node("b"))
			seenA, seenB := mustReach(t, a, at, "a"), mustReach(t, b, at, "b")
			// The first packet of each side opens its own box.
			hears(t, b, a, seenB, silence)
			got := hears(t, a, b, seenA, silence)
			if got != tc.want {
				t.Errorf("a hole was punched: %v, want %v", got, tc.want)
			}
		})
	}
}

func TestForwardLetsStrangersIn(t *testing.T) {
	t.Parallel()
	l := New(t)
	stranger := l.Public("stranger", LinkOptions{})
	box := l.NAT("box", Symmetric, LinkOptions{})
	host := box.Node("host")
	reflector(t, host)
	serveTCP(t, host)
	conn := socket(t, stranger)
	udp, tcp := netip.AddrPortFrom(box.Addr(), 3478), netip.AddrPortFrom(box.Addr(), 80).String()
	mustNotReach(t, conn, udp, "not forwarded")
	box.Forward(host, 3478)
	box.Forward(host, 80)
	mustReach(t, conn, udp, "forwarded")
	if !dials(t, stranger, tcp, answered) {
		t.Error("TCP to a forwarded port does not connect")
	}
	box.Forget()
	mustReach(t, conn, udp, "forwarded, after Forget")
	mustNotReach(t, socket(t, box.Node("neighbour")), udp, "from behind the same box")
}

func TestMappingExpires(t *testing.T) {
	t.Parallel()
	l := New(t)
	one := l.Public("one", LinkOptions{})
	box := l.NAT("box", Symmetric, LinkOptions{})
	at := reflector(t, one)
	box.SetUDPTimeout(time.Second)
	conn := socket(t, box.Node("host"))
	first := mustReach(t, conn, at, "first")
	// Expiry is seen from outside: a fresh mapping has another port. Asking keeps a
	// mapping alive, so wait longer each time.
	for pause := 1200 * time.Millisecond; pause < 5*time.Second; pause *= 2 {
		timer := time.NewTimer(pause)
		<-timer.C
		if mustReach(t, conn, at, "later") != first {
			return
		}
	}
	t.Errorf("mapping %v outlives its timeout of 1s", first)
}

func TestHostsBehindOneBox(t *testing.T) {
	t.Parallel()
	l := New(t)
	public := l.Public("public", LinkOptions{IPv6: true})
	at := reflector(t, public)
	at6 := netip.AddrPortFrom(public.Addr6(), 3478)
	box := l.NAT("box", PortRestricted, LinkOptions{IPv6: true, Delay: 50 * time.Millisecond})
	hosts := []*Node{box.Node("h0")}
	for _, name := range []string{"h1", "h2", "h3"} {
		hosts = append(hosts, box.Node(name))
	}
	site := prefix(t, hosts[0].Addr6(), 56)
	inside := reflector(t, hosts[0])
	for _, h := range hosts[1:] {
		conn := socket(t, h)
		if seen := mustReach(t, conn, inside, "neighbour"); seen.Addr() != h.Addr() {
			t.Errorf("%s is %v to its neighbour, want %v", h.Name(), seen, h.Addr())
		}
		mustReach(t, conn, at, "over the box")
		if !site.Contains(h.Addr6()) {
			t.Errorf("%s has %v, outside of the /56 %v", h.Name(), h.Addr6(), site)
		}
		if seen := mustReach(t, conn, at6, "over the box, IPv6"); seen.Addr() != h.Addr6() {
			t.Errorf("%s is seen as %v over IPv6, want its own %v", h.Name(), seen, h.Addr6())
		}
	}
	mustNotReach(t, socket(t, public), netip.AddrPortFrom(hosts[0].Addr6(), 3478), "unasked over IPv6")
	before := hosts[1].Link().Counters()
	conn := socket(t, hosts[1])
	for range 10 {
		mustReach(t, conn, inside, "counted")
	}
	if got := hosts[1].Link().Counters().Sub(before); got.OutPackets < 10 || got.InPackets < 10 || got.OutBytes < 10*(28+19) || got.OutPackets > 20 {
		t.Errorf("10 questions and answers counted as %v", got)
	}
}

func TestTwoBoxesMayHaveTheSameLAN(t *testing.T) {
	t.Parallel()
	l := New(t)
	at := reflector(t, l.Public("public", LinkOptions{}))
	lan := netip.MustParsePrefix("192.168.1.0/24")
	for _, name := range []string{"home", "away"} {
		box := l.NAT(name, PortRestricted, LinkOptions{LAN: lan})
		host := box.Node(name + "-host")
		if host.Addr() != netip.MustParseAddr("192.168.1.2") {
			t.Errorf("host has %v, want 192.168.1.2", host.Addr())
		}
		if seen := mustReach(t, socket(t, host), at, name); seen.Addr() != box.Addr() {
			t.Errorf("seen as %v, want %v", seen, box.Addr())
		}
	}
}

// TestHostMoves carries a host to another box: its socket goes on, and is seen from
// there.
func TestHostMoves(t *testing.T) {
	t.Parallel()
	l := New(t)
	far := reflector(t, l.Public("far", LinkOptions{}))
	cafe, home := l.NAT("cafe", Symmetric, LinkOptions{}), l.NAT("home", PortRestricted, LinkOptions{})
	home.Node("other")
	host := cafe.Node("host")
	conn := socket(t, host)
	before, at := mustReach(t, conn, far, "in the café"), host.Addr()
	host.MoveTo(home)
	after := mustReach(t, conn, far, "at home")
	if before.Addr() != cafe.Addr() || after.Addr() != home.Addr() || host.SeenFrom() != home.Addr() {
		t.Errorf("seen from %v, then %v; SeenFrom is %v; want %v, then %v", before, after, host.SeenFrom(), cafe.Addr(), home.Addr())
	}
	if host.Addr() == at || host.Uplink() != home.Uplink() {
		t.Errorf("its address is %v, as before; its uplink that of home: %v", at, host.Uplink() == home.Uplink())
	}
	host.Link().Cut()
	mustNotReach(t, conn, far, "cut")
	host.Link().Heal()
	mustReach(t, conn, far, "healed")
}
