// Package plane turns the values of many series into columns of bytes, and back.
//
// In: values series by series, label sets, histograms. Out: columns, compressed
// with zstd, that a format puts one after another. Guaranteed: each bit comes
// back; a reader of foreign columns answers with an error, never a panic, and
// takes no more memory than it was allowed. The packages columnar and result hold
// the formats made of these columns. All that follows is part of those formats.
//
// # Numbers
//
// A uvarint is 7 bits a byte, least significant first, the high bit set on all but
// the last. A varint is the uvarint of its zigzag: 0, -1, 1, -2 become 0, 1, 2, 3.
// Integers have 64 bits and wrap around. Fixed-size numbers are little-endian. Bit
// streams fill each byte from its lowest bit on; the last is padded with zeros.
//
// # Columns
//
// A column is a uvarint of twice its length, plus 1 where it is compressed. Then it
// follows as it is; or a uvarint of its compressed length and one zstd frame
// without the four bytes of its magic number (28 b5 2f fd). An empty column is one
// zero byte.
//
// # Integers for floats
//
// A series has a mode. Mode 0 to 9 holds a value v as the integer m nearest to
// v*10^mode, if |m| < 2^53 and m/10^mode, rounded to the nearest float, has the
// bits of v (so not for -0). Mode 10 holds the bits of v as a signed integer. Mode
// 11 holds the place of v in a table of values, where a format has one. A series
// without value, or with histograms, has no mode. The writer chooses: it stays in
// a mode while that is exact, takes the next larger that is when it is not, and
// goes back when a smaller one has been enough for a while.
//
// # State
//
// Both sides keep of a series: the newest value, its integer m, the average delta
// trend in sixteenths, for each of three predictors the average cost of its
// residuals in eighths of a bit, how many deltas were seen (at most 3), and eight
// bits of history, newest lowest: whether the value changed. In each row of values
// there is also near: 0 at its start, then the delta of the value before, 0 if it
// did not change, as it was if that value had a kind with no delta.
//
// The predictors expect a delta of 0, of (trend+8)>>4, and of near. The one of the
// lowest cost is used, among equals the first. Its cost c gives the width
// w = (c+4)>>3 that its residual is likely to have.
//
// A value is written so:
//
//   - If the series has a mode: one bit, 1 if the bits of the value differ from the
//     newest, goes to the column of changes with the number of ones in history. Then
//     history takes in the bit. If it is 0, that is all, and near is 0.
//   - If the series has no mode, a kind follows, see below.
//   - The residual is delta minus expected, z its zigzag. With low = max(w-3, 0), the
//     symbol z>>low goes to the symbol column min(w, 3), a byte, and the lowest low
//     bits of z to the bit stream of low bits. If the symbol would be above 254, it is
//     255, no low bits are written, and a kind follows.
//   - Then both sides learn the delta d. With shift = seen, and seen one more, at most
//     3: each cost c becomes c + (8*len-c)>>shift, where len is the bit length of the
//     zigzag of that predictor's residual; if |d| < 2^56 trend becomes
//     trend + (16*d-trend)>>shift, else 0. Shifts are arithmetic. near is d.
//
// A kind is a byte in the column of kinds:
//
//	0       the uvarint z is in the column of numbers; learned as any other
//	1       a staleness marker, the float with the bits 7ff0000000000002; no state
//	        changes, nor near
//	2, 3    a histogram of integers, of floats: elsewhere; the series has no mode now
//	4+mode  the series has this mode now; the varint m is in the column of numbers.
//	        trend and seen are 0, each cost is 64, in mode 10 it is 392; near stays
//
// The columns of values are, in this order: nine of changes, four of symbols, kinds,
// numbers, low bits.
//
// # Label sets
//
// Two columns: texts, which is the table of strings, each a uvarint length and its
// bytes, and refs. In refs each label set is the uvarint of its shape, that is its
// sorted label names; a shape one above those seen is new, and the number of names
// and references to them follow. Then a reference to each value. A reference is a
// uvarint: 0 the value the series before has in this place, if it had the same
// shape; 1 the next string of the table; n the string n-2.
//
// # Histograms
//
// The column of heads has for each histogram a byte: the counter reset hint in its
// lowest two bits, and 4 if a layout follows, which else is that of the series'
// histogram before. A layout is the varint schema, the zero threshold in 8 bytes,
// positive and negative spans (a uvarint number, then a varint offset and a uvarint
// length each), a uvarint number of custom bounds and each of them in 8 bytes. Then
// come columns of values, apart from those of the floats, where every number of a
// series' histograms has a state of its own, which begins again with each layout.
// Two rows a histogram: count, zero count and sum; then positive and negative
// buckets, as they are in memory. In histograms of integers all but the sum have
// mode 0.
package plane
