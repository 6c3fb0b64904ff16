package store

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

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
	// One writer at a time: when two create series at once, the TSDB reorders a
	// postings list in place under the eyes of readers (MemPostings.addFor), which
	// the race detector rightly dislikes.
	var writing sync.Mutex
	var heard [2]atomic.Bool // an acknowledgement
	for id := range 2 {
		w := &writer{id: id, rnd: rand.New(rand.NewPCG(4, uint64(id))), acked: samples{}}
		writers = append(writers, w)
		wg.Go(func() {
			for running() {
				writing.Lock()
				err := w.commit(r, 0, clock.Add(10_000), 20)
				writing.Unlock()
				if err == nil {
					heard[id].Store(true)
				}
				switch {
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
	eventually(t, "both writers are heard", func() bool { return heard[0].Load() && heard[1].Load() })
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

// TestReferencesDoNotOutliveAReopening appends with the reference of another
// series, as a scraper does whose series lost its number in a reopening.
func TestReferencesDoNotOutliveAReopening(t *testing.T) {
	r := start(t, config(t.TempDir()))
	one, two := labels.FromStrings("__name__", "one"), labels.FromStrings("__name__", "two")
	appendTo := func(ref storage.SeriesRef, ls labels.Labels, ts int64) storage.SeriesRef {
		t.Helper()
		app := r.AppenderV2(t.Context())
		ref, err := app.Append(ref, ls, 0, ts, 1, nil, nil, storage.AOptions{})
		if err == nil {
			err = app.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	stale := appendTo(0, one, 1000)
	h := r.cur.Load()
	if err := r.breakLog(h, syscall.EIO); err == nil {
		t.Fatal("breaking the log is no error")
	}
	eventually(t, "the store is open again", func() bool { return r.refusal.Load() == nil && r.cur.Load() != h })

	fresh := appendTo(stale, two, 2000)
	if again := appendTo(fresh, two, 3000); again != fresh {
		t.Errorf("reference %d became %d within one opening", fresh, again)
	}
	app := r.AppenderV2(t.Context()).(storage.GetRef)
	if ref, _ := app.GetRef(two, two.Hash()); ref != fresh {
		t.Errorf("GetRef says %d, Append said %d", ref, fresh)
	}
	if err := app.(storage.AppenderV2).Rollback(); err != nil {
		t.Fatal(err)
	}
	q, err := r.Querier(0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	found := map[string]int{}
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	for set.Next() {
		for it := set.At().Iterator(nil); it.Next() != chunkenc.ValNone; {
			found[set.At().Labels().Get("__name__")]++
		}
	}
	if set.Err() != nil || found["one"] != 1 || found["two"] != 2 {
		t.Errorf("found %v (%v), want one sample of one and two of two", found, set.Err())
	}
}

// TestDirectoryMovedAway takes the directory from under the store and puts it
// back: writes are refused meanwhile, and nothing acknowledged is lost.
func TestDirectoryMovedAway(t *testing.T) {
	c := config(filepath.Join(t.TempDir(), "tsdb"))
	r := start(t, c, func(s *Store) { s.every.poll = 5 * time.Millisecond })
	w := &writer{rnd: rand.New(rand.NewPCG(5, 5)), acked: samples{}}
	var ts int64
	write := func() error {
		ts += 1000
		return w.commit(r, 0, ts, 5)
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.Path, c.Path+".away"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "writes are refused", func() bool { return errors.Is(write(), flow.ErrUnavailable) })
	if text := r.warning("store-writes-refused"); !strings.Contains(text, c.Path) {
		t.Errorf("the warning %q does not name the directory", text)
	}
	if err := os.Rename(c.Path+".away", c.Path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "writes are accepted again", func() bool { return write() == nil })
	w.heldBy(t, read(t, r), "after the directory came back")
}
