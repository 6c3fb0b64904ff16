package store

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const (
	// headBuffer gathers head chunks in memory before they are written.
	headBuffer = 256 << 10
	// segmentBytes is a quarter of the TSDB's default: a damaged stretch of log
	// costs at most the rest of its segment.
	segmentBytes = 32 << 20
	// maxBlock is Prometheus' longest block; a shorter retention makes it shorter.
	maxBlock = 31 * 24 * time.Hour
)

// tsdbOptions are Prometheus' own, except where a constant above says why not.
func tsdbOptions(c Config) *tsdb.Options {
	o := tsdb.DefaultOptions()
	o.WALSegmentSize = segmentBytes
	o.WALCompression, _ = walCompression(c.WALCompression)
	o.HeadChunksWriteBufferSize = headBuffer
	o.RetentionDuration = time.Duration(c.Retention.Time).Milliseconds()
	o.MaxBytes = int64(c.Retention.Size)
	// Any window makes the TSDB open its out-of-order log, publish sets the right
	// one: to open that log later would race with commits.
	o.OutOfOrderTimeWindow = max(1, time.Duration(c.OutOfOrderWindow).Milliseconds())
	o.EnableExemplarStorage = true // at size 0 it stores nothing, and can grow later
	o.MaxExemplars = c.MaxExemplars
	o.EnableMetadataWALRecords = c.WALMetadata
	o.MaxBlockDuration = maxBlock.Milliseconds()
	if r := o.RetentionDuration; r > 0 && r/10 < o.MaxBlockDuration {
		o.MaxBlockDuration = r / 10
	}
	o.NoLockfile = true // Store.lock holds it
	// The TSDB's own loop must stay idle, see maintain.go.
	o.BlockReloadInterval = math.MaxInt64
	return o
}

// tsdbConfig is the part that ApplyConfig can change.
func tsdbConfig(c Config) *promconfig.Config {
	return &promconfig.Config{StorageConfig: promconfig.StorageConfig{
		TSDBConfig: &promconfig.TSDBConfig{
			OutOfOrderTimeWindow: time.Duration(c.OutOfOrderWindow).Milliseconds(),
			Retention: &promconfig.TSDBRetentionConfig{
				Time: c.Retention.Time,
				Size: units.Base2Bytes(c.Retention.Size),
			},
		},
		ExemplarsConfig: &promconfig.ExemplarsConfig{MaxExemplars: c.MaxExemplars},
	}}
}

// open checks and mends the directory, then opens the TSDB in it.
func (s *Store) open() (*handle, error) {
	start := time.Now()
	s.keepSlack()
	if err := s.mend(); err != nil {
		return nil, fmt.Errorf("check the store's files: %w", err)
	}
	h := &handle{
		reg:     newLogRegistry(),
		stats:   tsdb.NewDBStats(),
		drained: make(chan struct{}),
	}
	h.refs.Store(1)
	s.stats.Store(h.stats)
	room, err := measure(s.Dir())
	if err != nil {
		return nil, err
	}
	o := tsdbOptions(*s.cfg.Load())
	o.MaxBlockChunkSegmentSize = int64(room.chunkSegment())
	o.NewCompactorFunc = func(ctx context.Context, r prometheus.Registerer, l *slog.Logger, ranges []int64, pool chunkenc.Pool, o *tsdb.Options) (tsdb.Compactor, error) {
		c, err := tsdb.NewLeveledCompactorWithOptions(ctx, r, l, ranges, pool, tsdb.LeveledCompactorOptions{
			MaxBlockChunkSegmentSize:    o.MaxBlockChunkSegmentSize,
			EnableOverlappingCompaction: o.EnableOverlappingCompaction,
		})
		h.comp = &compactor{Compactor: c, dir: s.Dir(), segment: room.chunkSegment(), elsewhere: s.elsewhere}
		return h.comp, err
	}
	if s.elsewhere != nil {
		o.BlocksToDelete = s.blocksToDelete(h)
	}
	log := slog.New(observer{s.logger.Handler(), s.observe})
	db, err := tsdb.Open(s.Dir(), log, h.reg, o, h.stats)
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", s.Dir(), err)
	}
	db.DisableCompactions()
	if s.notified != nil {
		db.SetWriteNotified(s.notified)
	}
	h.db = db
	if s.opened {
		s.epoch++
	}
	h.epoch = s.epoch
	s.opened = true
	s.m.opens.Inc()
	s.m.openSeconds.Set(time.Since(start).Seconds())
	s.logger.Info("store open", "dir", s.Dir(), "series", db.Head().NumSeries(), "blocks", len(db.Blocks()), "seconds", time.Since(start).Seconds())
	return h, nil
}

// openPatiently opens, and while it is only space that is missing, waits for it.
func (s *Store) openPatiently(ctx context.Context) (*handle, error) {
	t := time.NewTicker(s.every.poll)
	defer t.Stop()
	for {
		h, err := s.open()
		if err == nil {
			s.warn.openFailed.Clear()
			return h, nil
		}
		if !isDiskFull(err) {
			return nil, err
		}
		s.logger.Error("opening the store", "err", err)
		s.warn.openFailed.Set("%v", err)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-t.C:
				room, err := measure(s.Dir())
				waiting = err != nil || !room.ample() || probe(s.Dir()) != nil
			}
		}
	}
}

// reopen replaces a TSDB whose log failed. Queries are answered with ErrNotReady
// from the moment the last running one is through until the log is replayed.
func (s *Store) reopen(ctx context.Context) error {
	s.logger.Info("reopening the store", "dir", s.Dir())
	if err := s.closeCurrent(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// What was not flushed belongs to transactions that were refused.
		s.logger.Warn("closing the store before it is opened again", "err", err)
	}
	h, err := s.openPatiently(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.publish(h)
	return nil
}
