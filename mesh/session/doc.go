// Package session decides what each connected peer may do.
//
// In: connections with roster members, the hello that each side says on them,
// the roster, the clock. Out: a standing for each peer, which every stream asks.
//
// Standing belongs to the peer's key, which each connection's handshake proves,
// so a second connection of a peer waits for nothing:
//
//	pending      no hello yet: hello, ping and identify only
//	member       certificate in force: everything
//	quarantined  certificate expired: the above and the protocols named for it
//	refused      of another network or version, revoked, without a certificate
//
// Guaranteed: a stream of a protocol that its peer's standing does not allow is
// reset before its handler sees a byte; one that comes before the hello waits
// for it, in bounded number; a hello is read up to 64 KiB and answered within
// ten seconds or the connection is closed; each refusal is told to the other
// side, which logs it.
package session
