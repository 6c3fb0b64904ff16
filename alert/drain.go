package alert

import (
	"context"
	"log/slog"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
)

// enterFunc chooses which alerts of a flush go on; leave is called when it is over.
type enterFunc func(context.Context, []*amalert.Alert) (_ context.Context, _ []*amalert.Alert, leave func())

// drainStage lets notifications under way finish before their dispatcher is
// stopped: one that was delivered but cut off before it was written to the
// notification log would be sent again.
type drainStage struct {
	next notify.Stage
	// enter may be nil.
	enter enterFunc

	mu       sync.Mutex
	draining bool
	running  sync.WaitGroup
}

// Exec implements notify.Stage. Once draining it holds new flushes back until
// the dispatcher cancels them; their alerts stay where they are.
func (s *drainStage) Exec(ctx context.Context, l *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		<-ctx.Done()
		return ctx, nil, ctx.Err()
	}
	s.running.Add(1)
	s.mu.Unlock()
	defer s.running.Done()
	if s.enter != nil {
		var leave func()
		ctx, alerts, leave = s.enter(ctx, alerts)
		defer leave()
		if len(alerts) == 0 {
			return ctx, nil, nil
		}
	}
	return s.next.Exec(ctx, l, alerts...)
}

// drain admits no more and waits, at most for the time given; false if some
// notification still runs then.
func (s *drainStage) drain(atMost time.Duration) bool {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	return waitAtMost(s.running.Wait, atMost)
}

// waitAtMost reports whether wait returned in time. If it did not, a goroutine
// stays until it does.
func waitAtMost(wait func(), atMost time.Duration) bool {
	done := make(chan struct{})
	go func() {
		wait()
		close(done)
	}()
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
