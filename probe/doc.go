// Package probe is the room that asks other machines, from here, whether they answer
// as they should: every definition's targets at their interval, and at once whatever
// somebody asks for.
//
// In: definitions (of this island's configuration, and documents of its network),
// modules, the island's labels, and who else of the network lives. Out: samples of
// every probe, the last result of every target, verdicts on those that this island
// judges, evidence of what failed, and GET /probe as blackbox_exporter answers it.
//
// Guaranteed: nothing is dialled that the guard refuses; a definition that cannot be
// used stops no other; a reload or a change of the network keeps each target's place
// in time; memory is bounded by the number of targets, not by what servers answer.
package probe
