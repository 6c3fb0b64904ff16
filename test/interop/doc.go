// Package interop shows that the mesh's protocols can be spoken by who has only
// docs/protocol.md and the .proto files: a peer in another language, on another
// implementation of libp2p, joins a network and lives in it.
//
// In: Node.js and npm, the folder js, islands in this process. Out: the promises
// of docs/protocol.md, held; the golden vectors in wire/testdata. Guaranteed:
// without Node.js or npm's registry the tests that need them say so and are skipped.
package interop
