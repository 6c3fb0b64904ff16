// Package mesh is how islands reach each other: the only home of libp2p.
//
// In: the island's node key and certificate, the roster (a trust.State), gRPC
// services to serve, and a function that redeems invitations. Out: gRPC
// connections to any member by its key, announcements to and from all members,
// and what is known about each member: direct or relayed, over what, how fast,
// and why.
//
// Guaranteed:
//   - Who is not in the roster reaches nothing: a stranger's connection is
//     closed when the handshake has proved its key; the key of an invitation
//     reaches one stream of the join protocol and never becomes a peer.
//   - A member reaches ping, identify and the hello until its certificate is
//     accepted; with an expired one also those RPCs that are marked for it.
//   - TrustChanged closes the connections of who is no member any more before
//     it returns, but for a last word of at most a quarter of a second.
//   - No call waits for a dead path: where bytes are owed for two seconds the
//     connection is probed, and closed when it does not answer.
//   - Run leaves no goroutine of this package behind.
package mesh
