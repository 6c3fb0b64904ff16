// Package querypb holds the messages by which islands ask each other about series.
//
// In: the .proto file beside it. Out: the Go code made from it by go generate.
// Guaranteed: a field number once released keeps its meaning.
package querypb
