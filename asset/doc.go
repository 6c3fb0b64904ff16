// Package asset knows what there is: hosts, containers, scrape targets, probes,
// metrics, rules, alerts, islands, dashboards and shared documents, and finds any of
// them by whatever somebody remembers of it.
//
// In: sources, which list what another room knows, and a way to ask other islands.
// Out: one inventory in memory, a search over it that answers while somebody types,
// lists and single resources over HTTP, and an answer for other islands. Guaranteed:
// a source that fails keeps what it listed last; the inventory holds MaxResources at
// most and counts what it leaves out; every text, every query and every answer is
// bounded; an island that does not answer in time is named and never waited for.
//
// There is no index besides the dictionary. Each source becomes a segment: its
// distinct texts one after the other in one piece of memory, and for each resource
// the numbers of its texts. A search looks for each word in that memory, which
// machine instructions for substrings do at gigabytes a second, and then once over
// the numbers. That finds every substring, needs no trigram lists, which would take
// several times the memory of the texts, and a segment is replaced as a whole when
// its source changed. A full-text library brings scoring and languages that names of
// machines have no use for, and megabytes of program.
package asset
