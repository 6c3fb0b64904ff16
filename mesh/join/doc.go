// Package join is how islands speak that are not let in: guests with an invitation,
// and those whom the roster keeps out though its documents name them. Each has one
// request and one answer, over the only stream that its connection gets.
//
// In: on the member's side connections that the gate sorted out; on the other side a
// token, or a word of the roots. Out: the request to whom redeems or judges it, and
// the answer back.
//
// Guaranteed: a guest holds at most one of a few places, for at most ten seconds,
// and is read at most 64 KiB from; the guest believes only the keys in its token.
// Who is kept out may bring a word (WordProtocol) and nothing else: what does not
// begin with that is closed; at most 32 are heard at once, for five seconds, four a
// second are read, of at most 320 KiB; many connections of one key displace each
// other, not those of others.
package join
