// Package events tells browsers what happens while they look: alerts, islands that
// come and go, verdicts of probes, documents and health warnings.
//
// In: events, which island publishes as rooms tell it. Out: a stream of server-sent
// events for each browser, and those of the last while for who asks what changed.
// Guaranteed: publishing never waits for anybody; what is kept is bounded, however
// many browsers look and however slowly they read; a browser that comes back is told
// what it missed, or how much of it is not known any more; Run leaves no stream open.
package events
