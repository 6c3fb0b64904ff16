// Package engine folds samples into windows: the hot core of aggregation.
//
// In: samples of series by labels, by reference or by the bytes in which a remote
// write 1.0 sender wrote the labels, in batches, each with its time of arrival.
// Out: the windows of each rule, once each (or again, where the rule says so), as
// package partial holds them.
//
// Guaranteed: a window is made of event time alone, so that neither the order nor
// the delay of deliveries changes what it ends up with; time comes in as numbers,
// no clock is read and no goroutine is started: the same calls in the same order
// give the same windows. What is known of a series is 32 bytes without pointers
// and without labels, found by a seeded 128-bit fingerprint of its labels.
//
// All times are Unix milliseconds.
package engine
