package store

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
)

// TestReopenUnderLoad breaks the log again and again while others write, read,
// compact and change the configuration.
func TestReopenUnderLoad(t *testing.T) {
	c := config(t.TempDir())
	c.ScrubRate = 1 << 20
	c.Retention.Time = 0
	r := start(t, c, func(s *Store) {
		s.every.maintain, s.every.scrubAfter = 5*time.Millisecond, time.Millisecond
	})
	stop := make(chan struct{})
	running := func() bool {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	var wg sync.WaitGroup
	var writers []*writer
	var clock atomic.Int64
	for id := range 2 {
		w := &writer{id: id, rnd: rand.New(rand.NewPCG(4, uint64(id))), acked: samples{}}
		writers = append(writers, w)
		wg.Go(func() {
			for running() {
				switch err := w.commit(r, 0, clock.Add(10_000), 20); {
				case errors.Is(err, flow.ErrUnavailable):
					<-time.After(time.Millisecond)
				case err != nil && !errors.Is(err, storage.ErrOutOfBounds): // the other one is far ahead
					t.Errorf("writer %d: %v", id, err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for running() {
			if _, err := tryRead(r); err != nil && !errors.Is(err, ErrNotReady) {
				t.Errorf("reader: %v", err)
				return
			}
		}
	})
	wg.Go(func() {
		for n := int64(0); running(); n++ {
			next := c
			next.MaxExemplars = n % 5
			next.OutOfOrderWindow = model.Duration(n % 2 * int64(time.Minute))
			commit, discard, err := r.Prepare(next)
			if err != nil {
				t.Errorf("Prepare: %v", err)
				return
			}
			if n%3 == 0 {
				discard()
			} else {
				commit()
			}
			<-time.After(time.Millisecond)
		}
	})
	const breaks = 5
	for n := range breaks {
		var h *handle
		eventually(t, "the store is open", func() bool {
			h = r.cur.Load()
			return h != nil && r.refusal.Load() == nil
		})
		err := r.breakLog(h, syscall.EIO)
		if !errors.Is(err, ErrWriteLog) || !errors.Is(err, flow.ErrUnavailable) || errors.Is(err, ErrDiskFull) {
			t.Errorf("break %d: %v", n, err)
		}
	}
	eventually(t, "the store is open", func() bool { return r.refusal.Load() == nil && r.cur.Load() != nil })
	close(stop)
	wg.Wait()
	if n := r.metric("atoll_store_opens_total"); n != breaks+1 {
		t.Errorf("opened %v times, want %d", n, breaks+1)
	}
	got := read(t, r)
	for _, w := range writers {
		if w.acked.count() == 0 {
			t.Errorf("writer %d was never acknowledged", w.id)
		}
		w.heldBy(t, got, "after the last reopening")
	}
	r.stop()
	got = read(t, start(t, c))
	for _, w := range writers {
		w.heldBy(t, got, "after a restart")
	}
}
