// Package sketch holds the mergeable summaries of many values that one group of
// one window keeps: a logarithmic histogram for quantiles, a count of distinct
// values, and VictoriaMetrics' vmrange histogram.
//
// In: values or hashes one by one, or another sketch. Out: estimates with a known
// bound of error, and a binary form. Guaranteed: merging is commutative and
// associative and a sketch merged of parts equals the sketch of the whole, but
// for the rounding of sums; decoding foreign bytes never panics and takes memory
// in proportion to them. No sketch is for concurrent use.
package sketch
