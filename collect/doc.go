// Package collect brings samples in: those that are pulled from targets, and
// the island's own.
//
// In: an upstream Prometheus configuration (what to discover and scrape) and
// the island's own Config. Out: samples, appended to the storage.AppendableV2
// that was handed over, and the scrape manager, which answers what is scraped.
// Guaranteed: New starts nothing; Run leaves no scrape loop or socket behind
// (discoverers are cancelled; upstream's for Consul notices when its
// refresh_interval is over); a configuration that Prepare accepted is applied as a whole,
// and one that it refused changes nothing. No target may append more samples
// than Options.SamplesPerTarget in one scrape unless its own configuration
// says so; whoever exceeds it is named in a health warning.
//
// Three jobs are built in, and appear among the targets like any other: the
// island itself ("atoll"), the host ("node", node_exporter's metrics) and its
// control groups ("cgroup", cAdvisor's metrics). They are scraped through a
// socket that only this process may connect to: no TCP port is opened.
package collect
