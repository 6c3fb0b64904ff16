// Package council is where the votes of vantages meet.
//
// In: the results of this island's probes, votes of other islands, who of the network
// may judge and is in reach. Out: votes to two of those for each target of a shared
// definition, by rendezvous of both; a verdict on each target that is judged here; its
// series; what others see of a target; verdicts of all judges in reach.
//
// Guaranteed: of the two that hold a target's votes the first one writes and answers,
// and the other one has come to the same verdict by itself when it must take over; in a
// partition each part judges by its own votes; what is judged of definitions that are
// this island's own never leaves it. What peers send is bounded, is about definitions
// that this island knows and targets that these have, and counts only as long as its
// sender is heard.
package council
