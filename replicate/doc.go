// Package replicate keeps copies of chosen series on other islands.
//
// In: the samples that the store takes, by a tap in front of it, and the store
// itself for what the tap did not see; of other islands, streams of frames. Out:
// streams of frames to other islands; and for each island and stream that sends
// here a store of its own, apart from this island's series.
//
// Guaranteed:
//   - What was acknowledged is in the receiver's log. The position is the copy
//     itself: a sender that starts anew asks the receiver which sample of each
//     series is its newest, so kill -9 of either side loses nothing and stores
//     nothing twice. After a cut that both survive, the stream goes on with the
//     next frame.
//   - The gap of a cut is read from the store, never from a buffer of samples. What
//     waits in memory is bounded: at most queueSamples of the tap and windowBytes
//     of frames that were not acknowledged.
//   - Bytes a second and a day stay within the stream's budget. A stream that is
//     over it stands still and reads on from the store later.
//   - A peer's stream is bounded before it is believed: frame, dictionary, series,
//     times, copies. One that breaks the rules is refused and counted.
//   - The tap costs nothing where no stream is configured, and never blocks or fails
//     a commit.
//
// Exemplars, metadata and start timestamps are not copied.
//
// # How late a sample can be
//
// After a restart the sender reads its store from some time before the copy's
// newest sample. That suffices, because Prometheus' TSDB takes no sample that is
// older than its newest by more than an hour, or the out-of-order window if that
// is longer; and because frames are sent in the order of commits, or of time.
package replicate
