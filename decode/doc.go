// Package decode checks a YAML document against the Go types it will be decoded
// into, and keeps going after the first mistake.
//
// In: the text of a file and a Go type, ours or a library's, with or without its
// own UnmarshalYAML. Out: every problem with its line, column and field path,
// and a clean copy of the tree that holds only what passed, so that later checks
// still run on the rest. Guaranteed: no panic whatever the bytes; nothing is
// reported twice; a value of a secret type never appears in a message.
package decode
