// Package names has the prober of DNS.
//
// In: a request of package protocol, whose module has blackbox_exporter's dns keys and
// our resolver and expect keys.
// Out: its result, with blackbox_exporter's samples under the same names.
// Guaranteed: what is not an answer to the question (another id, another name) is
// passed over until the context ends; no message of more than 64 KiB is read.
package names
