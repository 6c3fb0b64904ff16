// Package compare holds what the edges of a CDN serve against their origin and
// against each other.
//
// In: one answer of each vantage, and the origin's if it was asked. Out: what differs,
// in words, those who got the same taken together; what was compared at all.
// Guaranteed: the same answers give the same words, in whatever order they came; of
// what a server sent, only short, quoted pieces are repeated; an answer is of bounded
// size, whatever a server sent, and equal to the one before while nothing that is
// compared changes. An answer that another island sent may be compared if Plain.
package compare
