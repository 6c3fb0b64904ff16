package bucket

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
)

type metrics struct {
	rounds     *prometheus.CounterVec
	uploads    *prometheus.CounterVec
	lastOK     prometheus.Gauge
	waiting    prometheus.Gauge
	sentBytes  prometheus.Counter
	resumed    prometheus.Counter
	mismatches prometheus.Counter
	swept      prometheus.Counter
	lost       prometheus.Counter
	blocks     *prometheus.GaugeVec
	fetched    *prometheus.CounterVec
	evicted    prometheus.Counter
	cacheBytes prometheus.Gauge
	readErrors prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counters := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	m := &metrics{
		rounds:     counters("atoll_bucket_rounds_total", "Rounds of looking for blocks to upload, by outcome.", "outcome", "ok", "failed"),
		uploads:    counters("atoll_bucket_uploads_total", "Blocks uploaded and checked, by outcome.", "outcome", "ok", "failed"),
		lastOK:     gauge("atoll_bucket_last_success_timestamp_seconds", "When a round last ended with everything uploaded."),
		waiting:    gauge("atoll_bucket_waiting_blocks", "Blocks that wait for their upload."),
		sentBytes:  counter("atoll_bucket_sent_bytes_total", "Bytes of block files uploaded and checked."),
		resumed:    counter("atoll_bucket_resumed_files_total", "Files found complete from an earlier attempt and not sent again."),
		mismatches: counter("atoll_bucket_mismatches_total", "Files that the storage held otherwise than they were sent."),
		swept:      counter("atoll_bucket_swept_blocks_total", "Unfinished uploads removed because their block is not here any more."),
		lost:       counter("atoll_bucket_lost_blocks_total", "Blocks deleted before their upload because the disk was nearly full."),
		blocks: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_bucket_blocks", Help: "Blocks seen in the bucket: this island's own, adopted ones of also_read, downsampled ones of both, those of others, and those without a usable meta.json.",
		}, []string{"kind"}),
		fetched:    counters("atoll_bucket_fetched_bytes_total", "Bytes read back, by what they are.", "kind", "index", "chunks"),
		evicted:    counter("atoll_bucket_cache_evicted_blocks_total", "Blocks dropped from the cache to make room."),
		cacheBytes: gauge("atoll_bucket_cache_bytes", "Bytes of blocks held on disk to be read."),
		readErrors: counter("atoll_bucket_read_errors_total", "Queries for which the bucket could not be read."),
	}
	if reg != nil {
		reg.MustRegister(m.rounds, m.uploads, m.lastOK, m.waiting, m.sentBytes, m.resumed, m.mismatches, m.swept, m.lost,
			m.blocks, m.fetched, m.evicted, m.cacheBytes, m.readErrors)
	}
	return m
}

type warnings struct{ upload, lost *health.Handle }

func declare(l *health.List) *warnings {
	return &warnings{
		upload: l.Declare(health.Warning{
			Code: "bucket-upload-failed", Severity: health.SeverityWarning,
			Title:  "Blocks are not reaching object storage",
			Remedy: "Correct what the text names; uploads are tried again by themselves. Until then blocks are kept beyond store.retention, as long as the disk allows.",
		}),
		lost: l.Declare(health.Warning{
			Code: "bucket-block-lost", Severity: health.SeverityCritical,
			Title:  "A block was deleted before it was uploaded",
			Remedy: "Its samples are lost. Free space on the file system of the data directory and see why uploads do not go through.",
		}),
	}
}
