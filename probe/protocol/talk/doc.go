// Package talk probes servers that are talked to in lines, packets or messages over
// one connection: TCP and Unix sockets with query and response, UDP, TLS, SMTP, IMAP,
// POP3, SSH, NTP, Redis, MySQL and PostgreSQL.
//
// In: a protocol.Request. Out: a protocol.Result with the phases, the banner as
// Response.Status, the protocol's own samples, and in words the step that failed.
//
// Guaranteed: no more than one connection per probe; at most a mebibyte is read, and
// no line or message is believed to be longer than its protocol needs; what a server
// sent appears in words quoted and cut, and in labels cut. Without credentials a
// handshake is enough, and it is ended as the protocol asks, so that no server counts
// a probe as an aborted connection. Passwords are never sent in clear over a
// connection without TLS, except where a protocol knows nothing else (Redis).
package talk
