// Package compare holds what the edges of a CDN serve against their origin and
// against each other.
//
// In: one answer of each vantage, and the origin's if it was asked. Out: what differs,
// in words, those who got the same taken together.
// Guaranteed: the same answers give the same words, in whatever order they came; of
// what a server sent, only short, quoted pieces are repeated.
package compare
