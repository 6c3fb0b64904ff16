// Package budget holds an island inside the limits it was given.
//
// In: memory, CPU, series and disk limits; an appender chain to guard. Out: the
// Go runtime's own limits set once at start, and an appendable that drops what
// is over the series limit and refuses everything while the disk is short.
//
// Guaranteed: what is dropped is counted in atoll_budget_dropped_samples_total
// and named by a health warning; a series that exists is never dropped; with no
// limit near, a sample costs one comparison more.
package budget
