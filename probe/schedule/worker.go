package schedule

import (
	"context"
	"sync"
	"time"
)

// state is what an item does.
type state uint8

const (
	idle    state = iota
	queued        // due, and waits for a worker
	running       //
)

// item is an entry and where it stands.
type item struct {
	Entry
	due    time.Duration // next, since the start
	first  bool          // it is not in its place yet
	wanted time.Duration // of the run that is queued or goes on
	at     int           // in the heap, -1 for not
	state  state
	// leaving are tasks that were replaced while they ran; removed, that the item is gone.
	leaving []Task
	removed bool
}

// due is a heap, the earliest first.
type due []*item

func (d due) Len() int           { return len(d) }
func (d due) Less(i, j int) bool { return d[i].due < d[j].due }
func (d due) Swap(i, j int)      { d[i], d[j] = d[j], d[i]; d[i].at, d[j].at = i, j }

// Push implements heap.Interface.
func (d *due) Push(x any) {
	it := x.(*item)
	it.at = len(*d)
	*d = append(*d, it)
}

// Pop implements heap.Interface.
func (d *due) Pop() any {
	last := len(*d) - 1
	it := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	it.at = -1
	return it
}

// fifo is a queue that does not move what waits in it.
type fifo struct {
	items []*item
	head  int
}

func (f *fifo) push(it *item) {
	if f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, it)
}

func (f *fifo) pop() *item {
	if f.head == len(f.items) {
		return nil
	}
	it := f.items[f.head]
	f.items[f.head] = nil
	f.head++
	return it
}

func (f *fifo) len() int { return len(f.items) - f.head }

// employ sees to it that somebody works on what is ready, which nobody does after the end.
func (s *Scheduler) employ() {
	switch {
	case s.ready.len() == 0, s.stopped:
	case s.idle > 0:
		s.idle-- // by who wakes: two signals must reach two workers
		s.work.Signal()
	case s.workers < s.concurrency && s.start != nil:
		s.workers++
		s.start()
	}
}

// startWith makes employ start workers from now on.
func (s *Scheduler) startWith(ctx context.Context, all *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start = func() { all.Go(func() { s.worker(ctx) }) }
}

// worker runs what is ready until there is nothing, or too many workers.
func (s *Scheduler) worker(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.workers-- }()
	for {
		for s.ready.len() == 0 && !s.stopped {
			if s.idle >= idleWorkers || s.workers > s.concurrency {
				return
			}
			s.idle++
			s.work.Wait()
		}
		if s.stopped || s.workers > s.concurrency {
			s.employ()
			return
		}
		s.runNext(ctx)
	}
}

// runNext runs the first of what is ready; s.mu is held before and after.
func (s *Scheduler) runNext(ctx context.Context) {
	it := s.ready.pop()
	if it.removed {
		return
	}
	it.state = running
	task, wanted := it.Task, it.wanted
	at := s.started.Round(0).Add(wanted) // by the wall clock, as it was at the start
	s.m.lateness.Observe((s.now() - wanted).Seconds())
	s.mu.Unlock()
	task.Run(ctx, at)
	s.mu.Lock()
	it.state = idle
	gone := it.leaving
	it.leaving = nil
	if it.removed {
		gone = append(gone, it.Task)
	}
	if len(gone) == 0 {
		return
	}
	s.mu.Unlock()
	for _, t := range gone {
		t.Gone()
	}
	s.mu.Lock()
}
