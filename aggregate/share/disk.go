package share

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/atoll-mesh/atoll/flow/queue"
)

func (s *Share) openQueue() error {
	if s.o.Dir == "" {
		return nil
	}
	family, err := queue.NewFamily("aggregate_share", "queue", s.o.Registerer, s.o.Health)
	if err != nil {
		return err
	}
	s.queue, err = queue.Open(queue.Options{
		Dir: filepath.Join(s.o.Dir, "parts"), Name: "parts", MaxBytes: s.o.MaxQueue, Family: family, Logger: s.log,
	})
	if err != nil {
		return fmt.Errorf("open the queue of parts for other islands: %w", err)
	}
	return nil
}

// rewind takes back, once, what went to disk since the snapshot that this island begins
// from: it is pushed again, and parts on disk come after those in memory, in order.
func (s *Share) rewind() {
	if s.queue == nil || s.rewound {
		return
	}
	s.rewound = true
	if err := s.queue.Truncate(s.tail); err != nil {
		s.log.Warn("parts on disk may be there twice", "err", err)
	}
	s.spilled = int(s.queue.Stats().Entries)
}

// refill takes parts back from disk once there is room for them.
func (s *Share) refill() {
	for s.queue != nil && s.spilled > 0 && s.bytes-s.spare < int(s.o.MaxPending)/2 {
		e, ok, err := s.queue.TryNext()
		if err != nil {
			s.log.Warn("parts on disk cannot be read now", "err", err)
			return
		}
		if !ok { // the oldest were dropped, and counted, because the queue was full
			s.spilled = 0
			return
		}
		s.spilled--
		s.taken = &e
		if p := s.fromEntry(e.Data); p != nil {
			_ = s.keep(p, false) // in memory there is no error
		} else {
			s.m.drop("unknown_rule", 1)
		}
	}
}

// acknowledge lets go of what an earlier snapshot has.
func (s *Share) acknowledge() {
	if s.covered != nil {
		if err := s.queue.Ack(*s.covered); err != nil && !errors.Is(err, queue.ErrClosed) {
			s.log.Warn("parts on disk stay behind", "err", err)
		}
	}
	s.covered = s.taken
}
