// Package gossip tells every member that something changed.
//
// In: small announcements of this island (hints, at most MaxBytes), and a
// function that says who is a member. Out: the announcements of the others,
// each with the key of who wrote it, which is proved by a signature.
//
// Guaranteed:
//   - Only members are heard, forwarded and sent to: as neighbour and as author.
//   - What one author, or one neighbour, can make this island do is bounded:
//     above the rate messages are dropped and counted, whoever forwards them.
//   - An announcement is a hint: it may be lost, come twice (after SeenFor) or
//     out of order. What it hints at is found by anti-entropy without it.
//   - Run leaves no goroutine of this package behind; those of libp2p's router
//     end with it, or with the host's connections.
//
// One topic per network carries announcements of changes only. Samples, heartbeats
// and documents themselves never travel here: each message costs every island
// some 3 KB on the wire.
package gossip
