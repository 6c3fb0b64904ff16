// Package evidence keeps what was found out when a probe failed, one file a failure.
//
// In: a manifest and the files that belong to it, of one vantage. Out: bundles by
// the ID of their failure, as zip archives that any tool opens.
// Guaranteed: a bundle is there whole or not at all, also after a crash; together
// they take no more room than was allowed, and the oldest go first; nothing of an
// archive that somebody sent is believed to be shorter than it is.
package evidence
