// Package gate decides which connections come to be.
//
// In: connections that the transports made, and the roster. Out: to the swarm,
// connections of members only; to their doors, connections of guests, and of those
// whom the documents name and keep out; everybody else is closed as soon as the
// handshake has proved who they are.
//
// Guaranteed: no connection of a non-member reaches the swarm, whatever its
// transport and whether direct or relayed; how many handshakes with unknown
// peers run at once, and how many one address may begin, is bounded.
package gate
