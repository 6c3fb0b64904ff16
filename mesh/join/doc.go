// Package join is how an invited island speaks to a member: one request, one
// answer, over the only stream that the connection of a guest gets.
//
// In: on the member's side connections that the gate sorted out, on the guest's
// a token. Out: the request to whom redeems it, and the answer back.
// Guaranteed: a guest holds at most one of a few places, for at most ten seconds,
// and is read at most 64 KiB from; the guest believes only the keys in its token.
package join
