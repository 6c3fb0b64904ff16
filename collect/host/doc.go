// Package host measures the machine the island runs on, with node_exporter's
// collectors and therefore under node_exporter's names.
//
// In: which collectors to run and where the host's file systems are mounted.
// Out: a prometheus.Collector. Guaranteed: a collector that fails or hangs (a
// dead NFS mount) never takes the others away: it is reported by
// node_scrape_collector_success 0, and is not started again while it hangs.
// The set of collectors may differ between islands of one process and change
// live; paths and flags may not, because upstream keeps them in variables of
// the process (see process.go).
package host
