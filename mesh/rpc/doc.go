// Package rpc is gRPC over any stream whose far end has proved who it is.
//
// In: connections that carry a peer's proven key, services with a Rule for each
// method, a question that says who may call what. Out: a server that refuses
// with a reason, and client connections by peer and class.
//
// Guaranteed by the Server, in this order, before a byte of the request's body
// is read: a method without a rule is not served; the caller's standing, its
// protocol version and its rights are asked anew for each call; its token
// buckets have room; a slot of the method's class is free, where no class waits
// for the slots of another and no peer takes all of one. Every call has a
// deadline. A handler's panic ends that call alone.
//
// Guaranteed by Clients: one HTTP/2 connection for each peer and class, opened
// by the first call, gone when idle for a while, silent while idle; every call has
// a deadline; a peer that does not answer is left alone for a while by a
// circuit breaker; when bytes are owed and none comes the mesh is told within
// Limits.StallAfter; an idempotent call whose connection broke before an answer
// is made once more. Errors satisfy errors.Is for flow.ErrUnavailable,
// flow.ErrOverLimit, context.DeadlineExceeded and context.Canceled.
//
// Nothing here pings: liveness of connections is the mesh's.
package rpc
