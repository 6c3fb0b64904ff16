package gate

import (
	"fmt"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
)

func at(p *Pressure, clock *time.Time) { p.now = func() time.Time { return *clock } }

func addr(text string) ma.Multiaddr { return ma.StringCast(text) }

// try begins and ends n handshakes from an address and counts those allowed.
func try(p *Pressure, a ma.Multiaddr, n int) (allowed int) {
	for range n {
		if p.Begin(a) {
			p.End(a)
			allowed++
		}
	}
	return allowed
}

func TestStrangersSlowDown(t *testing.T) {
	clock := time.Unix(1e9, 0)
	p := NewPressure()
	at(p, &clock)
	a, b := addr("/ip4/11.0.0.1/tcp/1"), addr("/ip4/11.0.0.2/tcp/1")
	if n := try(p, a, 1000); n != strangerBurst {
		t.Errorf("%d connections at once, want %d", n, strangerBurst)
	}
	clock = clock.Add(10 * time.Second)
	if n := try(p, a, 1000); n != 10*strangerPerSecond {
		t.Errorf("%d connections in 10 s, want %d", n, 10*strangerPerSecond)
	}
	if n := try(p, b, 10); n != 10 {
		t.Errorf("another address may begin %d of 10", n)
	}
	if !p.Suspicious(a) || p.Suspicious(b) {
		t.Error("the busy address is not the suspicious one")
	}
}

func TestMembersGetTheirTokensBack(t *testing.T) {
	clock := time.Unix(1e9, 0)
	p := NewPressure()
	at(p, &clock)
	a := addr("/ip4/11.0.0.1/udp/1/quic-v1")
	for i := range 10 * memberBurst {
		if !p.Begin(a) {
			t.Fatalf("member connection %d is refused", i)
		}
		p.Admitted(a)
		p.End(a)
	}
	clock = clock.Add(time.Minute)
	if n := try(p, a, 5000); n != memberBurst {
		t.Errorf("where members are, %d strangers' connections at once, want %d", n, memberBurst)
	}
	clock = clock.Add(memberMemory + time.Hour)
	if n := try(p, a, 5000); n != strangerBurst {
		t.Errorf("long after the last member, %d, want %d", n, strangerBurst)
	}
}

func TestHandshakesAtOnce(t *testing.T) {
	p := NewPressure()
	a := addr("/ip6/2001:db8:0:1::1/tcp/1")
	n := 0
	for i := range 1000 {
		// one site has a /56 of addresses
		if p.Begin(addr(fmt.Sprintf("/ip6/2001:db8:0:%x::%x/tcp/1", i%200, i+1))) {
			n++
		}
	}
	if n != handshakesPerIP || p.Ongoing() != n {
		t.Errorf("%d handshakes at once (%d counted), want %d", n, p.Ongoing(), handshakesPerIP)
	}
	for range n {
		p.End(a)
	}
	if p.Ongoing() != 0 || !p.Begin(a) {
		t.Error("ended handshakes keep their places")
	}
}

func TestSourcesAreBounded(t *testing.T) {
	clock := time.Unix(1e9, 0)
	p := NewPressure()
	at(p, &clock)
	for i := range 3 * maxSources {
		try(p, addr(fmt.Sprintf("/ip4/11.%d.%d.%d/tcp/1", i>>16, i>>8&255, i&255)), 1)
	}
	if n := len(p.sources); n > maxSources+1 {
		t.Errorf("%d sources are kept, at most %d", n, maxSources+1)
	}
	clock = clock.Add(time.Hour)
	try(p, addr("/ip4/12.0.0.1/tcp/1"), 1)
	if n := len(p.sources); n > 3 {
		t.Errorf("%d sources are kept after an hour of silence", n)
	}
}
