// Package probepb holds the messages by which vantages vote on targets, hand each
// other evidence, and probe for each other.
//
// In: the .proto files beside it. Out: the Go code made from them by go generate.
// Guaranteed: a field number once released keeps its meaning.
package probepb
