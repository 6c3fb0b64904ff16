// Package lab is the network that integration tests run in: Linux network
// namespaces joined by veth pairs, NAT boxes and a user-space wide area network
// with delay, jitter, loss, rate and cut.
//
// In: a test (New) or a command (Up), and calls that add hosts, NAT boxes and
// LANs. Out: Nodes, in whose namespaces code and processes run, and Links, whose
// behaviour can be changed and measured while they do.
//
// Guaranteed: whatever a test does, nothing of a lab outlives it. At the end of
// the test, also by t.Fatal or panic, its processes are killed and its
// namespaces removed; what a killed process leaves behind is swept by the next
// lab on the machine, which reads the owner's pid and start time from the name of
// the namespace. Nothing is ever created in the machine's own namespace, so labs
// may run side by side and reuse the same addresses. The WAN never delivers a
// packet earlier than the delays on its path say.
//
// # Topology
//
//	l := lab.New(t)
//	l.WAN(lab.WANOptions{}).SetDelay("eu", "us", 50*time.Millisecond)
//	relay := l.Public("relay", lab.LinkOptions{Region: "eu"})
//	home := l.NAT("home", lab.PortRestricted, lab.LinkOptions{Region: "us", Delay: 5 * time.Millisecond})
//	a, b := home.Node("a"), home.Node("b")
//	cmd := a.Command(t.Context(), "atoll", "run")
//	home.Link().Cut()
//
// The WAN is a router without a route to private addresses: each public host and
// each NAT box hangs on it by one TUN device, wan0. One way from a to b takes
// a.Delay + the distance of the two regions + b.Delay (and up to both jitters);
// a round trip takes twice that. Loss and Rate hold per link and direction. Behind
// a NAT box, and on a LAN, hosts hang on a kernel bridge by eth0: multicast works
// there, and their links can be cut, filtered and counted but not delayed; shape
// the uplink of the box.
//
// # What its users should know
//
//   - Addresses must look public (11.0.0.0/8, 2a0e::/16). go-libp2p never tries to
//     punch a hole while a host has no address that it holds for public, and it
//     holds documentation and benchmark ranges (203.0.113.0/24, 198.18.0.0/15,
//     2001:db8::/32) for private: no error, nothing happens.
//   - IPv6 is off unless LinkOptions.IPv6 asks for it, because a host with IPv6
//     has no NAT to cross and would hide what a NAT test is about. A NAT box with
//     IPv6 owns a /56 and lets no connection in, as home routers do.
//   - NAT boxes drop what is addressed to themselves. With an open INPUT chain an
//     early packet from the far side makes a connection-tracking entry on the box,
//     and the way out gets another port than the one that was announced.
//   - A box keeps its mappings between two phases of a test; NAT.Forget ends them.
//   - Between Cone and Symmetric a QUIC hole opens only if the side behind Symmetric
//     dials: the other one dials a port that was never meant for it.
//   - No box loops back (hairpins): hosts behind one box meet at their LAN
//     addresses only.
//   - A lost, filtered or cut packet vanishes silently, as on the Internet: the
//     sender sees time-outs, never "no route to host". This is why the WAN has no
//     ARP that could fail.
//   - Jitter does not reorder packets between two links unless Reorder is set.
//   - The WAN runs in a thread of this process, at real-time priority where that
//     is allowed. It must get a turn from the Go scheduler: put what loads the CPU
//     into processes (Node.Command), not into goroutines beside it.
//   - UDP has no backpressure: a flood that outruns the WAN's thread overflows the
//     queue of the TUN device (4,000 packets) and is lost there, uncounted.
//   - Sockets belong to the namespace of the thread that made them. Inside
//     Node.Run, code that starts goroutines makes their sockets elsewhere: a whole
//     libp2p host belongs in a process of its own, which may be the test binary
//     again: Node.Command(ctx, os.Args[0], "-test.run=^TestChild$").
//   - There is no name resolution: dial IP addresses.
//   - Time is the machine's. Node.StartWithClock gives one process a wall clock that
//     is off, and that can be made to jump; timers keep the true time, as they do
//     where somebody sets a clock.
//   - The kernel keeps 1,024 IPv6 neighbours in all namespaces together, and lets
//     packets vanish beyond them: 60 hosts on a LAN that talk to each other are too
//     many. Node.MoreAddr6 has fewer hosts stand for as many addresses.
//   - The congestion control of TCP is the machine's default and cannot be set per
//     namespace: state it with each throughput figure.
package lab
