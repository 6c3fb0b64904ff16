// Package partial is what one node knows of one window of a rule: an accumulator
// per group, how accumulators of several nodes are merged, and their form on the wire.
//
// In: observations, or the bytes of another node. Out: merged accumulators.
// Guaranteed: merging is commutative and associative but for the rounding of
// floating point (counters are summed with compensation); that nothing is merged
// twice is the owner's business. Decoding is bounded by the size of the bytes.
package partial
