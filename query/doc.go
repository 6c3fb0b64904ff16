// Package query turns a question into series: PromQL on this island's store and
// on the endpoints of remote_read, behind the HTTP API that Prometheus clients
// already speak.
//
// In: a store to read, the parts whose state the API reports (targets, rules,
// alertmanagers, admin) and HTTP requests under /api/v1 and /federate. Out:
// answers byte for byte as the embedded Prometheus gives them, and the engine,
// parser and Queryable that alerting shares. As in Prometheus, /api/v1/read too
// answers with what remote_read adds, /federate and exemplars come from the
// store alone, and a remote that fails costs its series and adds a warning.
// Guaranteed: at most max_concurrency queries run and max_queue wait, each
// within its time, sample and series limits; a query that was running when the
// process died is named in the log at the next start; before the store is ready
// every answer is 503.
package query
