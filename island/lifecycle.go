package island

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/portal"
)

// stack starts named steps one after the other and stops them in the reverse
// order, so that the stop order never has to be written down.
type stack struct {
	logger *slog.Logger
	failed chan error // first step that ended by itself

	mu    sync.Mutex
	steps []*step
}

type step struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed

	status portal.RoomStatus // guarded by stack.mu
}

func newStack(logger *slog.Logger) *stack {
	return &stack{logger: logger, failed: make(chan error, 1)}
}

// start runs a step in its own goroutine. The step's context descends from
// none: only stop ends it, in its turn.
func (s *stack) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	st := &step{cancel: cancel, done: make(chan struct{}), status: portal.RoomStatus{Name: name}}
	s.mu.Lock()
	s.steps = append(s.steps, st)
	s.mu.Unlock()
	s.enter(st, portal.RoomRunning, nil)
	go func() {
		defer close(st.done)
		st.err = run(ctx)
		if ctx.Err() != nil {
			s.enter(st, portal.RoomStopped, st.err)
			return
		}
		if st.err == nil {
			st.err = errors.New("ended without being asked to")
		}
		s.enter(st, portal.RoomFailed, st.err)
		select {
		case s.failed <- fmt.Errorf("%s: %w", name, st.err):
		default:
		}
	}()
}

func (s *stack) enter(st *step, state portal.RoomState, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.status.State, st.status.Since = state, time.Now()
	if err != nil {
		st.status.Error = err.Error()
	}
}

// grace is what a step has to end, however much of the time those above it took.
const grace = time.Second

// stop ends the steps, last started first, all within one deadline. A step that
// does not end in time is named in the error and left behind; those below it
// are still asked to stop, and have a second each.
func (s *stack) stop(timeout time.Duration) error {
	s.mu.Lock()
	steps := slices.Clone(s.steps)
	s.mu.Unlock()
	return s.stopSteps(timeout, steps)
}

func (s *stack) stopSteps(timeout time.Duration, steps []*step) error {
	deadline, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var errs []error
	for _, st := range slices.Backward(steps) {
		begin := time.Now()
		select {
		case <-st.done: // it has failed before, and start has said so
		default:
			s.enter(st, portal.RoomStopping, nil)
		}
		st.cancel()
		if !ended(st, deadline.Done()) {
			errs = append(errs, fmt.Errorf("stop %s: still running after %s", st.status.Name, timeout))
			continue
		}
		if st.err != nil && !errors.Is(st.err, context.Canceled) {
			errs = append(errs, fmt.Errorf("stop %s: %w", st.status.Name, st.err))
		}
		s.logger.Debug("stopped", "room", st.status.Name, "took", time.Since(begin))
	}
	return errors.Join(errs...)
}

// ended waits for a step until the deadline, or for grace where that is over.
func ended(st *step, deadline <-chan struct{}) bool {
	select {
	case <-st.done:
		return true
	case <-deadline:
	}
	select {
	case <-st.done:
		return true
	case <-time.After(grace):
		return false
	}
}

// end stops the named steps, last started first, and forgets them: they belong
// to something that this island gives up while it goes on.
func (s *stack) end(timeout time.Duration, names ...string) error {
	s.mu.Lock()
	var leaving []*step
	s.steps = slices.DeleteFunc(s.steps, func(st *step) bool {
		if !slices.Contains(names, st.status.Name) {
			return false
		}
		leaving = append(leaving, st)
		return true
	})
	s.mu.Unlock()
	return s.stopSteps(timeout, leaving)
}

// states lists the steps in start order.
func (s *stack) states() []portal.RoomStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]portal.RoomStatus, 0, len(s.steps))
	for _, st := range s.steps {
		out = append(out, st.status)
	}
	return out
}
