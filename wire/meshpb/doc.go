// Package meshpb holds the messages of joining, of the first words on a connection, and of the services every island offers.
//
// In: the .proto files beside it. Out: the Go code made from them by go generate.
// Guaranteed: a field number once released keeps its meaning.
package meshpb
