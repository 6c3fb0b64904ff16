package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// gather is for how long events are gathered for one commit, which is one wait
	// for the disk.
	gather = 500 * time.Millisecond
	// batch is the most of one commit.
	batch = 1024
	// again is when a commit that failed is repeated.
	again = 5 * time.Second
	// sweep is how often too old events are forgotten.
	sweep = 10 * time.Minute
	// forgetAtOnce bounds what one transaction forgets.
	forgetAtOnce = 5000
)

// Run writes what is recorded until ctx ends, then what still waits, and closes the
// file.
func (s *Store) Run(ctx context.Context) error {
	if s.db == nil {
		<-ctx.Done()
		return nil
	}
	tidy := time.NewTicker(sweep)
	defer tidy.Stop()
	s.forgetOld(time.Now())
	for {
		select {
		case <-ctx.Done():
			return s.end()
		case <-tidy.C:
			s.forgetOld(time.Now())
		case asked := <-s.flushes:
			s.write(ctx, s.take(ctx, nil, 0))
			close(asked)
		case e := <-s.queue:
			s.write(ctx, s.take(ctx, []Event{e}, gather))
		}
	}
}

// Flush returns once what was recorded before is on disk, or ctx ends.
func (s *Store) Flush(ctx context.Context) {
	if s.db == nil {
		return
	}
	done := make(chan struct{})
	select {
	case s.flushes <- done:
		<-done
	case <-ctx.Done():
	}
}

// take gathers more events for at most a time.
func (s *Store) take(ctx context.Context, events []Event, patience time.Duration) []Event {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for len(events) < batch {
		if patience == 0 && len(s.queue) == 0 {
			return events
		}
		select {
		case e := <-s.queue:
			events = append(events, e)
		case <-timer.C:
			if patience > 0 {
				return events
			}
		case <-ctx.Done():
			return events
		}
	}
	return events
}

// write repeats until the events are on disk or ctx ends; meanwhile others queue.
func (s *Store) write(ctx context.Context, events []Event) {
	if len(events) == 0 {
		return
	}
	s.kept.Store(int64(len(events)))
	defer s.kept.Store(0)
	for {
		if s.tried(events) {
			return
		}
		timer := time.NewTimer(again)
		select {
		case <-ctx.Done():
			timer.Stop()
			// The last attempt was made a moment ago.
			s.metrics.dropped.Add(float64(len(events)))
			return
		case <-timer.C:
		}
	}
}

func (s *Store) tried(events []Event) bool {
	begin := time.Now()
	err := s.commit(events)
	s.metrics.commit.Observe(time.Since(begin).Seconds())
	if err == nil {
		s.metrics.committed.Add(float64(len(events)))
		s.failing.Clear()
		return true
	}
	s.metrics.failures.Inc()
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("the disk is full: %w", err)
	}
	s.failing.Set("%s: %v; %d events wait", s.path, err, s.waiting())
	s.log.Error("writing the history of alerts", "file", s.path, "events", len(events), "err", err)
	return false
}

func (s *Store) end() error {
	for len(s.queue) > 0 {
		events := s.take(context.Background(), nil, 0)
		if !s.tried(events) {
			s.metrics.dropped.Add(float64(len(events) + len(s.queue)))
			break
		}
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close the history of alerts: %w", err)
	}
	return nil
}

// commit writes the events and what they say of the alerts that fire.
func (s *Store) commit(events []Event) error {
	var grown int64
	err := s.update(func(tx *bbolt.Tx) error {
		grown = 0
		b := tx.Bucket(s.b.events)
		for i := range events {
			n, err := s.put(tx, b, &events[i])
			if err != nil {
				return err
			}
			grown += n
		}
		freed, err := s.forgetOver(b, s.bytes.Load()+grown-int64(s.config.Load().MaxBytes))
		grown -= freed
		return err
	})
	if err == nil {
		s.bytes.Add(grown)
	}
	return err
}

func (s *Store) put(tx *bbolt.Tx, b *bbolt.Bucket, e *Event) (int64, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return 0, fmt.Errorf("encode an event: %w", err)
	}
	sequence, err := b.NextSequence()
	if err != nil {
		return 0, err
	}
	if err := b.Put(eventKey(e.At, sequence), raw); err != nil {
		return 0, err
	}
	return int64(keySize + len(raw)), s.note(tx.Bucket(s.b.open), e)
}

func (s *Store) note(open *bbolt.Bucket, e *Event) error {
	if e.Fingerprint == "" {
		return nil
	}
	switch e.Kind {
	case Firing:
		raw, err := json.Marshal(Open{Alertname: e.Alertname, Severity: e.Severity, Summary: e.Summary, Labels: e.Labels, StartedAt: e.StartedAt})
		if err != nil {
			return fmt.Errorf("encode an alert: %w", err)
		}
		return open.Put([]byte(e.Fingerprint), raw)
	case Resolved:
		return open.Delete([]byte(e.Fingerprint))
	}
	return nil
}

func (s *Store) update(f func(tx *bbolt.Tx) error) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		if s.fail != nil {
			return s.fail()
		}
		return nil
	})
}

// forgetOver forgets the oldest events until so many bytes are free.
func (s *Store) forgetOver(b *bbolt.Bucket, over int64) (freed int64, err error) {
	if over <= 0 {
		return 0, nil
	}
	return s.forget(b, "bytes", func(_ []byte, freed int64) bool { return freed < over })
}

func (s *Store) forgetOld(now time.Time) {
	before := eventKey(now.Add(-time.Duration(s.config.Load().Retention)), 0)
	for more := true; more; {
		var freed int64
		err := s.update(func(tx *bbolt.Tx) (err error) {
			freed, err = s.forget(tx.Bucket(s.b.events), "age", func(k []byte, _ int64) bool { return bytes.Compare(k, before) < 0 })
			return err
		})
		if err != nil {
			s.log.Warn("forgetting old events of alerts", "err", err)
			return
		}
		s.bytes.Add(-freed)
		more = freed > 0
	}
}

func (s *Store) forget(b *bbolt.Bucket, reason string, goes func(key []byte, freed int64) bool) (freed int64, err error) {
	var keys [][]byte
	cur := b.Cursor()
	for k, v := cur.First(); k != nil && len(keys) < forgetAtOnce && goes(k, freed); k, v = cur.Next() {
		keys = append(keys, bytes.Clone(k))
		freed += int64(len(k) + len(v))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return 0, err
		}
	}
	b.Tx().OnCommit(func() { s.metrics.forgotten.WithLabelValues(reason).Add(float64(len(keys))) })
	return freed, nil
}
