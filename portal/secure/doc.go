// Package secure is TLS of the addresses on which people and programs reach an
// island: where its certificate comes from, and which connections may do without.
//
// In: the mode and its settings, a directory to keep keys in, the names by which the
// island is reached. Out: a listener that speaks TLS around one that does not, and
// what a status tells of the certificate.
//
// Guaranteed: without a mode, connections from this machine to itself are plain and
// all others are encrypted; keys are readable by their owner only; a certificate that
// the island made is renewed before it ends and keeps its key; a file that has gone
// bad while the island runs changes nothing, is counted and is logged once.
package secure
