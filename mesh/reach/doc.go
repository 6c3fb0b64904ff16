// Package reach knows which path there is to this island and from it to others.
//
// In: the host, the configuration, who may relay, which members offered to relay.
// Out: whether this island is reachable (told on the host's event bus), the
// addresses to advertise, a relay service for members, reservations with other
// members' relays, direct connections through NATs, and for every peer the path
// in use and, where it is relayed, why, in words.
//
// Guaranteed:
//   - The first decision falls when Run begins, without waiting for probes; later
//     evidence (what peers observe, dial-backs by AutoNAT v2) only revises it.
//   - Relaying is for members that Permit names; it has no limit of bytes or time
//     per connection, and all of it together keeps to Config.RelayRate.
//   - A reservation that is lost is replaced at once while another relay is known.
//   - Hole punching is tried again, after 1, 5, 15, then every 60 minutes (every 5
//     where there was a direct connection), and at once when a network changed:
//     here, or at the peer (PunchAnew); never when Config.Punch is false. One of
//     the two sides begins, the other one where that does not. What relays see of
//     this island over QUIC is asked for where they are connected over TCP.
//   - Run leaves no goroutine of this package behind.
//
// Who listens to what in go-libp2p v0.51.0: host.EvtLocalReachabilityChanged
// drives the address manager (private: public addresses make way for relayed
// ones), AutoRelay and its relay service. The latter two are not used: AutoRelay
// never advertises a relay that has private addresses only, keeps reservations of
// a relay that restarted its service, and picks at random. AutoNAT v2 of
// libp2p.EnableAutoNATv2 dials back under a random key, which members-only gates
// refuse; here it dials back under the island's own key.
package reach
