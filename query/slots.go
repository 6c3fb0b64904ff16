package query

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/promql"
)

// ErrQueueFull is returned for a query that found query.max_queue others
// already waiting. The HTTP API answers it with 503.
var ErrQueueFull error = queueFull{}

type queueFull struct{}

func (queueFull) Error() string {
	return "too many queries are waiting; ask again later, or raise query.max_queue or query.max_concurrency"
}

// Unwrap lets the API take it for what it is to the client: a timeout, foreseen.
func (queueFull) Unwrap() error { return promql.ErrQueryTimeout("query queue") }

var _ promql.QueryTracker = (*slots)(nil)

// slots lends out the right to run a query. It is the engine's query tracker:
// while a journal is open, each running query is also written to a file that
// survives a crash.
type slots struct {
	free     chan struct{}
	maxQueue atomic.Int64
	waiting  atomic.Int64
	metrics  *metrics
	onFull   func(waiting int64)

	// mu guards journal. Delete writes into mapped memory: it must not overlap
	// the unmapping.
	mu      sync.RWMutex
	journal *promql.ActiveQueryTracker
}

// unjournaled is the index of a query that runs without a line in the journal.
const unjournaled = -1

func newSlots(concurrency int, m *metrics, onFull func(waiting int64)) *slots {
	return &slots{free: make(chan struct{}, concurrency), metrics: m, onFull: onFull}
}

// open starts the journal in dir and logs the queries that the last run left in it.
func (s *slots) open(dir string, logger *slog.Logger) error {
	j, err := promql.NewActiveQueryTracker(dir, cap(s.free), logger)
	if err != nil {
		return fmt.Errorf("opening the journal of running queries in %q: %w", dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal = j
	return nil
}

// closeJournal ends the journal; queries still running go on without it.
func (s *slots) closeJournal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.journal
	s.journal = nil
	return j.Close()
}

// Close does nothing: the journal belongs to Run.
func (s *slots) Close() error { return nil }

// GetMaxConcurrent is how many queries run at a time.
func (s *slots) GetMaxConcurrent() int { return cap(s.free) }

// Insert blocks until a slot is free or ctx ends.
func (s *slots) Insert(ctx context.Context, query string) (int, error) {
	if err := s.acquire(ctx); err != nil {
		return 0, err
	}
	s.metrics.running.Inc()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.journal == nil {
		return unjournaled, nil
	}
	// The journal has as many lines as there are slots, so this never blocks.
	return s.journal.Insert(context.WithoutCancel(ctx), query)
}

func (s *slots) acquire(ctx context.Context) error {
	select {
	case s.free <- struct{}{}:
		return nil
	default:
	}
	n := s.waiting.Add(1)
	defer s.waiting.Add(-1)
	if limit := s.maxQueue.Load(); limit > 0 && n > limit {
		s.metrics.refused.Inc()
		s.onFull(n - 1)
		return ErrQueueFull
	}
	s.metrics.waiting.Inc()
	defer s.metrics.waiting.Dec()
	select {
	case s.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Delete gives the slot back.
func (s *slots) Delete(index int) {
	s.mu.RLock()
	if s.journal != nil && index != unjournaled {
		s.journal.Delete(index)
	}
	s.mu.RUnlock()
	s.metrics.running.Dec()
	<-s.free
}
