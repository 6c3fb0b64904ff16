// Package guard decides what may be probed, so that nobody can turn the islands of a
// network into a scanner of each other's networks.
//
// In: lists of addresses and names that an operator allows and denies, and who asks:
// a definition, or somebody at this moment. Out: the Dialer and Resolver of probes,
// and errors for which errors.Is(err, protocol.ErrDenied) holds.
//
// Guaranteed: an address is judged when the kernel is about to connect to it, so
// neither a redirect nor a name that changes its address gets past. Without lists
// nothing is reached that is loopback, link-local, private, shared (100.64.0.0/10),
// multicast, reserved or broadcast, nor what hides one of those in an address of
// IPv6. Metadata services of clouds, multicast, reserved addresses and the island's
// own mesh are not reached whatever the lists say.
package guard
