package aggregate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/journal"
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/share"
	"github.com/atoll-mesh/atoll/aggregate/sink"
)

var errNoDir = errors.New("aggregate.Options.Dir is empty; sinks need a directory for their queues")

func openJournal(o Options) (*journal.Journal, error) {
	if o.Dir == "" {
		return nil, nil
	}
	j, err := journal.Open(journal.Options{
		Dir: filepath.Join(o.Dir, "state"), MaxBytes: o.Config.JournalSize,
		Logger: o.Logger, Registerer: o.Registerer, Health: o.Health,
	})
	if err != nil {
		return nil, fmt.Errorf("open the state of aggregation: %w", err)
	}
	return j, nil
}

func openSinks(o Options) (*sink.Sinks, error) {
	if o.Dir == "" {
		if len(o.Config.Sink.RemoteWrite)+len(o.Config.Sink.Kafka) > 0 {
			return nil, errNoDir
		}
		return nil, nil
	}
	s, err := sink.New(sink.Options{
		Config: o.Config.Sink, Dir: filepath.Join(o.Dir, "sinks"),
		Logger: o.Logger, Registerer: o.Registerer, Health: o.Health,
	})
	if err != nil {
		return nil, fmt.Errorf("open the sinks of aggregation: %w", err)
	}
	return s, nil
}

// recover reads the last checkpoint and repeats what came after it. Windows that
// were sealed after the checkpoint come out again: their values are the same.
func (a *Aggregator) recover() error {
	if a.journal == nil {
		return nil
	}
	start := time.Now()
	seq, err := a.journal.LoadCheckpoint(func(r io.Reader) (err error) {
		if err := a.engine.Restore(r); err != nil {
			return err
		}
		if err := a.owner.Restore(r); err != nil {
			return err
		}
		a.shared.state, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the last checkpoint of aggregation: %w", err)
	}
	frames := 0
	err = a.journal.Replay(seq, func(frame []byte) error {
		frames++
		if share.IsNote(frame) {
			if a.shared.waits {
				a.shared.notes = append(a.shared.notes, slices.Clone(frame))
			}
			return nil
		}
		return a.engine.ReplayFrame(frame, func(w *partial.Window) error {
			a.replayed = append(a.replayed, a.finish(w)...)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("replay the journal of aggregation: %w", err)
	}
	a.m.replayed.Add(float64(frames))
	if frames > 0 {
		a.log.Info("aggregation goes on where it stopped", "frames", frames, "windows_again", len(a.replayed), "seconds", time.Since(start).Seconds())
	}
	return nil
}

// checkpoint writes the state, unless results wait that only the journal could
// bring back.
func (a *Aggregator) checkpoint() (saved bool) {
	if a.journal == nil {
		return false
	}
	a.turn.Lock()
	defer a.turn.Unlock()
	if a.out.waits() || len(a.replayed)+len(a.shared.windows)+len(a.shared.notes) > 0 {
		return false
	}
	// What is journalled between here and the snapshot is in both; the engine does
	// not count it twice.
	seq, err := a.journal.Rotate()
	if err == nil {
		err = a.journal.WriteCheckpoint(seq, func(w io.Writer) error {
			if err := a.engine.Snapshot(w, nil); err != nil {
				return err
			}
			if err := a.owner.Snapshot(w); err != nil {
				return err
			}
			return a.snapshotShared(w)
		})
	}
	a.unsaved.Store(err != nil)
	if err != nil {
		a.log.Warn("no checkpoint was written; aggregation goes on, and a restart would begin from the one before", "err", err)
	}
	return err == nil
}

// saved writes a checkpoint, as soon as that is possible, or until ctx ends.
func (a *Aggregator) saved(ctx context.Context) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for !a.checkpoint() {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// checkpointEarly writes a checkpoint before its time where the journal would be
// full before: over its bound it keeps nothing.
func (a *Aggregator) checkpointEarly() {
	if a.journal == nil || a.unsaved.Load() {
		return
	}
	if bytes, bound := a.journal.Size(); bytes > bound/2 {
		a.checkpoint()
	}
}

// close ends what open began, as far as it came.
func (a *Aggregator) close() error {
	var errs []error
	if a.sinks != nil {
		errs = append(errs, a.sinks.Close())
	}
	if a.journal != nil {
		errs = append(errs, a.journal.Close())
	}
	return errors.Join(errs...)
}
