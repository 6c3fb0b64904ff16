// Package protocol is what every prober of Atoll has in common: what it is given,
// what it answers, and the words in which it says what went wrong.
//
// In: one target, one module, and the only way out, a guarded dialer and resolver.
// Out: one Result: up or not, why not, how long each phase took, and the samples.
// Guaranteed: a prober ends with its context, holds no more memory than its module
// allows, never retries, writes no log, and does not panic on what a server sends.
package protocol
