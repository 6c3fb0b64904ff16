//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// LAN is an Ethernet segment with multicast, as mDNS needs it: a kernel bridge in
// a namespace, with one veth pair per host.
type LAN struct {
	lab   *Lab
	space *namespace
	v4    netip.Prefix // network; hosts have the second address and up
	v6    netip.Prefix // /64, not valid without IPv6
	hosts int
	box   *NAT
}

// LAN makes a segment without an uplink, in 10.0.0.0/8.
func (l *Lab) LAN(name string) *LAN {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	space, err := l.space(name, false, false)
	if err != nil {
		l.t.Fatalf("make LAN %s: %v", name, err)
		return nil
	}
	lan := &LAN{lab: l, space: space, v4: l.private()}
	if err := lan.bridge(false); err != nil {
		l.t.Fatalf("make LAN %s: %v", name, err)
	}
	return lan
}

// private returns a /24 that no other LAN of the lab was given.
func (l *Lab) private() netip.Prefix {
	l.lans++
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(l.lans >> 8), byte(l.lans), 0}), 24)
}

// bridge makes the segment; a gateway has its first address.
func (a *LAN) bridge(gateway bool) error {
	lines := []string{
		// Without a querier, snooping would lose multicast after some minutes.
		"link add lan0 type bridge forward_delay 0 mcast_snooping 0",
		// A bridge that is up before it has a live port gets its queue up to a second
		// after its first port, and until then the gateway's packets are lost.
		"link add keep0 type veth peer name keep1",
		"link set keep1 up",
		"link set keep0 master lan0 up",
		"link set lan0 up",
	}
	if gateway {
		lines = append(lines, fmt.Sprintf("addr add %v/%d dev lan0", nth(a.v4, 1), a.v4.Bits()))
		if a.v6.IsValid() {
			lines = append(lines, fmt.Sprintf("addr add %v/%d dev lan0 nodad", nth(a.v6, 1), a.v6.Bits()))
		}
	}
	return a.space.batch(lines...)
}

// nth returns the n-th address of a network, whose last bytes are zero.
func nth(network netip.Prefix, n int) netip.Addr {
	b := network.Masked().Addr().AsSlice()
	b[len(b)-1] += byte(n)
	b[len(b)-2] += byte(n >> 8)
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// Node makes a host on the segment.
func (a *LAN) Node(name string) *Node {
	a.lab.t.Helper()
	a.lab.mu.Lock()
	defer a.lab.mu.Unlock()
	n, err := a.node(name)
	if err != nil {
		a.lab.t.Fatalf("make host %s on a LAN: %v", name, err)
	}
	return n
}

func (a *LAN) node(name string) (*Node, error) {
	if err := a.room(); err != nil {
		return nil, err
	}
	space, err := a.lab.space(name, a.v6.IsValid(), false)
	if err != nil {
		return nil, err
	}
	n := &Node{lab: a.lab, name: name, space: space}
	return n, a.plug(n)
}

func (a *LAN) room() error {
	if room := 1<<(32-a.v4.Bits()) - 2; a.hosts+2 > room {
		return fmt.Errorf("the LAN %v has room for %d hosts: give the box a larger LinkOptions.LAN", a.v4, room-1)
	}
	return nil
}

// plug hangs a host without a link on the segment.
func (a *LAN) plug(n *Node) error {
	number := a.hosts + 2
	a.hosts++
	device := fmt.Sprintf("v%d", a.hosts)
	if err := a.space.batch(
		fmt.Sprintf("link add %s type veth peer name eth0 netns %s", device, n.space.name),
		fmt.Sprintf("link set %s master lan0 up", device),
	); err != nil {
		return err
	}
	n.addr, n.box = nth(a.v4, number), a.box
	up := []string{fmt.Sprintf("addr add %v/%d dev eth0", n.addr, a.v4.Bits()), "link set eth0 up"}
	gateway := a.box != nil
	if gateway {
		up = append(up, fmt.Sprintf("route add 0.0.0.0/0 via %v", nth(a.v4, 1)))
		n.uplink = a.box.link
	} else {
		// Multicast needs a route too.
		up = append(up, "route add 0.0.0.0/0 dev eth0")
	}
	if a.v6.IsValid() {
		n.addr6 = nth(a.v6, number)
		up = append(up, fmt.Sprintf("addr add %v/%d dev eth0 nodad", n.addr6, a.v6.Bits()),
			fmt.Sprintf("route add ::/0 via %v", nth(a.v6, 1)))
	}
	if err := n.space.batch(up...); err != nil {
		return err
	}
	if err := a.awaitCarrier(device); err != nil {
		return err
	}
	n.link = &Link{t: a.lab.t, name: n.name, wire: &cable{bridge: a.space, host: n.space, device: device}}
	a.lab.links = append(a.lab.links, n.link)
	return nil
}

// MoveTo takes a host from behind one NAT box to behind another, as a machine is
// carried to another network: its processes go on, its addresses are others, and
// what was under way to the old ones is lost. Link is another afterwards. Nothing
// else may use the node meanwhile.
func (n *Node) MoveTo(box *NAT) {
	n.lab.t.Helper()
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	if err := n.moveTo(box); err != nil {
		n.lab.t.Fatalf("move %s to %s: %v", n.name, box.Name(), err)
	}
}

func (n *Node) moveTo(box *NAT) error {
	if n.box == nil {
		return errors.New("it is not behind a NAT box")
	}
	if n.addr6.IsValid() != box.v6.IsValid() {
		return errors.New("one of the two boxes has IPv6, the other not")
	}
	if err := box.room(); err != nil {
		return err
	}
	if err := n.space.batch("link del eth0"); err != nil { // and its other end
		return err
	}
	n.lab.links = slices.DeleteFunc(n.lab.links, func(l *Link) bool { return l == n.link })
	return box.plug(n)
}

// awaitCarrier waits until the bridge forwards to a new host. The kernel notices
// some time after `link set up` that both ends of a cable are up, and until then
// swallows what passes: the loss of an ARP question costs a second, that of a
// multicast packet is final.
func (a *LAN) awaitCarrier(device string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		port, err := output("ip", "-n", a.space.name, "-d", "-o", "link", "show", "dev", device)
		if err != nil || strings.Contains(port, "state forwarding") {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for the bridge to forward to %s: not within 10s: %s", device, port)
		}
	}
}
