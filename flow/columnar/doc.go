// Package columnar carries samples to another island: as an ordered stream of
// frames that takes about one byte a sample.
//
// In: batches of samples of series, by reference; exemplars and metadata. Out:
// frames, and from frames the batches. Both sides keep equal state, so frames must
// be decoded in their order, each once. Guaranteed: each bit of a sample arrives;
// a frame that is damaged, missing, repeated or from a state that differs is told
// apart and refused; a decoder takes no more memory than its limits allow,
// whatever it is sent; dictionary and state are as large as the series that are
// alive. No goroutine, no clock, no network.
//
// A receiver that lost its place asks for a reset: its next frame needs nothing of
// what was before. To go on after a cut, keep the frames until they are confirmed.
// Counts of histograms are not judged here: let the store validate what arrives.
//
// # Format, version 1
//
// Columns, values, label sets and histograms are those of package plane.
//
//	frame = a7 01 flags epoch seq [drop] [new] rows values [histograms] [starts]
//	        [exemplars] [metadata] digest crc
//
// Flags are a byte: 1 reset, and which of the optional parts there are: 2 drop, 4
// new, 8 histograms, 16 starts, 32 exemplars, 64 metadata. Epoch and seq are
// uvarints. The frames of an epoch are numbered from 0, and the first one has the
// reset flag: all state of before is void. An epoch is larger than those before.
// The crc is the CRC-32C of all before it, in 4 bytes.
//
// Drop is a column of varints: the ref of each series that leaves, minus that of the
// one before, minus 1; the first follows -1. New is a column with two varints for
// each series that enters: its ref, as in drop, and its group minus that of the one
// before, the first minus 0; then the columns of their label sets.
//
// A group is a list of places for refs, with the time of its newest row and the step
// between the newest two, both 0 at first. A series that enters takes a new place at
// the end, one that leaves empties its place. When all of drop is read, for each
// entry in turn: a group without series becomes a new one; in another, if it has 16
// places or more and at least half are empty, the empty ones are removed.
//
// Rows is a column. A row is the samples of a group at one time:
//
//   - a varint of kind and group: four times the group minus that of the row before
//     (-1 before the first) minus 1, plus the kind;
//   - a varint of its time minus the group's newest time and step, which then are set;
//   - kind 0: each place that is not empty has a sample. Kind 1: a bitmap, as many bits
//     as the group has places. Kind 2: the uvarint number of samples, and for each the
//     uvarint of the places skipped before its own.
//
// The values of the samples follow in the order of rows and places; each row is one
// of package plane. A sample's start time is that of the series' sample before, at
// first 0, except for those in starts, a column: a uvarint of the samples skipped
// since the last one in it, and a varint of the sample's time minus its start time.
//
// Exemplars are a column, for each the varint of ref minus the one before, a byte that
// is 1 if it has a time, the varint of that time minus the one before, and its value
// in 8 bytes; then the columns of their labels. Metadata are a column, for each the
// varint of ref minus the one before, and type, unit and help as uvarint length and
// bytes.
//
// The digest is the upper half of a number of 64 bits: it begins as 0 and takes in, of
// each sample, x = bits + time + ref<<40, and its start time if that is not 0. Bits
// are those of the value; of a histogram count xor bits of the sum. To take in x is:
// xor with x, multiply with 9e3779b97f4a7c15, xor with itself shifted right by 29.
package columnar
