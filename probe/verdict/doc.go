// Package verdict decides what state a target is in, from what all vantages saw.
//
// In: at a vantage, the results of its probes of a target, one after the other (View);
// where votes meet, the votes that views became, one of each vantage (Judge). Out: a
// Verdict: up, degraded, down or unknown, since when, whether that is enough to wake
// somebody, and why, in words.
// Guaranteed: the same votes give the same state, in whatever order they came; a vote
// counts for a while and then no more; a vantage that cannot reach anything says
// nothing about a target. Nothing here reads a clock or takes a lock: who calls does.
package verdict
