// Package flow holds the little that every room on the way of a sample must
// agree on.
//
// In: errors that storage and budgets wrap, sizes as people write them. Out: two
// sentinels by which a receiver decides what to answer its sender, and the type
// Bytes. Guaranteed: a leaf, it imports no room, so that rooms which may not
// import each other can still understand each other.
package flow
