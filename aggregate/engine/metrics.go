package engine

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// dropReason says why a sample of a known series was not taken.
type dropReason uint8

const (
	dropDuplicate dropReason = iota
	dropTooOld
	dropAhead
	dropReplica
	dropDedup
	dropNaN
	dropInf
	dropHistogram
	dropForgotten
	dropReasons
)

func (d dropReason) String() string {
	return [...]string{"duplicate", "too_old", "ahead", "replica", "dedup", "nan", "infinite", "histogram", "forgotten"}[d]
}

// shardCounters are under the shard's lock. Some count per rule: one sample that
// three rules refuse counts three times.
type shardCounters struct {
	samples uint64
	dropped [dropReasons]uint64
	beyond  uint64 // parts of gaps beyond the horizon
	series  int64
}

type counters struct {
	windows  atomic.Uint64
	restores atomic.Uint64
}

// collector reads the counters when asked, so that samples pay for no atomic.
type collector struct{ e *Engine }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("atoll_aggregate_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector: an unchecked one.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	counter := func(v float64, name, help string, labels []string, values ...string) {
		out <- prometheus.MustNewConstMetric(describe(name, help, labels...), prometheus.CounterValue, v, values...)
	}
	gauge := func(v float64, name, help string, labels []string, values ...string) {
		out <- prometheus.MustNewConstMetric(describe(name, help, labels...), prometheus.GaugeValue, v, values...)
	}
	total, bytes, open, gapCount := c.sum()
	counter(float64(total.samples), "samples_total", "Samples of series that rules take.", nil)
	for i, n := range total.dropped {
		counter(float64(n), "dropped_samples_total", "Samples that were not taken, by reason, for each rule.", []string{"reason"}, dropReason(i).String())
	}
	counter(float64(total.beyond), "beyond_horizon_total", "Parts of counters' growth that belong to windows older than the horizon.", nil)
	counter(float64(c.e.count.windows.Load()), "windows_total", "Windows handed over, with revisions.", nil)
	gauge(float64(total.series), "series", "Input series known.", nil)
	gauge(float64(bytes), "state_bytes", "Memory of the state of series.", nil)
	gauge(float64(open), "windows_open", "Windows that are being filled, all rules and shards.", nil)
	gauge(float64(gapCount), "gaps", "Gaps between samples that late ones may still fill.", nil)
	for _, rs := range c.e.rules.Load().active {
		name := []string{"rule"}
		label := rs.label()
		rs.groups.mu.Lock()
		n := rs.groups.count
		rs.groups.mu.Unlock()
		gauge(float64(n), "groups", "Groups of a rule.", name, label)
		counter(float64(rs.groups.over.Load()), "overflow_series_total", "Series that went to an overflow group.", name, label)
		gauge(float64(rs.lag.Load())/1000, "late_seconds", "How long after its end the last window was sealed.", name, label)
		if sealed := rs.sealed.Load(); sealed != never {
			gauge(float64(c.e.newest.Load()-sealed)/1000, "watermark_lag_seconds", "Age of the end of the last sealed window.", name, label)
		}
		for o := range rs.late {
			counter(float64(rs.late[o].Load()), "late_groups_total", "Groups of sealed windows that changed, by what came of it.", []string{"rule", "outcome"}, label, lateOutcome(o).String())
		}
	}
}

func (c collector) sum() (total shardCounters, bytes, open, gapCount int) {
	for _, s := range c.e.shards {
		s.mu.Lock()
		total.samples += s.count.samples
		total.beyond += s.count.beyond
		total.series += s.count.series
		for i, n := range s.count.dropped {
			total.dropped[i] += n
		}
		for _, rw := range s.rules {
			if rw != nil {
				open += len(rw.open)
			}
		}
		gapCount += s.gapCount()
		bytes += s.bytes()
		s.mu.Unlock()
	}
	c.e.src.mu.Lock()
	bytes += c.e.src.index.bytes() + c.e.src.all.bytes()
	c.e.src.mu.Unlock()
	return total, bytes, open, gapCount
}

// bytes is the memory of index, records and gaps.
func (s *shard) bytes() int {
	n := s.places.bytes()
	for _, c := range *s.chunks.Load() {
		if c != nil {
			n += chunkSize * 40
			if c.gaps != nil {
				n += cap(c.gaps.all) * 48
			}
			if c.first != nil {
				n += c.first.bytes()
			}
		}
	}
	return n
}

// label tells the rule apart from the others in force.
func (rs *ruleState) label() string { return rs.rule.Load().Label }
