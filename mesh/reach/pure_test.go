package reach

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func addrs(list ...string) []ma.Multiaddr {
	out := make([]ma.Multiaddr, 0, len(list))
	for _, s := range list {
		out = append(out, ma.StringCast(s))
	}
	return out
}

func TestDecide(t *testing.T) {
	const (
		pub     = "/ip4/11.0.0.7/tcp/59443"
		pub6    = "/ip6/2600::7/tcp/59443"
		lan     = "/ip4/10.1.0.2/tcp/59443"
		outside = "/ip4/11.9.9.9/tcp/59443"
	)
	key := func(s string) string { return string(ma.StringCast(s).Bytes()) }
	nat := map[family]nat{{proto: "tcp"}: natCone}
	for _, tc := range []struct {
		name string
		e    evidence
		want network.Reachability
		why  string
		tell string // an address that is told to others
		hide string // and one that is not
	}{
		{"public interface", evidence{config: Auto, own: addrs(pub, lan)}, network.ReachabilityPublic, "public address", pub, ""},
		{"public interface, dial-backs fail", evidence{config: Auto, own: addrs(pub), verdicts: map[string]bool{key(pub): false}},
			network.ReachabilityPrivate, "dial-backs reached none", "", pub},
		{"private interface", evidence{config: Auto, own: addrs(lan)}, network.ReachabilityPrivate, "no interface", lan, ""},
		{"NAT seen", evidence{config: Auto, own: addrs(lan), nats: nat, observed: addrs(outside)}, network.ReachabilityPrivate, "NAT", lan, outside},
		{"NAT seen beside a public interface", evidence{config: Auto, own: addrs(pub), nats: nat}, network.ReachabilityPrivate, "NAT", "", ""},
		{"port forward found", evidence{config: Auto, own: addrs(lan), nats: nat, observed: addrs(outside), verdicts: map[string]bool{key(outside): true}},
			network.ReachabilityPublic, "dial-back", outside, ""},
		{"announced", evidence{config: Auto, own: addrs(lan), nats: nat, announce: addrs("/dns/site.example/tcp/59443")},
			network.ReachabilityPublic, "announces", "/dns/site.example/tcp/59443", ""},
		{"announced instead of an interface", evidence{config: Auto, own: addrs(pub), announce: addrs("/ip4/11.3.3.3/tcp/1")},
			network.ReachabilityPublic, "announces", "/ip4/11.3.3.3/tcp/1", pub},
		{"IPv6 only to outside", evidence{config: Auto, own: addrs(lan, pub6)}, network.ReachabilityPrivate, "IPv6 only", pub6, ""},
		{"no IPv4 at all", evidence{config: Auto, own: addrs(pub6)}, network.ReachabilityPublic, "public address", pub6, ""},
		{"forced private", evidence{config: Private, own: addrs(pub)}, network.ReachabilityPrivate, "configuration", pub, ""},
		{"forced public", evidence{config: Public, own: addrs(lan)}, network.ReachabilityPublic, "configuration", lan, ""},
	} {
		d := decide(tc.e)
		if d.reach != tc.want || !strings.Contains(d.why, tc.why) {
			t.Errorf("%s: %v because %q, want %v because of %q", tc.name, d.reach, d.why, tc.want, tc.why)
		}
		told := fmt.Sprint(d.advertise(tc.e.own, tc.e.announce))
		if tc.tell != "" && !strings.Contains(told, tc.tell) {
			t.Errorf("%s: %s is not among what is told: %s", tc.name, tc.tell, told)
		}
		if tc.hide != "" && strings.Contains(told, tc.hide) {
			t.Errorf("%s: %s is told though it leads nowhere: %s", tc.name, tc.hide, told)
		}
	}
}

func TestNATFromObservations(t *testing.T) {
	ports := map[family]map[string]bool{{proto: "udp"}: {"59443": true}}
	own := addrs("/ip4/10.1.0.2/udp/59443/quic-v1")
	now := time.Now()
	type saw struct{ from, observed string }
	for _, tc := range []struct {
		name string
		seen []saw
		want nat
	}{
		{"nobody", nil, natUnknown},
		{"as we are", []saw{{"11.0.0.1", "10.1.0.2/udp/59443"}}, natNone},
		{"one observer", []saw{{"11.0.0.1", "11.5.5.5/udp/4711"}}, natCone},
		{"two agree", []saw{{"11.0.0.1", "11.5.5.5/udp/4711"}, {"11.0.0.2", "11.5.5.5/udp/4711"}}, natCone},
		{"two differ", []saw{{"11.0.0.1", "11.5.5.5/udp/4711"}, {"11.0.0.2", "11.5.5.5/udp/4712"}}, natSymmetric},
		{"one place changes its mind", []saw{{"11.0.0.1", "11.5.5.5/udp/4711"}, {"11.0.0.1", "11.5.5.5/udp/4712"}}, natCone},
		{"a neighbour sees none, the world does", []saw{{"10.1.0.9", "10.1.0.2/udp/59443"}, {"11.0.0.2", "11.5.5.5/udp/4712"}}, natCone},
	} {
		b := newBook()
		for i, s := range tc.seen {
			b.add(peer.ID([]byte{byte(i)}), ma.StringCast("/ip4/"+s.from+"/udp/1/quic-v1"), own[0],
				ma.StringCast("/ip4/"+s.observed+"/quic-v1"), ports, now)
		}
		if got := b.nats(own, now)[family{proto: "udp"}]; got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
		if got := b.nats(own, now.Add(2*observedFor))[family{proto: "udp"}]; got != natUnknown {
			t.Errorf("%s: old observations still say %v", tc.name, got)
		}
	}
}

func TestObservationsThatSayNothing(t *testing.T) {
	ports := map[family]map[string]bool{{proto: "tcp"}: {"59443": true}}
	remote := ma.StringCast("/ip4/11.0.0.1/tcp/59443")
	for name, a := range map[string][2]string{
		"socket that does not listen": {"/ip4/10.1.0.2/tcp/40000", "/ip4/11.5.5.5/tcp/40000"},
		"other transport":             {"/ip4/10.1.0.2/tcp/59443", "/ip4/11.5.5.5/udp/59443/quic-v1"},
		"other IP version":            {"/ip4/10.1.0.2/tcp/59443", "/ip6/2600::1/tcp/59443"},
		"loopback":                    {"/ip4/10.1.0.2/tcp/59443", "/ip4/127.0.0.1/tcp/59443"},
		"relayed":                     {"/ip4/10.1.0.2/tcp/59443", "/ip4/11.5.5.5/tcp/1/p2p-circuit"},
	} {
		b := newBook()
		if b.add("p", remote, ma.StringCast(a[0]), ma.StringCast(a[1]), ports, time.Now()) {
			t.Errorf("%s: believed", name)
		}
	}
	b := newBook()
	for i := range 2 * maxObservers {
		b.add(peer.ID([]byte{byte(i), byte(i >> 8)}), remote, ma.StringCast("/ip4/10.1.0.2/tcp/59443"), ma.StringCast("/ip4/11.5.5.5/tcp/7"), ports, time.Now())
	}
	if len(b.seen) != maxObservers {
		t.Errorf("book holds %d, want at most %d", len(b.seen), maxObservers)
	}
}

func TestWords(t *testing.T) {
	two := addrs("/ip4/11.0.0.1/udp/1/quic-v1", "/ip4/11.0.0.1/tcp/1")
	for _, tc := range []struct {
		row            row
		own            nat
		theirs, inward bool
		want           string
	}{
		{row{err: "aborted: didn't receive any public addresses in CONNECT"}, natCone, false, true, "no public address known for berlin"},
		{row{}, natCone, false, true, "punching has not been tried yet"},
		{row{}, natCone, false, false, "waiting for berlin to begin punching"},
		{row{attempts: 3, theirs: two[:1], err: "timeout"}, natCone, false, true, "punch failed 3 times over quic, last: timeout"},
		{row{attempts: 1, theirs: two, err: "a\n  * b\n  * c"}, natSymmetric, true, true,
			"both sides are behind symmetric NATs; punch failed once over quic and tcp, last: a * b"},
		{row{attempts: 3, theirs: two[:1], err: "x"}, natSymmetric, false, true, "this island is behind a symmetric NAT; punch failed 3 times over quic, last: x"},
		{row{attempts: 3, theirs: two[:1], err: "x"}, natCone, true, true, "berlin is behind a symmetric NAT; punch failed 3 times over quic, last: x"},
	} {
		if got := words("berlin", tc.row, tc.own, tc.theirs, tc.inward); got != tc.want {
			t.Errorf("got  %q\nwant %q", got, tc.want)
		}
	}
	if !symmetricPorts(addrs("/ip4/11.0.0.1/udp/1/quic-v1", "/ip4/11.0.0.1/udp/2/quic-v1")) || symmetricPorts(two) {
		t.Error("several ports of one transport must, and several transports must not, look symmetric")
	}
}

func TestVerdicts(t *testing.T) {
	a := ma.StringCast("/ip4/11.0.0.7/tcp/1")
	p := &prober{verdicts: map[string]*verdict{}}
	now := time.Now()
	no, yes := network.ReachabilityPrivate, network.ReachabilityPublic
	if p.note(a, no, nil, now) || len(p.known()) != 0 {
		t.Error("one failed dial-back was believed")
	}
	if !p.note(a, no, nil, now) || p.known()[string(a.Bytes())] {
		t.Error("two failed dial-backs were not believed")
	}
	if p.note(a, yes, network.ErrNoConn, now) {
		t.Error("an answer with an error was believed")
	}
	if !p.note(a, yes, nil, now) || !p.known()[string(a.Bytes())] {
		t.Error("a dial-back that came was not believed")
	}
	if p.note(a, no, nil, now) || !p.known()[string(a.Bytes())] {
		t.Error("one failure undid a success")
	}
}

func TestAnew(t *testing.T) {
	due := time.Now().Add(time.Hour)
	p := &puncher{kick: make(chan struct{}, 1), rows: map[peer.ID]*row{
		"in vain": {attempts: 3, step: 2, next: due}, "first": {next: due}, "at it": {attempts: 3, running: true, next: due},
	}}
	for _, id := range []peer.ID{"first", "unknown"} {
		p.anew(id)
		if r, known := p.row(id); len(p.kick) > 0 || known && !r.next.Equal(due) {
			t.Errorf("%s does not wait any more: %+v", id, r)
		}
	}
	p.anew("at it")
	if r, _ := p.row("at it"); !r.again {
		t.Error("news that came during an attempt are forgotten")
	}
	p.anew("in vain")
	if r, _ := p.row("in vain"); len(p.kick) == 0 || r.step != 0 || r.next.After(time.Now()) {
		t.Errorf("who failed before still waits: %+v", r)
	}
}

func TestWaitForNextAttempt(t *testing.T) {
	now := time.Now()
	var r row
	for i, want := range []struct {
		cut, again bool
		after      time.Duration
	}{
		{false, false, time.Minute},
		{true, false, punchTick},
		{true, false, punchTick},
		{true, false, punchTick},
		{true, false, 5 * time.Minute}, // it cannot punch
		{true, false, punchTick},
		{false, false, 15 * time.Minute},
		{false, false, time.Hour},
		{false, false, time.Hour},
		{false, true, 0},
		{false, false, time.Minute},
	} {
		r.again = want.again
		if r.wait(want.cut, now); r.next.Sub(now) != want.after || r.again {
			t.Errorf("attempt %d: next after %v, want %v; %+v", i, r.next.Sub(now), want.after, r)
		}
	}
}

// side is one end of a connection, of which only the direction is known.
type side struct {
	network.Conn
	direction network.Direction
}

func (s side) As(any) bool { return false }

func (s side) Stat() network.ConnStats {
	return network.ConnStats{Stats: network.Stats{Direction: s.direction}}
}

// TestTurn: of two islands one begins with punching at once, whoever connected to whom,
// and however often; where one end takes a dead connection into account, the other one
// begins in the end.
func TestTurn(t *testing.T) {
	in, out := side{direction: network.DirInbound}, side{direction: network.DirOutbound}
	type conns = []network.Conn
	const never = -1
	for _, tc := range []struct {
		a, b   conns
		aAfter time.Duration
		bAfter time.Duration
	}{
		{conns{in}, conns{out}, 0, never},
		{conns{out}, conns{in}, never, 0},
		{conns{out, out}, conns{in, in}, never, 0},
		{conns{in, out}, conns{out, in}, 0, secondTurn},
		{conns{out, in, in}, conns{in, out, out}, 0, secondTurn},
		{conns{out}, conns{in, out}, never, secondTurn},
		{nil, nil, never, never},
	} {
		for end, want := range map[string]time.Duration{"a": tc.aAfter, "b": tc.bAfter} {
			self, other, seen := peer.ID("a"), peer.ID("b"), tc.a
			if end == "b" {
				self, other, seen = other, self, tc.b
			}
			later, may := turn(self, other, seen)
			if may != (want != never) || may && later != want {
				t.Errorf("%s with %d connections: %t, after %s; want %s", end, len(seen), may, later, want)
			}
		}
	}
}

// TestWaitAfterADirectPath: where there was one, a further attempt is never far.
func TestWaitAfterADirectPath(t *testing.T) {
	now := time.Now()
	r := row{once: true}
	for i, want := range []time.Duration{time.Minute, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		if r.wait(false, now); r.next.Sub(now) != want {
			t.Errorf("attempt %d: next after %v, want %v", i, r.next.Sub(now), want)
		}
	}
}

// TestTheirAttemptCounts: an attempt that the other side makes puts off this island's,
// however many tries it is made of.
func TestTheirAttemptCounts(t *testing.T) {
	now := time.Now()
	r := row{next: now}
	for range 3 {
		r.follow(now)
		now = now.Add(punchTimeout)
	}
	if wait := r.next.Sub(now); wait < punchAfter[0]-time.Minute/2 || wait > punchAfter[0] || r.step != 1 {
		t.Errorf("the first attempt of the other side: next in %s, step %d", wait, r.step)
	}
	r.renew(now) // news
	if r.follow(now); r.next.Sub(now) <= punchTimeout || r.next.Sub(now) > secondTurn {
		t.Errorf("news during an attempt of the other side: next in %s, want after that try", r.next.Sub(now))
	}
	now = now.Add(punchAfter[0])
	if r.follow(now); r.next.Sub(now) != punchAfter[0] || r.step != 1 {
		t.Errorf("the attempt after the news: next in %s, step %d", r.next.Sub(now), r.step)
	}
}

func TestAsleep(t *testing.T) {
	if asleep(6*time.Second, 5*time.Second) || asleep(-time.Hour, time.Second) || !asleep(time.Hour, 5*time.Second) {
		t.Error("only a wall clock that ran ahead means sleep")
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	bad := Config{Reachability: "maybe", Relay: "yes", RelayRate: 1, Reservations: 0}
	err := bad.Validate()
	for _, field := range []string{"reachability", "relay:", "relay_rate", "reservations"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("no word about %s in: %v", field, err)
		}
	}
}
