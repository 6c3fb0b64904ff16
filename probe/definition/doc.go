// Package definition reads what is to be probed, from where, how, and what counts
// as well.
//
// In: the text of a document "probe/NAME", or a module file of blackbox_exporter.
// Out: a Definition, or all mistakes at once with line and column.
// Guaranteed: what was read can be probed without further checks, except that the
// target may be denied when it is dialled.
package definition
