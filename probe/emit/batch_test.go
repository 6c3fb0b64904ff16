package emit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// counting is a store that counts.
type counting struct {
	mu                         sync.Mutex
	begun, committed, appended int
	fail                       error
}

func (c *counting) AppenderV2(context.Context) storage.AppenderV2 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun++
	return c
}

func (c *counting) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.appended++
	return 1, nil
}

func (c *counting) Commit() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed++
	return c.fail
}

func (*counting) Rollback() error { return nil }

// TestBatch has many targets write at once, and counts transactions of the store.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counting{}
		lost := 0
		b := NewBatch(c, func(_ error, n int) { lost += n })
		e := newEmitter(t, b)
		const targets = 50
		write := func() {
			var all sync.WaitGroup
			for i := range targets {
				target := e.Target(labels.FromStrings("instance", fmt.Sprint(i)))
				all.Go(func() {
					if err := target.Append(t.Context(), 1000, &protocol.Result{Up: true, Took: time.Second}); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		write()
		if c.begun != 1 || c.committed != 0 || c.appended != 2*targets {
			t.Errorf("at once: %d begun, %d committed, %d samples", c.begun, c.committed, c.appended)
		}
		time.Sleep(batchFor)
		synctest.Wait()
		if c.committed != 1 {
			t.Errorf("%d committed after %s", c.committed, batchFor)
		}
		write()
		b.Flush()
		b.Flush()
		if c.begun != 2 || c.committed != 2 {
			t.Errorf("flushed: %d begun, %d committed", c.begun, c.committed)
		}
		time.Sleep(batchFor / 2)
		write() // the timer of the one before must not end this one
		time.Sleep(batchFor * 3 / 4)
		if c.committed != 2 {
			t.Errorf("committed before its time: %d", c.committed)
		}
		c.fail = errors.New("disk full")
		time.Sleep(batchFor)
		if synctest.Wait(); c.committed != 3 || lost != targets {
			t.Errorf("%d committed, %d results lost", c.committed, lost)
		}
		c.fail = nil
		for range batchMost/(2*targets) + 1 {
			write()
		}
		if c.committed != 4 {
			t.Errorf("a full batch: %d committed", c.committed)
		}
		b.Flush()
		if c.begun != c.committed {
			t.Errorf("%d begun, %d committed", c.begun, c.committed)
		}
	})
}
