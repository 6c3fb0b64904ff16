// Package carrier lets net.Conn users ride on libp2p streams.
//
// In: streams that a peer opened, or a wish to reach a peer. Out: a net.Listener
// and net.Conns that know the peer's proven key and when its last byte came.
// Guaranteed: a stream is opened on the very connection that was chosen, with
// the protocol's name in its first flight; a Listener holds a bounded number of
// streams that nobody accepted yet.
package carrier
