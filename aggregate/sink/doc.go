// Package sink takes finished samples to where they shall go, without ever making
// anyone wait for that: remote write receivers and Kafka topics.
//
// In: samples with Write; a Config, which may change while it runs. Out: remote
// write 1.0 or 2.0 requests, Kafka records. Guaranteed:
//   - Write encodes and appends to each sink's queue on disk; it waits for no
//     network. What it returned nil for is delivered after a kill -9 too, at least
//     once, unless the receiver refuses it for good or the queue overflows: both
//     are counted.
//   - Samples of one series reach a sink in the order of the Writes.
//   - A sink that is slow, dead or full holds up no other.
//   - At a reload, sinks whose entry did not change go on undisturbed; one whose
//     settings changed keeps its queue; the queue of one that is gone is deleted.
package sink
