//go:build linux

package lab

import (
	"fmt"
	"net/netip"
	"time"
)

// WANOptions say how the wide area network behaves.
type WANOptions struct {
	// Seed of loss and jitter, so that a run can be repeated as far as timing allows.
	Seed uint64
}

// WAN is the emulated Internet of a lab.
type WAN struct {
	lab    *Lab
	fabric *fabric
	sites  int
}

// WAN makes the lab's wide area network. Public and NAT make one with default
// options where there is none; a lab has one at most.
func (l *Lab) WAN(o WANOptions) *WAN {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wan != nil {
		l.t.Fatalf("make a WAN: the lab has one; call WAN before Public and NAT, and once")
	}
	w, err := l.makeWAN(o)
	if err != nil {
		l.t.Fatalf("make a WAN: %v", err)
	}
	return w
}

func (l *Lab) makeWAN(o WANOptions) (*WAN, error) {
	if l.closed {
		return nil, fmt.Errorf("the lab is closed")
	}
	f, err := newFabric(o.Seed, l.t.Logf)
	if err != nil {
		return nil, err
	}
	l.wan = &WAN{lab: l, fabric: f}
	go f.run()
	return l.wan, nil
}

// SetDelay sets the distance of two regions, one way, each way. It comes on top
// of the delays of the access links; within one region (a == b) it holds too. Two
// regions without it are at one place.
func (w *WAN) SetDelay(a, b string, oneWay time.Duration) {
	w.lab.t.Helper()
	if oneWay < 0 {
		w.lab.t.Fatalf("set the delay of %s and %s: %v is negative", a, b, oneWay)
	}
	w.fabric.setDistance(a, b, oneWay)
}

func (w *WAN) stop() { w.fabric.stop() }

// connect hangs a namespace on the WAN by a device wan0 and returns its addresses.
func (l *Lab) connect(name string, s *namespace, o LinkOptions) (*Link, siteAddresses, error) {
	if l.wan == nil {
		if _, err := l.makeWAN(WANOptions{}); err != nil {
			return nil, siteAddresses{}, err
		}
	}
	sh, err := o.shape()
	if err != nil {
		return nil, siteAddresses{}, err
	}
	at, err := l.wan.addresses(o)
	if err != nil {
		return nil, at, err
	}
	var fd int
	if err := s.within(func() (err error) { fd, err = openTUN("wan0"); return err }); err != nil {
		return nil, at, err
	}
	// A longer queue than the default 500 keeps bursts of a whole window.
	up := []string{
		fmt.Sprintf("addr add %v/32 dev wan0", at.v4),
		"link set wan0 txqueuelen 4000 up",
		"route add 0.0.0.0/0 dev wan0",
	}
	routes := []netip.Prefix{netip.PrefixFrom(at.v4, 32)}
	if o.IPv6 {
		up = append(up, fmt.Sprintf("addr add %v/128 dev wan0 nodad", at.v6), "route add ::/0 dev wan0")
		routes = append(routes, netip.PrefixFrom(at.v6, 128))
	}
	if at.site.IsValid() {
		routes = append(routes, at.site)
	}
	p, err := l.wan.fabric.add(fd, sh, routes...)
	if err != nil {
		return nil, at, err
	}
	link := &Link{t: l.t, name: name, port: p}
	l.links = append(l.links, link)
	return link, at, s.batch(up...)
}

// siteAddresses are what one site has on the WAN.
type siteAddresses struct {
	v4, v6 netip.Addr
	// site is the /56 behind a NAT box with IPv6.
	site netip.Prefix
}

// addresses puts each site in an IPv4 /16 and an IPv6 /32 of its own, as sites of
// different providers are: diversity rules of a DHT count by them.
func (w *WAN) addresses(o LinkOptions) (siteAddresses, error) {
	n := w.sites
	w.sites++
	at := siteAddresses{v4: o.Addr}
	if !at.v4.IsValid() {
		at.v4 = netip.AddrFrom4([4]byte{11, byte(1 + n%250), byte(n / 250), 10})
	}
	if !at.v4.Is4() {
		return at, fmt.Errorf("addr is %v: it must be an IPv4 address", at.v4)
	}
	if !o.IPv6 {
		return at, nil
	}
	network := [16]byte{0: 0x2a, 1: 0x0e, 2: byte((n + 1) >> 8), 3: byte(n + 1)}
	at.v6 = o.Addr6
	if !at.v6.IsValid() {
		host := network
		host[15] = 0x10
		at.v6 = netip.AddrFrom16(host)
	}
	if !at.v6.Is6() || at.v6.Is4In6() {
		return at, fmt.Errorf("addr6 is %v: it must be an IPv6 address", at.v6)
	}
	network[6] = 1
	at.site = netip.PrefixFrom(netip.AddrFrom16(network), 56)
	return at, nil
}
