package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// AppenderV2 starts a transaction on the TSDB's own appender, of which only the
// end is watched. It never returns nil and never blocks: while writes are refused
// the appender it returns answers every call with the reason.
func (s *Store) AppenderV2(ctx context.Context) storage.AppenderV2 {
	if r := s.refusal.Load(); r != nil {
		s.m.refused.WithLabelValues(r.reason).Inc()
		return refused{r.err}
	}
	h := s.acquire()
	if h == nil {
		s.m.refused.WithLabelValues("not_ready").Inc()
		return refused{s.absent()}
	}
	inner, ok := h.db.AppenderV2(ctx).(tsdbAppender)
	if !ok {
		h.release()
		return refused{errors.New("BUG: the TSDB's appender lost its optional methods")}
	}
	a := &appender{tsdbAppender: inner, s: s, h: h, since: math.MaxInt64}
	if h.epoch > 0 {
		return &epochRefs{appender: a, epoch: h.epoch << epochShift}
	}
	return a
}

// tsdbAppender is what the TSDB's appender can do; all of it stays reachable.
type tsdbAppender interface {
	storage.ExemplarAppenderV2
	storage.GetRef
}

type appender struct {
	tsdbAppender
	s     *Store
	h     *handle
	done  bool
	since int64 // the earliest time of its samples, in milliseconds
}

// Append notes the time of what is taken.
func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AOptions) (storage.SeriesRef, error) {
	ref, err := a.tsdbAppender.Append(ref, ls, st, t, v, h, fh, o)
	if err == nil {
		a.since = min(a.since, t)
	}
	return ref, err
}

// Commit returns nil only when every record of the transaction lies complete in
// the log, with nothing half-written before it.
func (a *appender) Commit() error {
	if a.done {
		return tsdb.ErrAppenderClosed
	}
	a.done = true
	defer a.h.release()
	if a.h.broken.Load() {
		_ = a.tsdbAppender.Rollback() // what it logs is cut off when the store reopens
		return a.s.writeError()
	}
	err := a.tsdbAppender.Commit()
	a.s.history.added(a.since, time.Now()) // also where some of it failed
	if errors.Is(err, tsdb.ErrAppenderClosed) {
		return err
	}
	if err == nil && a.h.reg.logFailed() {
		err = errUncertain
	}
	if err != nil {
		return a.s.breakLog(a.h, err)
	}
	return nil
}

// Rollback may fail too: the series it made are in memory and must be logged.
func (a *appender) Rollback() error {
	if a.done {
		return tsdb.ErrAppenderClosed
	}
	a.done = true
	defer a.h.release()
	err := a.tsdbAppender.Rollback()
	if err != nil && !errors.Is(err, tsdb.ErrAppenderClosed) {
		return a.s.breakLog(a.h, err)
	}
	return err
}

// refused answers every call with the reason why writes are not taken.
type refused struct{ err error }

func (r refused) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 0, r.err
}

func (r refused) AppendExemplars(storage.SeriesRef, labels.Labels, []exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, r.err
}

func (r refused) GetRef(labels.Labels, uint64) (storage.SeriesRef, labels.Labels) {
	return 0, labels.EmptyLabels()
}

func (r refused) Commit() error { return r.err }
func (refused) Rollback() error { return nil }

// refusal is why writes are not taken at the moment.
type refusal struct {
	reason string // for the metric: disk_full, write_log, low_space, no_directory
	err    error
	reopen bool // the log must be repaired before writes go on
}

// breakLog stops all writing after the log failed: the head may hold series whose
// record is missing, and a half-written record would cut off, at the next replay,
// whatever were logged behind it.
func (s *Store) breakLog(h *handle, cause error) error {
	first := h.broken.CompareAndSwap(false, true)
	if first {
		s.m.logFailures.Inc()
	}
	r := &refusal{reason: "write_log", reopen: true}
	kind := ErrWriteLog
	if isDiskFull(cause) || errors.Is(cause, errUncertain) && s.diskShort() {
		r.reason, kind = "disk_full", ErrDiskFull
	}
	r.err = fmt.Errorf("writes refused: %w: %w", kind, cause)
	// Whoever noticed first need not know the cause; the one who does corrects it.
	if old := s.refusal.Load(); first || old != nil && old.reason == "write_log" && r.reason == "disk_full" {
		s.refuse(r)
	}
	return r.err
}

func (s *Store) diskShort() bool {
	room, err := measure(s.Dir())
	return err == nil && room.short()
}

// writeError is the present refusal, for a transaction caught in the middle.
func (s *Store) writeError() error {
	if r := s.refusal.Load(); r != nil {
		return r.err
	}
	return ErrNotReady // the store reopened while the transaction was open
}

// refuse stops new transactions. It never replaces a refusal that asks for more.
func (s *Store) refuse(r *refusal) {
	s.refusing.Lock()
	defer s.refusing.Unlock()
	if s.refusal.Load() != nil && !r.reopen {
		return
	}
	s.refusal.Store(r)
	s.logger.Error("writes refused", "dir", s.Dir(), "err", r.err)
	s.m.refusing.Set(1)
	s.warn.refused.Set("%v", r.err)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// accept takes back the refusal r, unless another one has taken its place.
func (s *Store) accept(r *refusal) {
	s.refusing.Lock()
	defer s.refusing.Unlock()
	if s.refusal.Load() != r {
		return
	}
	s.warn.refused.Clear()
	s.m.refusing.Set(0)
	s.logger.Info("writes accepted again", "dir", s.Dir())
	s.refusal.Store(nil)
}
