// Package wire holds what crosses the mesh: the .proto files with the code
// made from them, and the dated history of the protocol's version.
//
// In: nothing. Out: message types and the numbers that two islands compare
// when they meet. Guaranteed: a message once released keeps its field numbers.
package wire

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.57.2 generate
