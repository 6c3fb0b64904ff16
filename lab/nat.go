//go:build linux

package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Kind says how a NAT box maps and filters (RFC 4787).
type Kind string

// The kinds of NAT. All keep the port of the host where it is free, but Symmetric.
const (
	// Cone is a full cone: mapping and filtering are endpoint-independent. Once a
	// host has sent from a port, everybody may send to its mapping.
	Cone Kind = "cone"
	// PortRestricted is Linux masquerading: the mapping is endpoint-independent
	// while ports do not collide, and only an endpoint that was sent to may answer.
	PortRestricted Kind = "port-restricted"
	// Symmetric maps to a fresh random port for every destination; only that
	// destination may answer. Holes cannot be punched to another Symmetric or a
	// PortRestricted box.
	Symmetric Kind = "symmetric"
)

// defaultMappingTimeout is the kernel's for UDP that was answered.
const defaultMappingTimeout = 120 * time.Second

// NAT is a box with a public address on the WAN and a LAN behind it.
type NAT struct {
	*LAN
	kind Kind
	node *Node
	link *Link

	mu       sync.Mutex
	timeout  time.Duration
	forwards []netip.AddrPort
}

// NAT makes a box of the given kind on the WAN.
func (l *Lab) NAT(name string, kind Kind, o LinkOptions) *NAT {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.nat(name, kind, o)
	if err != nil {
		l.t.Fatalf("make NAT box %s: %v", name, err)
	}
	return n
}

func (l *Lab) nat(name string, kind Kind, o LinkOptions) (*NAT, error) {
	switch kind {
	case Cone, PortRestricted, Symmetric:
	default:
		return nil, fmt.Errorf("kind is %q: use %s, %s or %s", kind, Cone, PortRestricted, Symmetric)
	}
	o.IPv6 = o.IPv6 || o.Addr6.IsValid()
	if !o.LAN.IsValid() {
		o.LAN = l.private()
	}
	if !o.LAN.Addr().Is4() || o.LAN.Bits() < 8 || o.LAN.Bits() > 28 {
		return nil, fmt.Errorf("lan is %v: it must be an IPv4 network of /8 to /28", o.LAN)
	}
	space, err := l.space(name, o.IPv6, true)
	if err != nil {
		return nil, err
	}
	link, at, err := l.connect(name, space, o)
	if err != nil {
		return nil, err
	}
	n := &NAT{
		LAN:  &LAN{lab: l, space: space, v4: o.LAN.Masked()},
		kind: kind, link: link, timeout: defaultMappingTimeout,
		node: &Node{lab: l, name: name, space: space, addr: at.v4, addr6: at.v6, link: link, uplink: link},
	}
	n.box = n
	if at.site.IsValid() {
		n.v6 = netip.PrefixFrom(at.site.Addr(), 64)
	}
	if err := n.bridge(true); err != nil {
		return nil, err
	}
	return n, n.apply()
}

// Name returns the name that the box was made with.
func (n *NAT) Name() string { return n.node.name }

// Kind returns how the box maps and filters.
func (n *NAT) Kind() Kind { return n.kind }

// Addr returns the public IPv4 address of the box.
func (n *NAT) Addr() netip.Addr { return n.node.addr }

// Link returns the link to the WAN.
func (n *NAT) Link() *Link { return n.link }

// Uplink returns the link to the WAN.
func (n *NAT) Uplink() *Link { return n.link }

// Box returns the box itself as a host, to look inside.
func (n *NAT) Box() *Node { return n.node }

// Forward lets everybody reach a port of a host behind the box, over TCP and UDP,
// at the same port of the box.
func (n *NAT) Forward(to *Node, port uint16) {
	n.lab.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if to.box != n {
		n.lab.t.Fatalf("forward port %d of %s: %s is not behind it", port, n.Name(), to.name)
		return
	}
	target := netip.AddrPortFrom(to.addr, port)
	n.forwards = append(n.forwards, target)
	if err := n.space.nft("insert rule ip nat pre " + forwardRule(target)); err != nil {
		n.lab.t.Fatalf("forward port %d of %s: %v", port, n.Name(), err)
	}
}

func forwardRule(to netip.AddrPort) string {
	return fmt.Sprintf("iifname \"wan0\" meta l4proto { tcp, udp } th dport %d dnat to %v\n", to.Port(), to.Addr())
}

// Forget ends all mappings, as a restart of the box does. Connections over it
// break: what comes in for them is dropped, what goes out gets a new mapping.
func (n *NAT) Forget() {
	n.lab.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.apply(); err != nil {
		n.lab.t.Fatalf("forget the mappings of %s: %v", n.Name(), err)
	}
}

// SetUDPTimeout sets how long a UDP mapping lives without a packet, in whole
// seconds, and ends all mappings. The default is 120 s (30 s until the second
// answer), the kernel's.
func (n *NAT) SetUDPTimeout(d time.Duration) {
	n.lab.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	seconds := fmt.Sprint(int(d / time.Second))
	if d < time.Second {
		n.lab.t.Fatalf("set the UDP timeout of %s: %v is less than 1s", n.Name(), d)
		return
	}
	n.timeout = d
	err := errors.Join(
		n.space.set("net/netfilter/nf_conntrack_udp_timeout", seconds),
		n.space.set("net/netfilter/nf_conntrack_udp_timeout_stream", seconds),
		n.apply(),
	)
	if err != nil {
		n.lab.t.Fatalf("set the UDP timeout of %s: %v", n.Name(), err)
	}
}

// apply replaces the rules and ends all mappings.
func (n *NAT) apply() error {
	if err := n.space.nft(n.rules()); err != nil {
		return err
	}
	return n.space.within(flushConntrack)
}

// rules of nft 1.0.6 and later, which wants newlines before closing braces.
//
// A full cone is not in the kernel. Two maps make one: after masquerading, learn
// notes under which port a host's port went out; from then on post gives that
// port to every destination, and pre sends what arrives at it to the host.
func (n *NAT) rules() string {
	var b strings.Builder
	b.WriteString("flush ruleset\ntable ip nat {\n")
	masquerade, inward, outward := "masquerade", "", ""
	switch n.kind {
	case Symmetric:
		masquerade = "masquerade fully-random"
	case Cone:
		inward = "iifname \"wan0\" dnat to meta l4proto . th dport map @inward"
		outward = "oifname \"wan0\" snat to meta l4proto . ip saddr . th sport map @outward"
		options := fmt.Sprintf("  flags dynamic,timeout\n  timeout %ds\n  size 65535\n }\n", int(n.timeout/time.Second))
		b.WriteString(" map outward {\n  typeof meta l4proto . ip saddr . th sport : ip saddr . th sport\n" + options)
		b.WriteString(" map inward {\n  typeof meta l4proto . th dport : ip daddr . th dport\n" + options)
		b.WriteString(` chain learn {
  type filter hook postrouting priority 110
  oifname != "wan0" accept
  ct direction reply accept
  meta l4proto { tcp, udp } update @inward { meta l4proto . th sport : ct original ip saddr . ct original proto-src }
  meta l4proto { tcp, udp } update @outward { meta l4proto . ct original ip saddr . ct original proto-src : ip saddr . th sport }
 }
`)
	}
	b.WriteString(" chain pre {\n  type nat hook prerouting priority dstnat\n")
	for _, f := range n.forwards {
		b.WriteString("  " + forwardRule(f))
	}
	fmt.Fprintf(&b, "  %s\n }\n chain post {\n  type nat hook postrouting priority srcnat\n  %s\n  oifname \"wan0\" %s\n }\n}\n",
		inward, outward, masquerade)
	b.WriteString(`table inet flt {
 chain inp {
  type filter hook input priority filter; policy accept;
  iifname "wan0" ct state established,related accept
  iifname "wan0" drop
 }
 chain forw {
  type filter hook forward priority filter; policy accept;
  iifname "wan0" ct state established,related accept
  iifname "wan0" ct status dnat accept
  iifname "wan0" drop
 }
}
`)
	return b.String()
}

// flushConntrack empties the connection-tracking table of the calling thread's
// namespace, as `conntrack -F` does.
func flushConntrack() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("flush connection tracking: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	const (
		deleteConntrack = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE
		length          = unix.SizeofNlMsghdr + 4           // and a nfgenmsg
	)
	var msg [length]byte // zero: of all families
	binary.NativeEndian.PutUint32(msg[0:], length)
	binary.NativeEndian.PutUint16(msg[4:], deleteConntrack)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if err := unix.Sendto(fd, msg[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("flush connection tracking: %w", err)
	}
	var answer [256]byte
	n, _, err := unix.Recvfrom(fd, answer[:], 0)
	if err == nil && n >= unix.SizeofNlMsghdr+4 {
		if errno := -int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); errno != 0 {
			err = unix.Errno(errno)
		}
	}
	if err != nil {
		return fmt.Errorf("flush connection tracking: %w", err)
	}
	return nil
}
