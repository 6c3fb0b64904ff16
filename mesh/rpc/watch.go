package rpc

import (
	"sync"
	"time"
)

// watch notices silence on one link while the other side owes bytes: from the
// start of a unary call to its end, and from each message sent on a stream until
// anything comes. A stream that is merely open owes nothing.
type watch struct {
	after  time.Duration
	report func()
	// reports counts those under way, for who must wait for them.
	reports *sync.WaitGroup

	mu      sync.Mutex
	unary   int // open unary calls
	streams int // open streams
	owed    bool
	since   time.Time // when the present silence began; zero while nothing is owed
	timer   *time.Timer
	stopped bool
	// reporting holds the timer back, so that there is one report at a time.
	reporting bool
}

// begin notes a call; end must follow.
func (w *watch) begin(unary bool) {
	w.mu.Lock()
	if unary {
		w.unary++
	} else {
		w.streams++
	}
	w.mu.Unlock()
	w.sent()
}

// sent notes that something was sent for which bytes must come back.
func (w *watch) sent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owed = true
	if w.since.IsZero() {
		w.since = time.Now()
	}
	w.arm(w.after)
}

// heard notes that bytes came.
func (w *watch) heard() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owed = false
	if w.since = (time.Time{}); w.unary > 0 {
		w.since = time.Now()
	}
}

func (w *watch) end(unary bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if unary {
		w.unary--
	} else {
		w.streams--
	}
	if w.unary == 0 && (w.streams == 0 || !w.owed) {
		w.since, w.owed = time.Time{}, false
	}
}

// arm sets the timer unless it runs.
func (w *watch) arm(d time.Duration) {
	if w.timer == nil && !w.reporting && !w.stopped {
		w.timer = time.AfterFunc(d, w.look)
	}
}

// look runs when the timer does: it reports silence, and goes on while bytes
// are owed, because a path may die after the mesh found it well.
func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = nil
	if w.since.IsZero() || w.stopped {
		return
	}
	if left := w.after - time.Since(w.since); left > 0 {
		w.arm(left)
		return
	}
	w.reporting = true
	w.reports.Add(1)
	w.mu.Unlock()
	w.report()
	w.reports.Done()
	w.mu.Lock()
	w.reporting = false
	if !w.since.IsZero() {
		w.arm(w.after)
	}
}

// stop ends the watch; a report may be under way still.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
