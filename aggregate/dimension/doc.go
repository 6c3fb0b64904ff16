// Package dimension turns one declared recording rule into many narrow ones,
// one for each value of chosen labels, and evaluates them concurrently.
//
// In: declarations (Config), a query engine, and a store whose label values are
// watched. Out: the series that the declared rule would have recorded, at the
// same timestamps, appended by the narrow rules.
//
// Guaranteed: a declaration is accepted only if its expression is proven, from
// its syntax tree alone, to be the disjoint union of its narrow expressions
// (see Split). So results equal those of the undivided rule, but for what that
// rule leaves open itself: the order in which floats are added, and which of
// equal elements topk picks. Where the undivided rule would fail as a whole,
// only the values at fault fail. Evaluation times are aligned to the interval;
// only the moment at which a narrow rule is evaluated as of that time is spread.
//
// What division buys is bounded memory (one value at a time and slot, not the
// whole metric), all processors and islands at work on one rule, and values that
// are recorded although another one is slow or fails. It does not save processor
// time: each query has its cost, which shows where values have few series.
//
// A value's rule begins with the first tick at which the value has samples, and
// is kept until none lie within the reach of the expression any more: its last
// windows are finished. Removed rules leave staleness markers as upstream's do.
//
// With scope local each island evaluates over its own samples. With scope all
// every value belongs to one island of those alive, by rendezvous hashing of
// rule and value: one that leaves moves only its share, and of the tick at which
// it left, what it had not yet evaluated is missing. Results stay in the
// store of the island that evaluated, and global queries merge them. During a
// partition two islands may evaluate one value; both write the same series at
// the same timestamps, each into its own store and from the samples it can
// reach, and the merge keeps one of the two.
package dimension
