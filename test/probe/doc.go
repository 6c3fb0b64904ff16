// Package probe tests the probers of ways and of conversations on networks whose
// truth is known: the lab's wide area network with its delays and losses, and a chain
// of routers that drop, refuse, divide and narrow.
//
// In: network namespaces, which need root. Out: nothing but the verdict. Guaranteed:
// nothing of a network outlives its test.
package probe
