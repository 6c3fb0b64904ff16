package queue

import (
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/flow/queue/warn"
	"github.com/atoll-mesh/atoll/health"
)

// Family is what the queues of one owner share: their metrics, told apart by a
// label, and their warnings. A nil *Family keeps silent.
type Family struct {
	entries, bytes, full             *prometheus.GaugeVec
	put, putBytes                    *prometheus.CounterVec
	dropped, droppedBytes            *prometheus.CounterVec
	damaged, refused, cursorFailures *prometheus.CounterVec
	all                              []interface {
		prometheus.Collector
		DeleteLabelValues(...string) bool
	}
	disk, overflow *warn.Shared
}

// NewFamily registers atoll_<owner>_queue_*, with the given label for a queue's
// name, and declares the warnings <owner>-queue-disk and <owner>-queue-overflow.
// reg and list may be nil.
func NewFamily(owner, label string, reg prometheus.Registerer, list *health.List) (*Family, error) {
	f := &Family{}
	gauge := func(name, help string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "atoll_" + owner + "_queue_" + name, Help: help}, []string{label})
		f.all = append(f.all, v)
		return v
	}
	counter := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_" + owner + "_queue_" + name, Help: help}, []string{label})
		f.all = append(f.all, v)
		return v
	}
	f.entries = gauge("entries", "Entries that wait on disk or are being delivered.")
	f.bytes = gauge("bytes", "Bytes of the queue's files.")
	f.full = gauge("disk_failing", "1 while the disk does not take entries.")
	f.put = counter("put_entries_total", "Entries taken in.")
	f.putBytes = counter("put_bytes_total", "Bytes taken in.")
	f.dropped = counter("dropped_entries_total", "Oldest entries given up because the queue was full.")
	f.droppedBytes = counter("dropped_bytes_total", "Bytes of the oldest entries given up because the queue was full.")
	f.damaged = counter("damaged_bytes_total", "Bytes of the queue's files that were torn or damaged and are skipped.")
	f.refused = counter("refused_entries_total", "Entries not taken in because the disk did not take them.")
	f.cursorFailures = counter("cursor_write_failures_total", "Cursor writes that failed; after a crash more is delivered again.")
	title := strings.ToUpper(owner[:1]) + owner[1:]
	f.disk = warn.Declare(list, health.Warning{
		Code: owner + "-queue-disk", Severity: health.SeverityCritical,
		Title:  title + " queue cannot be written to disk",
		Remedy: "Make room on the disk, or make the queue smaller. What does not fit meanwhile is lost to that receiver and counted; the queue goes on by itself once there is room.",
	})
	f.overflow = warn.Declare(list, health.Warning{
		Code: owner + "-queue-overflow", Severity: health.SeverityCritical,
		Title:  title + " queue is full and loses its oldest entries",
		Remedy: "Bring the receiver back, or make the queue larger. The warning ends once the queue is half empty.",
	})
	if reg == nil {
		return f, nil
	}
	var errs []error
	for _, c := range f.all {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register the metrics of the %s queues: %w", owner, err)
	}
	return f, nil
}

// Forget removes what is shown of a queue that is gone.
func (f *Family) Forget(name string) {
	if f == nil {
		return
	}
	for _, c := range f.all {
		c.DeleteLabelValues(name)
	}
	f.disk.Clear(name)
	f.overflow.Clear(name)
}
