// Package segment is the file format of what must survive a kill -9: an
// append-only file of frames, each with its length and a checksum.
//
// In: byte frames of 1 byte to MaxFrame. Out: the same frames in order, up to the
// first that is not whole. Guaranteed: a frame for which Append returned nil is
// read back after the process dies at any instant (a power cut needs Sync as
// well); an Append that fails leaves no trace; what is not a whole frame is never
// taken for one (CRC-32C over length and content).
//
// A file is the 8 bytes of Magic and then frames: length (4 bytes, little
// endian), CRC-32C of the length's bytes and the content (4 bytes), content.
package segment
