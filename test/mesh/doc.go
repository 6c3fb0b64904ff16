// Package mesh holds the tests of the mesh between real processes: islands on
// emulated hosts, behind emulated NATs, with delays of a wide area network.
//
// In: the released binary (built here, or the one that ATOLL_BINARY names) and
// package lab. Out: the promises of docs/mesh.md, held. Guaranteed: they need root
// and namespaces, and say so where either is missing; ATOLL_LONG=1 runs what
// takes minutes in full.
package mesh
