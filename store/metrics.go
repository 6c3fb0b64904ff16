package store

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
)

type metrics struct {
	opens       prometheus.Counter
	openSeconds prometheus.Gauge
	refusing    prometheus.Gauge
	refused     *prometheus.CounterVec
	logFailures prometheus.Counter
	lostBytes   prometheus.Counter
	headRepairs prometheus.Counter
	quarantined prometheus.Gauge
	damaged     prometheus.Gauge
	scrubbed    prometheus.Counter
	maintenance *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		opens:       counter("atoll_store_opens_total", "How often the TSDB was opened: once at start and once after each failure of its log."),
		openSeconds: gauge("atoll_store_open_seconds", "How long the last opening took, checks and log replay included."),
		refusing:    gauge("atoll_store_writes_refused", "1 while no sample is taken."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_store_refused_transactions_total",
			Help: "Transactions refused at their start, by reason.",
		}, []string{"reason"}),
		logFailures: counter("atoll_store_log_failures_total", "How often the write-ahead log could not be written and the store stopped taking samples."),
		lostBytes:   counter("atoll_store_log_lost_bytes_total", "Bytes of damaged log that were cut off when the store was opened."),
		headRepairs: counter("atoll_store_head_chunk_repairs_total", "Damaged head chunk files deleted at start and rebuilt from the log."),
		quarantined: gauge("atoll_store_quarantined_blocks", "Damaged blocks set aside in the quarantine directory."),
		damaged:     gauge("atoll_store_damaged_blocks", "Blocks in use in which the background check found unreadable series."),
		scrubbed:    counter("atoll_store_scrubbed_bytes_total", "Bytes of blocks read by the background check."),
		maintenance: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_store_maintenance_total",
			Help: "Rounds of compaction and retention, by outcome.",
		}, []string{"outcome"}),
	}
	for _, r := range []string{"low_space", "disk_full", "write_log", "not_ready"} {
		m.refused.WithLabelValues(r)
	}
	for _, o := range []string{"ok", "failed", "no_room"} {
		m.maintenance.WithLabelValues(o)
	}
	if reg != nil {
		reg.MustRegister(m.opens, m.openSeconds, m.refusing, m.refused, m.logFailures, m.lostBytes,
			m.headRepairs, m.quarantined, m.damaged, m.scrubbed, m.maintenance)
	}
	return m
}

// tsdbMetrics shows the metrics of the TSDB that is open at the moment. It
// describes nothing, so that the registry does not expect them all the time.
type tsdbMetrics struct{ s *Store }

func (tsdbMetrics) Describe(chan<- *prometheus.Desc) {}

func (c tsdbMetrics) Collect(ch chan<- prometheus.Metric) {
	if h := c.s.acquire(); h != nil {
		defer h.release()
		h.reg.Collect(ch)
	}
}

type warnings struct {
	refused, openFailed, compaction *health.Handle
	logRepaired, headRepaired       *health.Handle
	blockQuarantined, blockDamaged  *health.Handle
}

func declare(l *health.List) *warnings {
	return &warnings{
		refused: l.Declare(health.Warning{
			Code: "store-writes-refused", Severity: health.SeverityCritical,
			Title:  "Samples are not being stored",
			Remedy: "Free space on the file system of the data directory, repair it, or put the directory back; the store goes on by itself.",
		}),
		openFailed: l.Declare(health.Warning{
			Code: "store-open-failed", Severity: health.SeverityCritical,
			Title:  "The store cannot be opened for want of space",
			Remedy: "Free space on the file system of the data directory; the store tries again by itself.",
		}),
		compaction: l.Declare(health.Warning{
			Code: "store-compaction-failed", Severity: health.SeverityWarning,
			Title:  "Samples pile up in the log instead of being compacted",
			Remedy: "Free space on the file system of the data directory, or lower store.retention; compaction is tried again every minute.",
		}),
		logRepaired: l.Declare(health.Warning{
			Code: "store-log-repaired", Severity: health.SeverityWarning,
			Title:  "The write-ahead log was damaged and some of it was cut off",
			Remedy: "The samples in the damaged stretch are lost. After a power failure this is expected; otherwise check the disk.",
		}),
		headRepaired: l.Declare(health.Warning{
			Code: "store-head-chunks-repaired", Severity: health.SeverityInfo,
			Title:  "Head chunk files were damaged and rebuilt from the log",
			Remedy: "Nothing is lost unless the log was damaged too. After a power failure this is expected; otherwise check the disk.",
		}),
		blockQuarantined: l.Declare(health.Warning{
			Code: "store-block-quarantined", Severity: health.SeverityCritical,
			Title:  "Damaged blocks are set aside and not served",
			Remedy: "Restore the named blocks from a copy into the store's directory, or delete them from its quarantine directory, and restart.",
		}),
		blockDamaged: l.Declare(health.Warning{
			Code: "store-block-damaged", Severity: health.SeverityCritical,
			Title:  "A block in use has unreadable series",
			Remedy: "Queries that touch those series fail; all others work. Restore the block from a copy, or move it out of the store's directory, and restart.",
		}),
	}
}
