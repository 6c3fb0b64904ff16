//go:build linux

package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"syscall"
	"time"
)

// Node is a host: a network namespace with one address of its own.
type Node struct {
	lab          *Lab
	name         string
	space        *namespace
	addr, addr6  netip.Addr
	link, uplink *Link
	box          *NAT
}

// Public makes a host with a public address directly on the WAN.
func (l *Lab) Public(name string, o LinkOptions) *Node {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.public(name, o)
	if err != nil {
		l.t.Fatalf("make public host %s: %v", name, err)
	}
	return n
}

func (l *Lab) public(name string, o LinkOptions) (*Node, error) {
	o.IPv6 = o.IPv6 || o.Addr6.IsValid()
	if o.LAN.IsValid() {
		return nil, fmt.Errorf("lan is %v: only a NAT box has one", o.LAN)
	}
	space, err := l.space(name, o.IPv6, false)
	if err != nil {
		return nil, err
	}
	link, at, err := l.connect(name, space, o)
	if err != nil {
		return nil, err
	}
	return &Node{lab: l, name: name, space: space, addr: at.v4, addr6: at.v6, link: link, uplink: link}, nil
}

// Name returns the name that the node was made with.
func (n *Node) Name() string { return n.name }

// Namespace returns the name for `ip netns exec`.
func (n *Node) Namespace() string { return n.space.name }

// Addr returns the IPv4 address on the node's interface: behind a NAT box the
// private one.
func (n *Node) Addr() netip.Addr { return n.addr }

// Addr6 returns the IPv6 address, the zero Addr without one.
func (n *Node) Addr6() netip.Addr { return n.addr6 }

// MoreAddr6 gives a host behind a NAT box with IPv6 further addresses of its LAN's
// /64, and returns them. Many islands may so be neighbours on one host: the kernel
// keeps a thousand IPv6 neighbours, of all hosts of all labs together.
func (n *Node) MoreAddr6(count int) []netip.Addr {
	n.lab.t.Helper()
	if n.box == nil || !n.addr6.IsValid() {
		n.lab.t.Fatalf("give %s more IPv6 addresses: it is not behind a NAT box with IPv6", n.name)
		return nil
	}
	var lines []string
	var out []netip.Addr
	for i := range count {
		// Far from what the box gives to its hosts.
		b := n.addr6.As16()
		b[12], b[13] = byte((i+1)>>8), byte(i+1)
		out = append(out, netip.AddrFrom16(b))
		lines = append(lines, fmt.Sprintf("addr add %v/64 dev eth0 nodad", out[i]))
	}
	if err := n.space.batch(lines...); err != nil {
		n.lab.t.Fatalf("give %s more IPv6 addresses: %v", n.name, err)
	}
	return out
}

// SeenFrom returns the IPv4 address that the WAN sees: behind a NAT box the box's.
// It is the zero Addr on a LAN without an uplink.
func (n *Node) SeenFrom() netip.Addr {
	switch {
	case n.box != nil:
		return n.box.Addr()
	case n.uplink != nil:
		return n.addr
	}
	return netip.Addr{}
}

// Link returns what the node itself hangs on: the WAN or its LAN.
func (n *Node) Link() *Link { return n.link }

// Uplink returns the link to the WAN: behind a NAT box the box's, on a LAN nil.
func (n *Node) Uplink() *Link { return n.uplink }

// Command returns a command that runs in the node's namespace. Its standard
// output and error are the caller's to set. It is killed when ctx ends, when the
// lab is closed and when this process dies; also when the thread dies that started
// it, so no goroutine may end while it is locked to one. /sys is that of the namespace, so
// control groups are not to be seen in it.
func (n *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	path, lookErr := exec.LookPath(name)
	if lookErr != nil {
		path = name
	}
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.space.name, path}, args...)...)
	if lookErr != nil && cmd.Err == nil {
		cmd.Err = lookErr
	}
	// A group of its own keeps Ctrl-C with the one who decides about the order of
	// stopping. ip replaces itself by the program, which keeps the death signal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// Grandchildren may hold the output open after a kill.
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Run runs fn on the calling goroutine with its thread in the node's namespace.
// fn may panic or end the test. Sockets and processes made by goroutines that fn
// starts belong to the machine's own namespace: see the package doc.
func (n *Node) Run(fn func()) {
	n.lab.t.Helper()
	if err := n.space.within(func() error { fn(); return nil }); err != nil {
		n.lab.t.Fatalf("run code in %s: %v", n.name, err)
	}
}

// Dial connects from the node to an IP address and port, as net.Dialer does.
func (n *Node) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := literal(address); err != nil {
		return nil, fmt.Errorf("dial %s from %s: %w", address, n.name, err)
	}
	var conn net.Conn
	err := n.space.within(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on the node, at an IP address and port or at ":port".
func (n *Node) Listen(network, address string) (net.Listener, error) {
	if err := literal(address); err != nil {
		return nil, fmt.Errorf("listen at %s on %s: %w", address, n.name, err)
	}
	var ln net.Listener
	err := n.space.within(func() (err error) {
		ln, err = net.Listen(network, address)
		return err
	})
	return ln, err
}

// ListenPacket opens a UDP socket on the node, at an IP address and port or at ":port".
func (n *Node) ListenPacket(network, address string) (net.PacketConn, error) {
	if err := literal(address); err != nil {
		return nil, fmt.Errorf("listen at %s on %s: %w", address, n.name, err)
	}
	var conn net.PacketConn
	err := n.space.within(func() (err error) {
		conn, err = net.ListenPacket(network, address)
		return err
	})
	return conn, err
}

// literal refuses names: the resolver asks from goroutines, and so from threads, of
// its own.
func literal(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if host == "" {
		return nil
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return fmt.Errorf("host is %q: names cannot be resolved in a lab, use an IP address", host)
	}
	return nil
}

// HTTPClient returns a client whose connections start at the node; it asks no
// proxy. Idle connections are closed with the lab.
func (n *Node) HTTPClient() *http.Client {
	transport := &http.Transport{DialContext: n.Dial, ForceAttemptHTTP2: true}
	n.lab.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
