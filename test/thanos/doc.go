// Package thanos holds tests in which real Thanos processes work on what an island
// uploads and serves.
//
// In: a thanos binary, found by ATOLL_TEST_THANOS or in PATH, where `make others`
// builds one; without it the tests say so and are skipped. Out: nothing. Guaranteed:
// Thanos lists, verifies, merges and serves the island's blocks, its querier answers
// out of the island's StoreAPI over TLS, the island reads back what Thanos merged,
// and both work side by side as docs/storage.md says.
package thanos
