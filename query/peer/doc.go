// Package peer carries questions between islands by gRPC.
//
// In: a connection and the name of another island; or whoever answers for this
// one. Out: a global.Island that asks over the connection; or the gRPC service.
// Guaranteed: what a peer sends is bounded before it is taken apart, an answer is
// whole or it is an error, and a fault keeps its kind on the way. What the rows
// say is not judged here: package global does that.
package peer
