// Package replica keeps the same signed documents on every island: members,
// policies, rules, probes, silences, owners.
//
// In: values set by people and rooms of this island, documents that other
// islands push, hints by gossip, and what the holder of the rights says about an
// author. Out: the newest permitted version of each document, its history, a
// watch, a digest of everything, an HTTP API and a gRPC service.
//
// Guaranteed:
//   - a Set, Delete or Put that returned nil is on disk: it survives kill -9 and
//     the loss of power. Where the disk refuses, the error says so, what is
//     stored stays readable, and writing goes on once the disk takes it again;
//   - nothing is taken over that does not carry a good signature of an author who
//     has the right at that moment, whoever sent it. When rights change, every
//     document is asked about again; what is void goes to the history, and the
//     newest version that is not void takes its place;
//   - of two versions of a document the one with the greater hybrid time stays
//     (then author, then signature), so islands that can reach each other hold the
//     same set in the end, whatever order they heard of it in;
//   - what a peer can make this island hold is bounded: values, documents, bytes,
//     history, deferred documents, refusals remembered, sessions, message sizes.
//
// A tombstone is forgotten after Config.Tombstones. An island that was cut off for
// longer cannot know what was deleted meanwhile: see stale.go for what it does.
package replica
