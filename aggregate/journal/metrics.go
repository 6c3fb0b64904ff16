package journal

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/flow/queue/warn"
	"github.com/atoll-mesh/atoll/health"
)

// What may be wrong, in the warning's text.
const (
	journalTrouble    = "journal"
	checkpointTrouble = "checkpoint"
	damageTrouble     = "damage"
)

type metrics struct {
	frames, missed, damaged, checkpoints, failed prometheus.Counter
	bytes, checkpointBytes, checkpointTime       prometheus.Gauge
	seconds                                      prometheus.Histogram
	trouble                                      *warn.Shared
}

func newMetrics(reg prometheus.Registerer, list *health.List) (*metrics, error) {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "atoll_aggregate_" + name, Help: help})
		all = append(all, c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "atoll_aggregate_" + name, Help: help})
		all = append(all, g)
		return g
	}
	m := &metrics{
		frames:          counter("journal_frames_total", "Frames written to the journal."),
		missed:          counter("journal_missed_frames_total", "Frames not written to the journal; they would be lost in a crash."),
		damaged:         counter("journal_damaged_bytes_total", "Bytes of the journal and its checkpoint that were torn or damaged and are skipped."),
		checkpoints:     counter("checkpoints_total", "Checkpoints written."),
		failed:          counter("checkpoint_failures_total", "Checkpoints that could not be written."),
		bytes:           gauge("journal_bytes", "Bytes of the journal since the last checkpoint."),
		checkpointBytes: gauge("checkpoint_bytes", "Bytes of the last checkpoint."),
		checkpointTime:  gauge("checkpoint_timestamp_seconds", "When the last checkpoint was begun."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "atoll_aggregate_checkpoint_duration_seconds", Help: "Time to write a checkpoint.",
			NativeHistogramBucketFactor: 1.1, Buckets: []float64{.01, .1, 1, 10, 60},
		}),
		trouble: warn.Declare(list, health.Warning{
			Code: "aggregate-journal", Severity: health.SeverityCritical,
			Title:  "aggregation goes on, but would not survive a crash",
			Remedy: "Make room on the disk of the aggregation's directory, or raise the journal's bound. Journal and checkpoints go on by themselves once there is room.",
		}),
	}
	all = append(all, m.seconds)
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range all {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register the metrics of the journal: %w", err)
	}
	return m, nil
}
