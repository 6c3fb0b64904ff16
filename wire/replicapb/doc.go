// Package replicapb holds documents, and the messages by which two islands make theirs equal.
//
// In: the .proto files beside it. Out: the Go code made from them by go generate.
// Guaranteed: a field number once released keeps its meaning.
package replicapb
