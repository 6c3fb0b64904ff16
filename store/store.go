package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/atoll-mesh/atoll/health"
)

const (
	pollEvery     = 2 * time.Second
	maintainEvery = time.Minute
	scrubAfter    = 2 * time.Minute
	closeTimeout  = time.Minute
	retryMin      = time.Second
	retryMax      = time.Minute
)

var (
	_ storage.SampleAndChunkQueryable = (*Store)(nil)
	_ storage.ExemplarQueryable       = (*Store)(nil)
	_ storage.AppendableV2            = (*Store)(nil)
	_ storage.CostSamplingQueryable   = (*Store)(nil)
)

// Options is what a store is made of; all but Config may be nil.
type Options struct {
	Config     Config
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
	// Elsewhere keeps blocks in another place too; nil if none does.
	Elsewhere Elsewhere
}

// Store keeps samples in a TSDB directory that it holds for itself alone. All
// methods are safe for concurrent use.
type Store struct {
	logger    *slog.Logger
	m         *metrics
	warn      *warnings
	notified  wlog.WriteNotified
	elsewhere Elsewhere // or nil

	cfg   atomic.Pointer[Config]
	apply sync.Mutex // one ApplyConfig at a time, and none while a TSDB is being published

	running, closed atomic.Bool
	ready           chan struct{}
	readyOnce       sync.Once
	cur             atomic.Pointer[handle]       // nil while nothing is open
	stats           atomic.Pointer[tsdb.DBStats] // of the TSDB that is open or being opened
	refusal         atomic.Pointer[refusal]      // nil while samples are taken
	history         *history
	refusing        sync.Mutex // held to change refusal and its warning together

	wake   chan struct{} // look at the disk now
	kick   chan struct{} // compact and apply retention now
	reload atomic.Bool   // retention has changed and was not applied yet
	every  intervals

	// These belong to the goroutine of Run.
	opened   bool      // once before
	epoch    uint64    // how often it was opened again
	retryAt  time.Time // no reopening before
	retryGap time.Duration
}

type intervals struct{ poll, maintain, scrubAfter, close, retry time.Duration }

// New checks the configuration and prepares a store. It touches no file.
func New(o Options) (*Store, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = health.New(nil)
	}
	s := &Store{
		logger:    o.Logger,
		m:         newMetrics(o.Registerer),
		warn:      declare(o.Health),
		elsewhere: o.Elsewhere,
		ready:     make(chan struct{}),
		history:   newHistory(),
		wake:      make(chan struct{}, 1),
		kick:      make(chan struct{}, 1),
		every:     intervals{pollEvery, maintainEvery, scrubAfter, closeTimeout, retryMin},
	}
	s.cfg.Store(&o.Config)
	if o.Registerer != nil {
		if err := o.Registerer.Register(tsdbMetrics{s}); err != nil {
			return nil, fmt.Errorf("register the TSDB's metrics: %w", err)
		}
	}
	return s, nil
}

// SetWriteNotified names who is told after each write to the log, however often
// the store reopens. Call it before Run.
func (s *Store) SetWriteNotified(n wlog.WriteNotified) { s.notified = n }

// Ready is closed once the store answers.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Dir is the TSDB directory; the log lies in its subdirectory wal.
func (s *Store) Dir() string { return s.cfg.Load().Path }

// Run opens the store, keeps it compacted and within its retention, and closes it
// when ctx ends, after the last querier and appender is closed (a minute at most;
// then it returns an error and leaves the files to the next start). Opening
// cannot be interrupted. It can be called once.
func (s *Store) Run(ctx context.Context) (err error) {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("run the store: it was started before")
	}
	defer s.closed.Store(true)
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	h, err := s.openPatiently(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.publish(h)
	s.readyOnce.Do(func() { close(s.ready) })

	beside, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	others.Go(func() { s.guard(beside) })
	others.Go(func() { s.scrub(beside) })
	err = s.keep(ctx)
	s.closed.Store(true)
	stop()
	others.Wait()
	return errors.Join(err, s.closeCurrent(ctx))
}

// lock takes the directory for this process. The TSDB's own lock is not used: it
// would be let go for a moment each time the store reopens.
func (s *Store) lock() (unlock func() error, err error) {
	if err := os.MkdirAll(s.Dir(), 0o777); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	l, err := tsdbutil.NewDirLocker(s.Dir(), "tsdb", s.logger, nil)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", s.Dir(), err)
	}
	if err := l.Lock(); err != nil {
		return nil, fmt.Errorf("lock %s, is another process using it? %w", s.Dir(), err)
	}
	return l.Release, nil
}

// acquire returns the open TSDB with a reference taken, or nil.
func (s *Store) acquire() *handle {
	for {
		h := s.cur.Load()
		if h == nil || h.acquire() {
			return h
		}
	}
}

// absent is why there is no open TSDB.
func (s *Store) absent() error {
	if s.closed.Load() {
		return ErrClosed
	}
	return ErrNotReady
}

func (s *Store) publish(h *handle) {
	s.apply.Lock()
	defer s.apply.Unlock()
	s.configure(h) // the configuration may have changed while h was being opened
	s.cur.Store(h)
}

// Prepare checks a new configuration; commit puts it in force. What needs a
// restart is refused by name with its old and new value.
func (s *Store) Prepare(next Config) (commit, discard func(), err error) {
	if err := next.Validate(); err != nil {
		return nil, nil, err
	}
	if err := s.cfg.Load().fixed(next); err != nil {
		return nil, nil, err
	}
	commit = func() {
		s.apply.Lock()
		defer s.apply.Unlock()
		old := s.cfg.Swap(&next)
		if h := s.acquire(); h != nil {
			s.configure(h)
			h.release()
		}
		if old.Retention != next.Retention {
			s.reload.Store(true)
			select {
			case s.kick <- struct{}{}:
			default:
			}
		}
	}
	return commit, func() {}, nil
}

// configure brings an open TSDB in line with the configuration; s.apply is held.
// It fails for an unknown chunk encoding and for an out-of-order log that cannot
// be made: neither is asked for.
func (s *Store) configure(h *handle) {
	if err := h.db.ApplyConfig(tsdbConfig(*s.cfg.Load())); err != nil {
		s.logger.Error("applying the store's configuration", "err", err)
	}
}

// closeCurrent takes the open TSDB away from its users, waits for those who are
// in the middle of something, and closes it. Once ctx has ended it waits for
// s.every.close longer at most.
func (s *Store) closeCurrent(ctx context.Context) error {
	h := s.cur.Swap(nil)
	if h == nil {
		return nil
	}
	wait, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(s.every.close)
		defer t.Stop()
		select {
		case <-t.C:
			giveUp(context.DeadlineExceeded)
		case <-wait.Done():
		}
	})
	defer stop()
	err := h.drain(wait, func(open int64) {
		s.logger.Warn("closing the store waits for queries", "open", open)
	})
	if err != nil {
		return fmt.Errorf("close the store: %w after %s; the log holds everything, the next start replays it", err, s.every.close)
	}
	s.useSlack()
	if err := h.close(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}
