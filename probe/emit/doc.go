// Package emit turns results of probes into samples of the island's store.
//
// In: the labels of a target, and its results one after the other. Out: one
// transaction for each result, or with Batch for those of a tenth of a second, with the series that all probes have
// (probe_success, probe_duration_seconds, probe_phase_seconds{phase},
// probe_failure_info{reason, phase}) and those of its protocol.
//
// Guaranteed: a series that a result no longer has, and all of a target that is
// gone, end with a stale marker; in the steady state, where a target's samples come
// in the order of the result before, nothing is allocated for a sample.
package emit
