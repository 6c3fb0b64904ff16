// Package request builds remote write requests (1.0 and 2.0) and sends them.
//
// In: series and their samples; a remote_write entry of a Prometheus
// configuration. Out: compressed bodies, and HTTP requests with every kind of
// authentication that Prometheus knows. Guaranteed: one request a call, no
// retries of its own; what upstream's client keeps to itself of the answer,
// status and Retry-After, is returned.
package request
