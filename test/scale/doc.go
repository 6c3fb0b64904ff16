// Package scale holds the tests of a large mesh: some hundred islands, each with
// its own documents, trust and connections, in one process and in a network
// namespace of its own.
//
// In: packages mesh, replica and trust as island puts them together. Out: that a
// change and a revocation reach everybody, that the graph holds together, and what
// an island costs; docs/benchmarks.md has the figures. Guaranteed: root and
// namespaces are needed, and where either is missing the tests say so;
// ATOLL_LONG=1 runs 1,000 islands instead of 100, ATOLL_SCALE=n any number.
package scale
