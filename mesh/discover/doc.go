// Package discover gets members' addresses known and keeps the right ones connected.
//
// In: the roster with regions and addresses, static addresses from the
// configuration, mDNS on the local network, a Kademlia DHT under the network's
// own prefix. Out: connections: to all members of a small network, to a few
// well-chosen ones of a large network, and to anybody on demand.
//
// Guaranteed:
//   - Only members are dialled, kept in the DHT's table or asked by it; what mDNS
//     or another member says about others is dropped unread.
//   - The connections that all islands choose together form one connected graph
//     with a short way to every region; one island that joins or leaves changes
//     the choice of few others.
//   - A failed dial is tried again after a jittered, growing wait that ends when
//     the roster, the addresses or the network change.
//   - Only surplus connections that this island itself opened are closed again,
//     after they were idle for Config.IdleFor.
//   - Run leaves no goroutine of this package behind.
package discover
