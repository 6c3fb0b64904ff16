// Package receive takes samples that others push: Prometheus remote write 1.0
// and 2.0, and OTLP metrics over HTTP.
//
// In: HTTP requests, each bounded in compressed and decoded bytes, series and
// labels before anything is allocated for it. Out: samples, histograms and
// exemplars in one transaction of a storage.AppendableV2 per request.
//
// Guaranteed: a request is decoded whole before its first sample is appended, so
// a malformed one leaves nothing behind. What the storage refuses for good
// (out of order, duplicate, too old, over a limit, bad labels) is answered with
// a 4xx that says how many and why, while the rest of the request is stored.
// What a retry may get past is answered with a 5xx, and then nothing of the
// request is stored. Every refusal is counted by protocol and reason.
//
// # Where this differs from Prometheus' own receiver
//
//   - Remote write 1.0: one refused sample does not throw away the accepted
//     rest of its request (Prometheus rolls the whole request back); the answer
//     is a 400 in both.
//   - Remote write 1.0: a series with invalid labels is answered with a 400
//     (Prometheus drops it and answers 204), as the specification demands.
//   - Remote write 2.0: a series of exemplars alone, as Prometheus sends them, is
//     stored (Prometheus' receiver refuses it).
//   - A body over a size limit is answered with 413, also where only its
//     decoded size is over it; limits are configured instead of fixed at 32 MiB.
//   - Text of many refusals is summed up by reason instead of listed one by one.
//   - Labels are limited in number and length.
//   - OTLP: what is refused of a request does not throw away the rest; the answer
//     is a 200 with partial_success, as the OTLP specification demands. Content
//     that can never be stored is a 400 (Prometheus: 500). An error of the final
//     commit is a 5xx (Prometheus: 200).
//
// # Why it is fast
//
// The wire bytes are walked by hand: no generated structs, no string per label.
// The labels of a series are hashed as they lie in the body (remote write 1.0)
// or by their symbols (2.0), and a cache gives the labels and the storage's
// series reference for it; a hit neither builds nor validates labels, and the
// storage need not look them up. See cache.
package receive
