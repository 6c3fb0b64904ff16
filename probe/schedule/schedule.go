package schedule

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Task is what is run. Run is told when it was due.
type Task interface {
	Run(ctx context.Context, due time.Time)
	// Gone is called once, when the task was taken away and does not run any more.
	Gone()
}

// Entry is a task and when it runs.
type Entry struct {
	// Key tells the task from the others, and places it within its interval.
	Key      string
	Interval time.Duration
	Task     Task
}

// Options are what a Scheduler needs.
type Options struct {
	// Concurrency is how many tasks run at once; at least 1.
	Concurrency int
	Registerer  prometheus.Registerer
}

// Scheduler runs tasks.
type Scheduler struct {
	m *metrics

	mu          sync.Mutex
	concurrency int
	started     time.Time // with a monotonic reading; zero before Run
	wall        time.Duration
	items       map[string]*item
	queue       due
	ready       fifo
	workers     int // that exist
	idle        int // of them, that wait for work
	stopped     bool
	busy        busyCount
	grid        time.Duration // runs are planned for its multiples by the wall clock
	work        *sync.Cond
	start       func()        // one more worker; nil before Run
	changed     chan struct{} // the next due time may be another
}

// idleWorkers are kept for the next task: their stacks have grown already.
const idleWorkers = 64

// New returns a Scheduler without tasks; it starts nothing.
func New(o Options) (*Scheduler, error) {
	if o.Concurrency < 1 {
		return nil, fmt.Errorf("making the scheduler of probes: concurrency %d: must be 1 or more", o.Concurrency)
	}
	s := &Scheduler{concurrency: o.Concurrency, items: map[string]*item{}, changed: make(chan struct{}, 1)}
	s.work = sync.NewCond(&s.mu)
	s.m = newMetrics(s)
	if o.Registerer != nil {
		if err := s.m.register(o.Registerer); err != nil {
			return nil, fmt.Errorf("register the metrics of the scheduler: %w", err)
		}
	}
	return s, nil
}

// SetConcurrency changes how many tasks run at once; those that run go on.
func (s *Scheduler) SetConcurrency(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.concurrency = max(1, n)
	s.employ()
}

// Set replaces all entries. A key that stays, with the same interval, is not
// disturbed: neither its place in time nor a run that goes on; its task may be
// another one, which takes the next run. Tasks that go are told so, at once or when
// their run is over.
func (s *Scheduler) Set(entries []Entry) {
	s.mu.Lock()
	seen := make(map[string]bool, len(entries))
	var rate float64
	var gone []Task
	for _, e := range entries {
		if seen[e.Key] {
			continue
		}
		seen[e.Key] = true
		rate += float64(time.Second) / float64(e.Interval)
		it := s.items[e.Key]
		if it == nil {
			it = &item{Entry: e, at: -1, first: true}
			s.items[e.Key] = it
			s.place(it)
			continue
		}
		if it.Task != e.Task {
			if it.state == running {
				it.leaving = append(it.leaving, it.Task)
			} else {
				gone = append(gone, it.Task)
			}
		}
		again := it.Interval != e.Interval
		it.Entry = e
		if again {
			s.place(it)
		}
	}
	for key, it := range s.items {
		if seen[key] {
			continue
		}
		delete(s.items, key)
		if it.at >= 0 {
			heap.Remove(&s.queue, it.at)
		}
		it.removed = true
		if it.state != running {
			gone = append(gone, it.Task)
		}
	}
	s.grid = gridOf(rate)
	s.mu.Unlock()
	s.wake()
	for _, t := range gone {
		t.Gone()
	}
}

// Offset is the place of a key within its interval.
func Offset(key string, interval time.Duration) time.Duration {
	return time.Duration(xxhash.Sum64String(key) % uint64(interval))
}

// gridOf is how coarse the time of that many runs a second is. The process falls
// asleep and wakes up for each time at which something is due, and for each answer
// that comes alone: where runs are few, this costs more than the runs. Some begin
// together for this reason; no more, since they measure time and are in each other's
// way. All steps divide a second, so that runs are as evenly spaced as before.
func gridOf(rate float64) time.Duration {
	const together = 12
	for _, grid := range []time.Duration{40, 20, 10, 5, 2, 1} {
		if grid *= time.Millisecond; rate*grid.Seconds() <= together {
			return grid
		}
	}
	return 0
}

// soonest is within what time a new task runs for the first time, which may be
// long before its place in its interval.
const soonest = 5 * time.Second

// place puts an item where it is due next.
func (s *Scheduler) place(it *item) {
	if s.started.IsZero() {
		return
	}
	now := s.now()
	into := (s.wall + now - Offset(it.Key, it.Interval)) % it.Interval // of the interval that goes on
	it.due = now - into + it.Interval
	if soon := now + Offset(it.Key, min(it.Interval, soonest)); it.first {
		it.first = soon < it.due
		it.due = min(it.due, soon)
	}
	if it.at >= 0 {
		heap.Fix(&s.queue, it.at)
	} else {
		heap.Push(&s.queue, it)
	}
}

// now is the monotonic time since the start.
func (s *Scheduler) now() time.Duration { return time.Since(s.started) }

func (s *Scheduler) wake() {
	select {
	case s.changed <- struct{}{}:
	default: // it is awake already
	}
}

// Run runs tasks until ctx ends, and returns when none runs any more. It may be
// called once. Tasks that are still there are not told that they are gone.
func (s *Scheduler) Run(ctx context.Context) error {
	s.mu.Lock()
	s.started = time.Now()
	s.wall = time.Duration(s.started.UnixNano())
	for _, it := range s.items {
		s.place(it)
	}
	s.mu.Unlock()
	var workers sync.WaitGroup
	s.startWith(ctx, &workers)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.stopped = true
			s.work.Broadcast()
			s.mu.Unlock()
			workers.Wait()
			return nil
		case <-timer.C:
		case <-s.changed:
		}
		timer.Reset(s.dispatch())
	}
}

// longestSleep bounds how long nothing happens where nothing is due.
const longestSleep = time.Minute

// dispatch makes ready what is due, and returns the time until something is again.
func (s *Scheduler) dispatch() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for len(s.queue) > 0 {
		it := s.queue[0]
		planned := (s.wall + it.due).Truncate(s.grid) - s.wall
		if planned > now {
			return min(planned-now, longestSleep)
		}
		late := now - planned
		missed := late / it.Interval // the machine slept, or was stopped
		it.due += missed * it.Interval
		planned += missed * it.Interval
		if missed > 0 {
			s.m.skipped.WithLabelValues(skippedStopped).Add(float64(missed))
		}
		switch it.state {
		case idle:
			it.state, it.wanted = queued, planned
			s.ready.push(it)
		case queued:
			s.m.skipped.WithLabelValues(skippedBusy).Inc()
			s.busy.add(1, time.Now())
		case running:
			s.m.skipped.WithLabelValues(skippedRunning).Inc()
		}
		it.due += it.Interval
		if it.first {
			it.first = false
			s.place(it)
		}
		heap.Fix(&s.queue, it.at)
		s.employ()
	}
	return longestSleep
}
