// Package replicatepb holds the messages by which islands keep copies of each
// other's series.
//
// In: the .proto file beside it. Out: the Go code made from it by go generate.
// Guaranteed: a field number once released keeps its meaning.
package replicatepb
