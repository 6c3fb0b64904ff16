// Package portal is HTTP for people and for whoever asks over HTTP: it owns the
// listeners, the server, TLS and passwords, the routes and the page.
//
// In: handlers that other rooms hand over by way of island, functions that say
// how the island is, a web config file in the format of the Prometheus exporter
// toolkit. Out: one HTTP(S) server with the page at /, /metrics, /-/healthy,
// /-/ready, /-/reload, /api/atoll/v1/status and /api/atoll/v1/health besides the
// routes that were handed over. Guaranteed: nothing listens before Listen, all
// addresses are taken or none; a panic in a handler costs its own request only;
// requests that change state are refused when another site's page sent them, and
// requests by a foreign host name are refused on loopback (DNS rebinding); Run
// lets requests in flight finish within a deadline and leaves no goroutine.
package portal
