// Package router shards samples over remote write receivers of any vendor.
//
// In: samples through a storage.AppendableV2. Out: remote write 1.0 or 2.0
// requests to the backends that the hash of chosen labels names. Guaranteed:
//   - The samples of a series go to the same Replicas backends while the backends
//     are the same (rendezvous hashing by a backend's name, or else its URL and
//     headers). One that comes or goes moves only its own share. What waits for
//     one that goes moves to the backends that take its share over.
//   - Commit returns nil when each sample is in the disk queue of at least one of
//     its backends; from there it is delivered at least once, over crashes too,
//     unless the backend refuses it for good or its queue overflows: both are
//     counted. Commit waits for no network.
//   - A backend that fails is left alone by a circuit breaker, for pauses that
//     grow; the others notice nothing.
//   - A backend gets no sample outside its time window: the next in the order of
//     the hash takes it, if there is one whose window it fits.
package router
