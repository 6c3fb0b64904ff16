package emit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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

func (c *counting) counts() (begun, committed, appended int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun, c.committed, c.appended
}

func (c *counting) fails(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

// TestBatch has many targets write at once, and counts transactions of the store.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counting{}
		var lost atomic.Int64
		b := NewBatch(c, func(_ error, n int) { lost.Add(int64(n)) })
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
		want := func(when string, begun, committed, appended int) {
			t.Helper()
			synctest.Wait()
			if b, k, a := c.counts(); b != begun || k != committed || a != appended {
				t.Errorf("%s: %d begun, %d committed, %d samples; want %d, %d, %d", when, b, k, a, begun, committed, appended)
			}
		}
		const samples = 2 * targets
		write()
		want("at once", 1, 0, samples)
		time.Sleep(batchFor)
		want("in its time", 1, 1, samples)
		write()
		b.Flush()
		b.Flush()
		want("flushed", 2, 2, 2*samples)
		time.Sleep(batchFor / 2)
		write()
		time.Sleep(batchFor * 3 / 4)
		want("at the time of the one before", 3, 2, 3*samples)
		c.fails(errors.New("disk full"))
		time.Sleep(batchFor)
		want("on a full disk", 3, 3, 3*samples)
		if n := lost.Load(); n != targets {
			t.Errorf("%d results are lost of %d", n, targets)
		}
		c.fails(nil)
		for range batchMost / samples {
			write()
		}
		want("full", 4, 4, 3*samples+batchMost)
		if lost.Load() != targets {
			t.Error("more are lost")
		}
	})
}
