package rpc

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"
)

// BreakerState says whether calls to a peer are made.
type BreakerState int

// The states of a circuit breaker; the numbers are the metric's.
const (
	Closed   BreakerState = iota // calls are made
	HalfOpen                     // one call is made to see whether the peer is back
	Open                         // calls are refused at once
)

// String names the state as people do.
func (s BreakerState) String() string {
	switch s {
	case HalfOpen:
		return "half-open"
	case Open:
		return "open"
	}
	return "closed"
}

// BreakerStatus is what is known of a peer's circuit breaker.
type BreakerStatus struct {
	State BreakerState
	// Since is when the state was entered; zero where the peer was never called.
	Since time.Time
	// Until is when an open breaker lets a call try; zero in other states.
	Until time.Time
	// Failures is how many calls failed in a row, LastError what the last of them
	// said, at LastFailure. Both outlive the breaker's closing.
	Failures    int
	LastError   string
	LastFailure time.Time
}

// outcome is what a call says about the peer's reachability.
type outcome int

const (
	neutral outcome = iota // nothing: the caller gave up, or the path was changed on purpose
	success                // it answered, be it with an error
	failure
)

// breaker wraps the library's with a monotonic clock of its own, so that a wall
// clock that jumps does not prolong a pause, with pauses that grow, and with
// results that count only in the state they were begun in.
type breaker struct {
	limits BreakerLimits
	logger *slog.Logger
	m      *clientMetrics
	gauge  prometheus.Gauge // nil where there are too many peers to name

	mu     sync.Mutex
	cb     circuitbreaker.CircuitBreaker[any]
	epoch  int // counts changes of state
	status BreakerStatus
	pause  time.Duration
}

// never is longer than any pause: when to go on is decided here.
const never = time.Duration(1 << 62)

func newBreaker(l BreakerLimits, logger *slog.Logger, m *clientMetrics, gauge prometheus.Gauge) *breaker {
	b := &breaker{limits: l, logger: logger, m: m, gauge: gauge}
	b.cb = circuitbreaker.NewBuilder[any]().WithFailureThreshold(l.Failures).WithSuccessThreshold(1).WithDelay(never).Build()
	b.status.Since = time.Now()
	b.show()
	return b
}

// acquire asks to make a call to the peer of that name. Each permit must be
// given back by record.
func (b *breaker) acquire(name string) (epoch int, refusal string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cb.IsOpen() && !time.Now().Before(b.status.Until) {
		b.cb.HalfOpen()
		b.moved(name)
	}
	if b.cb.TryAcquirePermit() {
		return b.epoch, ""
	}
	b.m.paused.Inc()
	s := b.status
	if s.State == HalfOpen {
		return 0, fmt.Sprintf("calls to %s are paused while one tries whether it is back, after %d failures, last: %s", name, s.Failures, s.LastError)
	}
	return 0, fmt.Sprintf("calls to %s are paused until %s after %d failures, last: %s", name, s.Until.Format(time.TimeOnly), s.Failures, s.LastError)
}

// record gives a permit back with what came of the call that began then. Calls
// that were under way when one failed, and then fail too, met the same trouble
// and do not count again.
func (b *breaker) record(epoch int, name string, begun time.Time, o outcome, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if epoch != b.epoch {
		return
	}
	if o == failure && b.status.State == Closed && begun.Before(b.status.LastFailure) {
		return
	}
	switch o {
	case success:
		b.status.Failures = 0
		b.cb.RecordSuccess()
	case failure:
		b.status.Failures++
		b.status.LastError, b.status.LastFailure = reason, time.Now()
		b.cb.RecordFailure()
	case neutral:
		if b.cb.IsHalfOpen() { // makes a new permit
			b.cb.Open()
			b.cb.HalfOpen()
		}
	}
	if stateOf(b.cb) != b.status.State {
		b.moved(name)
	}
}

// retry lets an open breaker try at once: there is a new path to the peer.
func (b *breaker) retry(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cb.IsOpen() {
		b.cb.HalfOpen()
		b.moved(name)
	}
}

func stateOf(cb circuitbreaker.CircuitBreaker[any]) BreakerState {
	switch cb.State() {
	case circuitbreaker.OpenState:
		return Open
	case circuitbreaker.HalfOpenState:
		return HalfOpen
	}
	return Closed
}

// moved follows a change of the library's state.
func (b *breaker) moved(name string) {
	was := b.status.State
	b.status.State, b.status.Since, b.status.Until = stateOf(b.cb), time.Now(), time.Time{}
	b.epoch++
	switch b.status.State {
	case Open:
		b.pause = min(2*b.pause, time.Duration(b.limits.MaxPause))
		if was == Closed {
			b.pause = time.Duration(b.limits.Pause)
			b.logger.Warn("calls to a peer are paused", "peer", name, "failures", b.status.Failures, "pause", b.pause, "last", b.status.LastError)
		}
		b.status.Until = b.status.Since.Add(b.pause)
		b.m.opened.Inc()
	case Closed:
		b.logger.Info("calls to a peer are made again", "peer", name)
	case HalfOpen:
	}
	b.show()
}

func (b *breaker) show() {
	if b.gauge != nil {
		b.gauge.Set(float64(b.status.State))
	}
}

func (b *breaker) read() BreakerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	if s.State == Open && !time.Now().Before(s.Until) {
		s.State, s.Since, s.Until = HalfOpen, s.Until, time.Time{}
	}
	return s
}
