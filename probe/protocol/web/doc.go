// Package web has the probers of HTTP and of what rides on it: http (versions 1.0 to
// 3, redirects, assertions, flows of several requests), websocket and grpc.
//
// In: a request of package protocol, whose module has blackbox_exporter's http, grpc
// and our expect, flow, certificate and websocket keys.
// Out: its result, with blackbox_exporter's samples under the same names.
// Guaranteed: of an answer at most the headers (256 KiB) and as much of the body as
// assertions need (1 MiB, or the module's body_size_limit) are held in memory; the
// rest is counted and thrown away, until the limit or the end of the context.
package web
