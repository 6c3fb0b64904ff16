// Package queue is a bounded queue of byte entries on disk, between a producer
// that must not wait and one consumer that may be away for hours.
//
// In: entries with Put. Out: the same entries in order with Next, until Ack says
// that they are done with. Guaranteed:
//   - Put never waits for the consumer. Over the bound the oldest segment goes,
//     and what it held is counted in entries and bytes.
//   - An entry whose Put returned nil is delivered after a kill -9 at any instant
//     of either side, at least once: what was read but not acknowledged is read
//     again. (A power cut may cost what the kernel had not written out yet, and
//     then the queue goes on behind it.)
//   - A torn tail is cut off, damage in the middle costs the rest of that
//     segment; both are counted. Nothing is ever delivered that was not put.
//   - A full disk makes Put fail with an error wrapping flow.ErrUnavailable and
//     raises a warning; the consumer goes on, acknowledging needs no space, and
//     the first Put that works again clears the warning.
//
// On disk: segments named by the sequence number of their first entry (see
// package segment), and a cursor of fixed size that two slots are written to in
// turn, so that a torn write leaves the other one valid. A lock on the cursor
// keeps a second process out.
package queue
