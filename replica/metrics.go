package replica

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
)

type metrics struct {
	accepted    *prometheus.CounterVec
	refused     *prometheus.CounterVec
	dropped     *prometheus.CounterVec
	restored    prometheus.Counter
	commits     *prometheus.CounterVec
	commitTime  prometheus.Histogram
	syncs       *prometheus.CounterVec
	syncBytes   *prometheus.CounterVec
	syncDocs    *prometheus.CounterVec
	served      *prometheus.CounterVec
	hints       *prometheus.CounterVec
	hintDrops   *prometheus.CounterVec
	tombstones  prometheus.Counter
	historyCuts prometheus.Counter
	rejudged    prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, r *Replica) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, s := range values {
			v.WithLabelValues(s)
		}
		return v
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8)})
	}
	m := &metrics{
		accepted:    vec("atoll_replica_accepted_documents_total", "Document versions stored, by where they came from.", "source", sourceLocal, sourceSync, sourceHint),
		refused:     vec("atoll_replica_refused_documents_total", "Document versions not taken over, by reason.", "reason", "invalid", "rights", "full", "deferred", "outdated"),
		dropped:     vec("atoll_replica_dropped_documents_total", "Documents given up: void because rights changed, absent elsewhere after a long cut.", "reason", "void", "absent"),
		restored:    counter("atoll_replica_restored_documents_total", "Older versions put back because the newer one is void, or no longer void."),
		commits:     vec("atoll_replica_commits_total", "Writes to the replica's file, by outcome.", "outcome", "ok", "failed"),
		commitTime:  seconds("atoll_replica_commit_seconds", "Time of one write to the replica's file, flushing included."),
		syncs:       vec("atoll_replica_syncs_total", "Comparisons started with another island, by outcome; spared: the other one told an equal root when it connected.", "outcome", "equal", "changed", "failed", "busy", "stale", "spared"),
		syncBytes:   vec("atoll_replica_sync_bytes_total", "Bytes of the messages of comparisons, by direction.", "direction", "in", "out"),
		syncDocs:    vec("atoll_replica_sync_documents_total", "Documents moved by comparisons, by direction.", "direction", "in", "out"),
		served:      vec("atoll_replica_served_sessions_total", "Comparisons that other islands started here, by outcome.", "outcome", "ok", "failed", "busy", "refused"),
		hints:       vec("atoll_replica_hints_total", "Hints by gossip, by direction.", "direction", "in", "out"),
		hintDrops:   vec("atoll_replica_dropped_hints_total", "Hints not looked at, by reason.", "reason", "malformed", "queue_full", "given_up"),
		tombstones:  counter("atoll_replica_collected_tombstones_total", "Tombstones forgotten because of their age."),
		historyCuts: counter("atoll_replica_history_cut_versions_total", "Older versions forgotten because of a limit."),
		rejudged:    seconds("atoll_replica_rejudge_seconds", "Time to ask about every document again after a change of rights."),
	}
	if reg != nil {
		reg.MustRegister(m.accepted, m.refused, m.dropped, m.restored, m.commits, m.commitTime, m.syncs, m.syncBytes,
			m.syncDocs, m.served, m.hints, m.hintDrops, m.tombstones, m.historyCuts, m.rejudged)
		reg.MustRegister(gauges(r)...)
	}
	return m
}

func gauges(r *Replica) []prometheus.Collector {
	read := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	return []prometheus.Collector{
		read("atoll_replica_documents", "Documents held, tombstones included.", func() float64 { return float64(r.index.totals().documents) }),
		read("atoll_replica_document_bytes", "Encoded size of the documents held.", func() float64 { return float64(r.index.totals().bytes) }),
		read("atoll_replica_history_bytes", "Encoded size of older versions kept.", func() float64 { return float64(r.store.historyBytes.Load()) }),
		read("atoll_replica_deferred_documents", "Documents waiting because their time is too far ahead.", func() float64 { return float64(r.waiting.len()) }),
		read("atoll_replica_remembered_refusals", "Refusals remembered until rights change.", func() float64 { return float64(r.refusals.len()) }),
		read("atoll_replica_clock_ahead_seconds", "By how much the hybrid clock leads the local one.", func() float64 { return max(0, r.clock.ahead().Seconds()) }),
		read("atoll_replica_watchers", "Watches open.", func() float64 { return float64(r.watchers.len()) }),
	}
}

type warnings struct {
	writes, full, stale, clock, ownVoid, damaged *health.Handle
}

func declare(l *health.List) warnings {
	return warnings{
		writes: l.Declare(health.Warning{
			Code: "replica-write-failed", Severity: health.SeverityCritical,
			Title:  "Documents cannot be written to disk",
			Remedy: "Free space on the file system of the data directory, or repair it; writing goes on by itself.",
		}),
		full: l.Declare(health.Warning{
			Code: "replica-full", Severity: health.SeverityWarning,
			Title:  "New documents are refused because a limit is reached",
			Remedy: "Delete documents, or raise replica.max_documents or replica.max_bytes on every island.",
		}),
		stale: l.Declare(health.Warning{
			Code: "replica-away-too-long", Severity: health.SeverityWarning,
			Title:  "This island was cut off for longer than deletions are remembered",
			Remedy: "Nothing where other islands are in reach: their documents are taken over. Otherwise see to the connection.",
		}),
		clock: l.Declare(health.Warning{
			Code: "replica-clock-skew", Severity: health.SeverityWarning,
			Title:  "Documents bear times far ahead of this island's clock",
			Remedy: "Compare this island's clock and that of the named author with a time server.",
		}),
		ownVoid: l.Declare(health.Warning{
			Code: "replica-own-documents-void", Severity: health.SeverityWarning,
			Title:  "Documents written by this island are no longer valid",
			Remedy: "Have them written again by an island with the right, or ask for the right; the versions are in the history.",
		}),
		damaged: l.Declare(health.Warning{
			Code: "replica-file-damaged", Severity: health.SeverityWarning,
			Title:  "Documents in the replica's file could not be read and were set aside",
			Remedy: "Other islands send them again. Check the disk.",
		}),
	}
}
