// Package gather finds out, at the moment when a target fails, what somebody who looks
// into it will ask for first: a fresh look with all that the server says, the way there,
// what name servers answer, and the packets of the look.
//
// In: an order that names the target, the prober of its definition, and the guarded way
// out. Out: the files of a bundle of evidence, and for each that is not there the reason.
// Guaranteed: all parts begin at once and end with the context; a part that fails spoils
// no other; what a server or name server sends is bounded before it is kept; nothing is
// sent to an address that the guard refuses, the machine's own name servers apart, which
// are asked for the target's name only.
package gather
