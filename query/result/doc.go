// Package result is the form in which the answer to a question crosses the mesh.
//
// In: what an engine or a store gave on one island: series with points on a grid of
// times, or series as chunks, and annotations. Out: bytes, and from them the same
// again. Guaranteed: each bit comes back; Decode refuses what is malformed or over
// its limits with an error, whoever sent it, and what it accepted can be read by the
// engine: labels are sorted, points in order, chunks readable to their end.
//
// Chunks of a head that is being written must be copied before they are encoded.
//
// # Format, version 1
//
// Columns, values, label sets and histograms are those of package plane.
//
//	result = a8 01 flags start step count body crc
//	body   = [labels] [series] [histograms] [chunks] [samples] [notes]
//
// Flags are a byte: 1 whole, 2 series, 4 histograms, 8 chunks, 16 notes, 32 samples,
// not without chunks, 64 labels apart; whole means that the body is one column that
// holds it, labels apart that they are not in it: they travel beside the result. Start
// and step are varints, count a uvarint: the times of the grid, in Unix ms. The crc is
// the CRC-32C of all before it, in 4 bytes.
//
// Labels, there with series or chunks, are the label sets of the series, then those
// of the series that are chunks. Series are the uvarint length of the table, the
// column of presence and the columns of values: first the table, values that only
// rise as signed integers, all of mode 10 and one state; then a row for each series,
// whose state is new. The table is there when values repeat: mode 11 then holds
// places in it.
//
// Presence has for each series a byte: in bits 0 and 1 where on the grid its floats
// are, in bits 2 and 3 its histograms, and bit 4 if the name is to be dropped. 0 is
// nowhere, 1 everywhere, 2 a run: its first place and its length follow as uvarints;
// 3 some places: a bitmap of as many bits as the grid has times. What belongs to the
// floats precedes what belongs to the histograms. Histograms are of floats; the
// states of each series are new.
//
// Chunks are two columns. The first has for each series the uvarint number of its
// chunks, and for each chunk its encoding as Prometheus numbers them, a byte; the
// varint of its first time minus the last time of the one before, of the first minus
// 0; the uvarints of its last time minus its first, and of its length. The second has
// their bytes.
//
// A chunk of floats whose bytes follow from its samples has 128 added to its encoding,
// the number of its samples instead of its length, and no bytes in the second column.
// After the chunks of a series with such follows, as a uvarint, the place of the list
// of their samples' times, together, among all such lists, the first of which is 1.
// Samples are the column of lists, and the columns of values: a row with a new state
// for each series that has them. A list that is one above those seen is the next of
// its column: for each time the varint of its distance from the one before, minus that
// one's distance from the one before it; the first is distant from 0, and minus 0.
//
// Notes are a column: warnings, then infos, as a uvarint number and each as uvarint
// length and bytes.
package result
