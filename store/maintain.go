package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/budget"
	"github.com/atoll-mesh/atoll/flow"
)

// The TSDB's own background loop writes head chunks every minute and panics when
// the disk is full. So it is left idle (its interval is for ever, its automatic
// compaction off) and keep does its work: the same calls, in the same rhythm, but
// only when there is room for them.

const (
	slackFile  = "slack"
	slackBytes = 1 << 20
)

// keep runs the store until ctx ends or it cannot be reopened.
func (s *Store) keep(ctx context.Context) error {
	poll := time.NewTicker(s.every.poll)
	defer poll.Stop()
	round := time.NewTicker(s.every.maintain)
	defer round.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			err = s.heal(ctx)
		case <-poll.C:
			err = s.heal(ctx)
		case <-s.kick:
			err = s.maintain(ctx)
		case <-round.C:
			err = s.maintain(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// room is the state of a file system.
type room struct{ free, total uint64 }

func measure(dir string) (room, error) {
	free, total, err := budget.Space(dir)
	return room{free, total}, err
}

// margin is what must stay free for the writes that cannot be refused any more:
// 2 % of the file system, but 1 MiB at least and 16 MiB at most. It is the last
// line; the budget's reserve comes long before it.
func (r room) margin() uint64 { return min(max(r.total/50, 1<<20), 16<<20) }

// chunkSegment is the size of a block's chunk files: the TSDB's own 512 MiB on
// large file systems, less on small ones, as each is given its full size in
// advance while a block is written.
func (r room) chunkSegment() uint64 { return min(max(r.total/256, 4<<20), 512<<20) }

func (r room) short() bool { return r.free < r.margin() }
func (r room) ample() bool { return r.free >= 2*r.margin() }

// refuseBlind stops writing when the directory cannot be looked at: it was moved
// or its file system is gone, and what is written would not be found again.
func (s *Store) refuseBlind(cause error) {
	if s.refusal.Load() != nil {
		return
	}
	s.refuse(&refusal{reason: "no_directory", reopen: true, err: fmt.Errorf("writes refused: %w: %w", ErrWriteLog, cause)})
}

// guard refuses writes before the disk is full and takes them again once there is
// ample room. It runs beside keep, for a compaction takes long and takes space.
func (s *Store) guard(ctx context.Context) {
	for ; ; pause(ctx, s.every.poll) {
		if ctx.Err() != nil {
			return
		}
		room, err := measure(s.Dir())
		if err != nil {
			s.refuseBlind(err)
			continue
		}
		switch r := s.refusal.Load(); {
		case r == nil && room.short():
			s.refuse(&refusal{reason: "low_space", err: fmt.Errorf("writes refused: %w: %s free on %s, the store needs %s",
				ErrDiskFull, flow.Bytes(room.free).Short(), s.Dir(), flow.Bytes(room.margin()).Short())})
		case r != nil && !r.reopen && room.ample():
			s.accept(r)
		}
	}
}

// heal reopens a store whose log failed, once the disk takes writes again.
func (s *Store) heal(ctx context.Context) error {
	r := s.refusal.Load()
	if r == nil || !r.reopen || time.Now().Before(s.retryAt) {
		return nil
	}
	if room, err := measure(s.Dir()); err != nil || !room.ample() {
		return nil
	}
	if err := probe(s.Dir()); err != nil {
		s.logger.Warn("the disk does not take writes yet", "err", err)
		return nil
	}
	// A disk that fails again and again is not hammered.
	if time.Since(s.retryAt) > 10*retryMax {
		s.retryGap = 0
	}
	s.retryGap = min(max(2*s.retryGap, s.every.retry), retryMax)
	s.retryAt = time.Now().Add(s.retryGap)
	if err := s.reopen(ctx); err != nil {
		return err
	}
	if h := s.cur.Load(); h != nil && !h.broken.Load() {
		s.accept(s.refusal.Load()) // which may have been made more precise since
	}
	return nil
}

// probe writes, syncs and removes a file, as statfs knows nothing of quotas and
// broken disks.
func probe(dir string) (err error) {
	f, err := os.Create(filepath.Join(dir, "probe.tmp"))
	if err != nil {
		return fmt.Errorf("probe the disk: %w", err)
	}
	_, err = f.Write(make([]byte, 256<<10))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("probe the disk: %w", err)
	}
	return nil
}

// keepSlack holds a little space back, with which the logs can be closed in an
// orderly way when there is none left: closing writes the rest of a page.
func (s *Store) keepSlack() {
	if room, err := measure(s.Dir()); err != nil || !room.ample() {
		return
	}
	b := make([]byte, slackBytes)
	for i := range b {
		b[i] = byte(rand.Uint32()) // file systems store zeros for nothing
	}
	if err := os.WriteFile(filepath.Join(s.Dir(), slackFile), b, 0o666); err != nil {
		s.logger.Warn("holding back space to close the store with", "err", err)
	}
}

// useSlack gives the space held back to the closing of a store that is short of it.
func (s *Store) useSlack() {
	if s.refusal.Load() == nil {
		return
	}
	if err := os.Remove(filepath.Join(s.Dir(), slackFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.logger.Warn("freeing space to close the store with", "err", err)
	}
}

// maintain does what the TSDB would do every minute: map finished head chunks
// into files, compact, delete what is beyond retention.
func (s *Store) maintain(ctx context.Context) error {
	h := s.acquire()
	if h == nil {
		return nil
	}
	err := s.compact(ctx, h)
	h.release()
	switch {
	case err == nil:
		s.m.maintenance.WithLabelValues("ok").Inc()
		s.warn.compaction.Clear()
		return nil
	case ctx.Err() != nil:
		return nil
	case isDiskFull(err):
		s.m.maintenance.WithLabelValues("no_room").Inc()
	default:
		s.m.maintenance.WithLabelValues("failed").Inc()
	}
	s.logger.Warn("compaction", "err", err)
	s.warn.compaction.Set("%v", err)
	if s.reload.Swap(false) {
		// Lowering the retention is how people make room; opening applies it.
		return s.reopen(ctx)
	}
	return nil
}

func (s *Store) compact(ctx context.Context, h *handle) error {
	room, err := measure(s.Dir())
	if err != nil {
		return err
	}
	// A pass writes one chunk of some 200 bytes for each series at most, rarely two.
	if need := room.margin() + 512*h.db.Head().NumSeries(); room.free < need {
		return fmt.Errorf("map head chunks: %w: %s free, %s needed", errNoRoom, flow.Bytes(room.free).Short(), flow.Bytes(need).Short())
	}
	h.db.ForceHeadMMap()
	h.comp.reload.Store(true)
	err = h.db.Compact(ctx)
	if !h.comp.reload.Load() {
		s.reload.Store(false)
	}
	return err
}

// compactor guards the TSDB's compactor against running the disk full, and slips
// a reload of the blocks into each round, for which the TSDB has no call.
type compactor struct {
	tsdb.Compactor
	dir     string
	segment uint64 // bytes a chunk file is given in advance

	elsewhere Elsewhere // or nil
	reload    atomic.Bool
}

// reloadPlan is a plan with nothing in it: compacting it writes no block, and the
// TSDB reloads blocks and applies retention after each plan.
const reloadPlan = "reload"

func (c *compactor) Plan(dir string) ([]string, error) {
	if c.reload.Swap(false) {
		return []string{reloadPlan}, nil
	}
	plan, err := c.Compactor.Plan(dir)
	if err != nil || c.elsewhere == nil {
		return plan, err
	}
	return c.mergeable(plan)
}

func (c *compactor) Compact(dest string, dirs []string, open []*tsdb.Block) ([]ulid.ULID, error) {
	if len(dirs) == 1 && dirs[0] == reloadPlan {
		return nil, nil
	}
	var need uint64
	for _, b := range open {
		for _, d := range dirs {
			if b.Dir() == d {
				need += uint64(b.Size())
			}
		}
	}
	if err := c.fits(need); err != nil {
		return nil, fmt.Errorf("merge %d blocks: %w", len(dirs), err)
	}
	return c.Compactor.Compact(dest, dirs, open)
}

func (c *compactor) Write(dest string, b tsdb.BlockReader, mint, maxt int64, base *tsdb.BlockMeta) ([]ulid.ULID, error) {
	// A block takes some 1.5 bytes a sample, the log and head chunks it replaces
	// four times that. If it does not fit after all, the TSDB removes its traces.
	if err := c.fits(uint64(max(b.Size(), 0)) / 4); err != nil {
		return nil, fmt.Errorf("write the head as a block: %w", err)
	}
	return c.Compactor.Write(dest, b, mint, maxt, base)
}

func (c *compactor) fits(need uint64) error {
	room, err := measure(c.dir)
	if err != nil {
		return err
	}
	if need += c.segment + room.margin(); room.free < need {
		return fmt.Errorf("%w: %s free on %s, %s needed", errNoRoom, flow.Bytes(room.free).Short(), c.dir, flow.Bytes(need).Short())
	}
	return nil
}
