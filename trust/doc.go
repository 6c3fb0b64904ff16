// Package trust decides who belongs to a network and who may do what in it.
//
// In: keys, certificates and invitation tokens; the signed documents that make
// up a network (its roots, signers, members, revocations, invitations and
// policy). Out: State, an immutable answer to every question about rights; the
// files in which an island keeps its keys; the audit log.
//
// Guaranteed: State is a pure function of the set of documents, so islands that
// hold the same documents answer alike, whatever order they came in. Nothing
// signed for one purpose or network counts for another. What comes from outside
// is bounded in size before it is looked into. Key files change as a whole or
// not at all, wherever the process is killed.
//
// Keys are of four kinds. A root trusts signers and its own successors and may
// be kept offline. The recovery key can do one thing: sign a new root. A signer
// admits members, renews certificates and revokes. A node key is an island's
// identity on the wire.
package trust
