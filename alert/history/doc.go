// Package history keeps what happened to alerts.
//
// In: events (an alert fires, is resolved, silenced, acknowledged, told to a
// receiver), handed over without waiting. Out: those events again, the newest
// first, page by page; incidents, which are the spans between firing and resolved;
// figures of each alert name.
//
// Guaranteed: Record never waits for the disk, and what has no room in the queue is
// counted; what was committed survives kill -9; age and bytes are bounded; a disk
// that takes nothing raises a warning, and what waits is written once it does.
package history
