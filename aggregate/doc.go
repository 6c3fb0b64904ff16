// Package aggregate folds many samples into few before they are stored or travel.
//
// In: every sample on its way to the store, through Appendable; rules. Out: the
// series that the rules make, to the store and to sinks, once per series and
// window; the samples themselves where a rule does not say that they need not be
// stored. Guaranteed: windows are made of event time, so late, repeated and
// reordered deliveries change nothing; the state survives kill -9 through a
// checkpoint and a journal; a sink that is slow or gone delays no window.
package aggregate
