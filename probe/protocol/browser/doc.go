// Package browser probes a page by loading it in Chromium, where it is installed.
//
// In: a protocol.Request whose target is a URL. Out: a protocol.Result with the
// navigation's timing, the first and the largest paint, requests, failures and bytes,
// and a screenshot where the module asks for one.
//
// Guaranteed: a load has a profile of its own, which is removed; the whole group of
// processes is killed at its end, and when it holds more memory than it may. Chromium
// resolves and dials nothing by itself: all it asks for goes through a proxy in this
// process, which wants a password and dials through the request's guarded Dialer. It
// never runs as root, nor without its sandbox. It is driven over a pipe, by the few
// methods of the DevTools protocol that this takes; what a page makes it say is
// bounded. Without Chromium, or without a sandbox, a probe says: unsupported.
package browser
