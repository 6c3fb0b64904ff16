// Package drain empties a sink's queue, round by round.
//
// In: a queue, and how a sink gathers and delivers the entries of one round. Out:
// deliveries. Guaranteed: an entry is acknowledged only after it was delivered;
// what was gathered and not delivered is gathered again.
package drain

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/atoll-mesh/atoll/flow/queue"
)

// Rounds are a sink's part of the work.
type Rounds interface {
	// Collect waits for entries and returns the last one of the round.
	Collect(ctx context.Context) (queue.Entry, error)
	// Deliver sends the round; false says that ctx ended before.
	Deliver(ctx context.Context) bool
}

// Run works until ctx ends or q is closed; it returns nil then. It waits for
// between where q cannot be read.
func Run(ctx context.Context, q *queue.Queue, log *slog.Logger, between time.Duration, r Rounds) error {
	q.Rewind()
	for {
		last, err := r.Collect(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, queue.ErrClosed) {
				return nil
			}
			log.Warn("the queue cannot be read now", "err", err)
			q.Rewind()
			if Pause(ctx, between) != nil {
				return nil
			}
			continue
		}
		if !r.Deliver(ctx) {
			return nil
		}
		if err := q.Ack(last); err != nil && !errors.Is(err, queue.ErrClosed) {
			return err
		}
	}
}

// Pause waits for d, or until ctx ends, which it returns the reason of.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
