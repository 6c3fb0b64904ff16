// Package schedule says when which target is probed, and from which islands.
//
// In: tasks, each with a key and an interval. Out: calls of their Run, each at
// OFFSET + n·interval, where the offset follows from the key alone, so that targets
// are spread evenly and keep their place over reloads and restarts. Where runs are
// few, those due within the same 40 ms or less begin together at its beginning: to
// wake up costs more than a run. A new task runs for the first time within seconds.
//
// Guaranteed: a task never runs twice at a time; what is due while the run before
// goes on or waits is skipped and counted, never put off; no more run at once than
// was allowed; a task that waits costs no goroutine; the wall clock is looked at
// once, when the scheduler starts, so that its jumps change nothing.
package schedule
