package router

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"
)

// The states of a breaker as its metric shows them.
const (
	closed = iota
	halfOpen
	open
)

// breaker leaves a backend alone that fails: the library's circuit breaker, with
// pauses that grow.
type breaker struct {
	limits Breaker
	log    *slog.Logger
	state  prometheus.Gauge
	opened prometheus.Counter

	mu    sync.Mutex
	cb    circuitbreaker.CircuitBreaker[any]
	pause time.Duration
	until time.Time
}

// never is longer than any pause: when to go on is decided here.
const never = time.Duration(1 << 62)

// newBreaker makes that of the named backend; log says which it is about.
func newBreaker(l Breaker, name string, log *slog.Logger, m *metrics) *breaker {
	b := &breaker{
		limits: l, log: log,
		state: m.breaker.WithLabelValues(name), opened: m.opened.WithLabelValues(name),
		cb: circuitbreaker.NewBuilder[any]().WithFailureThreshold(l.Failures).WithSuccessThreshold(1).WithDelay(never).Build(),
	}
	b.state.Set(closed)
	return b
}

// Acquire implements remote.Gate. There is one caller at a time.
func (b *breaker) Acquire(ctx context.Context) error {
	for {
		b.mu.Lock()
		wait := time.Duration(0)
		if b.cb.IsOpen() {
			if wait = time.Until(b.until); wait <= 0 {
				b.cb.HalfOpen()
				b.state.Set(halfOpen)
			}
		}
		ok := wait <= 0 && b.cb.TryAcquirePermit()
		b.mu.Unlock()
		if ok {
			return nil
		}
		timer := time.NewTimer(max(wait, 10*time.Millisecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// Record implements remote.Gate.
func (b *breaker) Record(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.cb.State()
	if err == nil {
		b.cb.RecordSuccess()
	} else {
		b.cb.RecordFailure()
	}
	switch now := b.cb.State(); now {
	case was:
	case circuitbreaker.ClosedState:
		b.state.Set(closed)
		b.log.Info("the backend takes samples again")
	case circuitbreaker.OpenState:
		b.pause = min(2*b.pause, time.Duration(b.limits.MaxPause))
		if was == circuitbreaker.ClosedState {
			b.pause = time.Duration(b.limits.Pause)
			b.log.Warn("leaving a backend alone that fails", "pause", b.pause, "err", err)
		}
		b.until = time.Now().Add(b.pause)
		b.state.Set(open)
		b.opened.Inc()
	}
}
