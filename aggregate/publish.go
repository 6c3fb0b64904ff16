package aggregate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/queue/warn"
	"github.com/atoll-mesh/atoll/health"
)

// outlet hands results to the store and to the sinks. It is safe for concurrent use.
type outlet struct {
	mu    sync.Mutex
	store storage.AppendableV2                       // nil if results are not stored
	sinks interface{ Write([]partial.Sample) error } // nil without
	m     *metrics
	log   *slog.Logger
	most  int  // samples that wait at most
	stuck bool // the last attempt did not work
	// trouble holds while results wait.
	trouble *warn.Shared
	// waiting are results that the store could not take yet, oldest first.
	waiting []partial.Sample
}

func declareTrouble(list *health.List) *warn.Shared {
	return warn.Declare(list, health.Warning{
		Code: "aggregate-results-wait", Severity: health.SeverityWarning,
		Title:  "results of aggregation wait for the store",
		Remedy: "See why the store takes no samples, such as a full disk. Results are stored by themselves once it does; those over aggregate.pending_samples are lost to the store, the oldest first. No checkpoint is written meanwhile.",
	})
}

// publish takes the results of sealed windows. It returns what the sinks' queues
// say; what the store refuses for now waits, and is tried again with flush.
func (o *outlet) publish(ctx context.Context, samples []partial.Sample) error {
	if len(samples) == 0 {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.m.published.Add(float64(len(samples)))
	var err error
	if o.sinks != nil {
		err = o.sinks.Write(samples)
	}
	if o.store != nil {
		o.waiting = append(o.waiting, samples...)
		o.drain(ctx)
	}
	return err
}

// offer takes all samples or, with an error, none: then the caller has to offer
// them again. Nothing that it takes waits in memory.
func (o *outlet) offer(ctx context.Context, samples []partial.Sample) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drain(ctx)
	if o.store != nil {
		if len(o.waiting) > 0 {
			return fmt.Errorf("store results: %d samples wait before them: %w", len(o.waiting), flow.ErrUnavailable)
		}
		if err := o.write(ctx, samples); err != nil {
			return err
		}
	}
	o.m.published.Add(float64(len(samples)))
	if o.sinks != nil {
		if err := o.sinks.Write(samples); err != nil {
			o.log.Warn("results did not reach every sink", "err", err)
		}
	}
	return nil
}

// waits reports whether something waits for the store.
func (o *outlet) waits() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) > 0
}

func (o *outlet) flush(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drain(ctx)
}

// drain writes what waits; o.mu is held. Only if the store refuses writing as such it stays:
// a full disk, a store that is not open yet. One sample that cannot be stored
// does not hold up the others.
func (o *outlet) drain(ctx context.Context) {
	if len(o.waiting) == 0 || o.store == nil {
		return
	}
	err := o.write(ctx, o.waiting)
	if stuck := err != nil; stuck != o.stuck {
		o.stuck = stuck
		if stuck {
			o.log.Warn("results wait, the store does not take them", "samples", len(o.waiting), "most", o.most, "err", err)
		} else {
			o.log.Info("the store takes results again", "samples", len(o.waiting))
		}
	}
	if err == nil {
		o.trouble.Clear("store")
		o.waiting = o.waiting[:0]
		clear(o.waiting[:cap(o.waiting)])
		if cap(o.waiting) > 1<<16 {
			o.waiting = nil
		}
	} else if over := len(o.waiting) - o.most; over > 0 {
		o.m.refused.WithLabelValues("pending").Add(float64(over))
		o.waiting = slices.Delete(o.waiting, 0, over)
	}
	if err != nil {
		o.trouble.Set("store", "%d results of aggregation wait, of %d that may: %v", len(o.waiting), o.most, err)
	}
	o.m.pending.Set(float64(len(o.waiting)))
}

// write stores samples in one transaction, or nothing.
func (o *outlet) write(ctx context.Context, samples []partial.Sample) error {
	app := o.store.AppenderV2(flow.Strict(ctx))
	refused := map[string]int{}
	for i := range samples {
		s := &samples[i]
		_, err := app.Append(0, s.Labels, 0, s.T, s.V, nil, s.H, storage.AOptions{})
		if err == nil {
			continue
		}
		if errors.Is(err, flow.ErrUnavailable) {
			return errors.Join(fmt.Errorf("store results: %w", err), app.Rollback())
		}
		refused[refusal(err)]++
	}
	if err := app.Commit(); err != nil {
		return fmt.Errorf("store results: %w", err)
	}
	for reason, n := range refused {
		o.m.refused.WithLabelValues(reason).Add(float64(n))
	}
	return nil
}

// refusal is why one sample is refused for good.
func refusal(err error) string {
	switch {
	case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
		return "duplicate"
	case errors.Is(err, storage.ErrOutOfOrderSample), errors.Is(err, storage.ErrOutOfBounds), errors.Is(err, storage.ErrTooOldSample):
		return "out_of_order"
	case errors.Is(err, flow.ErrOverLimit):
		return "limit"
	}
	return "invalid"
}
