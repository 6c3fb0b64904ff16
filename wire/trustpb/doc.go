// Package trustpb holds the messages that prove who an island is: certificates, tokens.
//
// In: the .proto files beside it. Out: the Go code made from them by go generate.
// Guaranteed: a field number once released keeps its meaning.
package trustpb
