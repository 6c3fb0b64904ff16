package store

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/tsdb"
)

// handle is one opening of the TSDB. Queriers and appenders hold a reference, so
// that it is closed only when nobody reads its mapped files any more.
type handle struct {
	db    *tsdb.DB
	comp  *compactor
	reg   *logRegistry
	stats *tsdb.DBStats

	// refs starts at 1, the store's own; at 0 it never rises again.
	refs    atomic.Int64
	drained chan struct{}

	// epoch counts the reopenings before this opening; see epochRefs.
	epoch uint64

	// broken is set by the first failed write to the log and never cleared.
	broken atomic.Bool
}

func (h *handle) acquire() bool {
	for {
		n := h.refs.Load()
		if n == 0 {
			return false
		}
		if h.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (h *handle) release() {
	if h.refs.Add(-1) == 0 {
		close(h.drained)
	}
}

// drain gives up the store's own reference and waits for all others.
func (h *handle) drain(ctx context.Context, waiting func(open int64)) error {
	h.release()
	t := time.NewTicker(30 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-h.drained:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%d queriers or appenders are still open", h.refs.Load())
		case <-t.C:
			waiting(h.refs.Load())
		}
	}
}

// close closes the TSDB; with a full disk it may panic while it writes the last
// head chunks, all of which the log holds too.
func (h *handle) close() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("write head chunks: %v", r)
		}
	}()
	return h.db.Close()
}

// logRegistry holds one TSDB's metrics apart, because the TSDB never unregisters
// them, and picks out the counters of failed log writes.
//
// Those counters are the only sign that reaches a concurrent committer in time:
// the log raises them before it lets go of its lock, so whoever writes after a
// half-written record is sure to see them.
type logRegistry struct {
	*prometheus.Registry
	failures atomic.Pointer[[]prometheus.Metric]
}

func newLogRegistry() *logRegistry {
	r := &logRegistry{Registry: prometheus.NewRegistry()}
	r.failures.Store(&[]prometheus.Metric{})
	return r
}

func (r *logRegistry) Register(c prometheus.Collector) error {
	if err := r.Registry.Register(c); err != nil {
		return err
	}
	if !countsLogFailures(c) {
		return nil
	}
	ch := make(chan prometheus.Metric, 1)
	c.Collect(ch)
	next := append(append([]prometheus.Metric{}, *r.failures.Load()...), <-ch)
	r.failures.Store(&next)
	return nil
}

func (r *logRegistry) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

func countsLogFailures(c prometheus.Collector) bool {
	ch := make(chan *prometheus.Desc, 64)
	c.Describe(ch)
	close(ch)
	for d := range ch {
		s := d.String()
		if strings.Contains(s, `"prometheus_tsdb_wal_writes_failed_total"`) ||
			strings.Contains(s, `"prometheus_tsdb_out_of_order_wbl_writes_failed_total"`) {
			return true
		}
	}
	return false
}

// logFailed reports whether any write to either log has failed since it was opened.
func (r *logRegistry) logFailed() bool {
	for _, m := range *r.failures.Load() {
		var out dto.Metric
		if err := m.Write(&out); err != nil || out.GetCounter().GetValue() > 0 {
			return true
		}
	}
	return false
}
