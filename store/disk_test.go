package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"golang.org/x/sys/unix"

	"github.com/atoll-mesh/atoll/budget"
	"github.com/atoll-mesh/atoll/flow"
)

// smallDisk mounts a file system of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a full disk cannot be tried: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill takes all space of dir but leave bytes, and returns how to give it back.
func fill(t *testing.T, dir string, leave uint64) (free func()) {
	t.Helper()
	name := filepath.Join(filepath.Dir(dir), "ballast") // beside the store: not in its crash images
	now, _, err := budget.Space(dir)
	if err != nil {
		t.Fatal(err)
	}
	if now > leave {
		if err := os.WriteFile(name, make([]byte, now-leave), 0o666); err != nil && leave > 0 {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// writer commits big transactions of incompressible samples and remembers those
// that were acknowledged.
type writer struct {
	id    int
	rnd   *rand.Rand
	acked samples
	last  error
}

func (w *writer) commit(s storage.AppendableV2, round int, ts int64, n int) error {
	app := s.AppenderV2(context.Background())
	batch := map[string]float64{}
	for i := range n {
		// Some series are new in each round: their record may be the torn one.
		id := fmt.Sprintf("%d-%d-%d", w.id, i, round*(i%2))
		v := w.rnd.Float64()
		ls := labels.FromStrings("__name__", "m", "i", id)
		if _, err := app.Append(0, ls, 0, ts, v, nil, nil, storage.AOptions{}); err != nil {
			return errors.Join(err, app.Rollback())
		}
		batch[id] = v
	}
	if err := app.Commit(); err != nil {
		return err
	}
	for id, v := range batch {
		if w.acked[id] == nil {
			w.acked[id] = map[int64]float64{}
		}
		w.acked[id][ts] = v
	}
	return nil
}

// holds reports whether all acknowledged samples are in s.
func (w *writer) heldBy(t *testing.T, got samples, when string) {
	t.Helper()
	missing := 0
	for id, times := range w.acked {
		for ts, v := range times {
			if have, ok := got[id][ts]; !ok || have != v {
				missing++
			}
		}
	}
	if missing > 0 {
		t.Errorf("%s: %d of %d acknowledged samples of writer %d are missing", when, missing, w.acked.count(), w.id)
	}
}

// TestDiskFullWhileWriting lets four writers hit the end of the disk in the
// middle of a record, again and again: whatever was acknowledged must be there
// in a crash image taken on the full disk, after the recovery in the process,
// and after a restart.
func TestDiskFullWhileWriting(t *testing.T) {
	c := config(filepath.Join(smallDisk(t, "64m"), "tsdb"))
	c.OutOfOrderWindow = model.Duration(time.Hour)
	// The watch on free space would step in first.
	r := start(t, c, func(s *Store) { s.every.poll = time.Hour })
	var writers []*writer
	for id := range 4 {
		writers = append(writers, &writer{id: id, rnd: rand.New(rand.NewPCG(7, uint64(id))), acked: samples{}})
	}
	acked := 0
	for round := range 3 {
		free := fill(t, c.Path, 1<<20)
		var wg sync.WaitGroup
		for _, w := range writers {
			wg.Go(func() {
				for n := int64(0); ; n++ {
					ts := int64(round)*1_000_000 + n*1000
					if n%3 == 2 {
						ts -= 1500 // out of order
					}
					if w.last = w.commit(r, round, ts, 3000); w.last != nil {
						return
					}
				}
			})
		}
		wg.Wait()
		for _, w := range writers {
			if !errors.Is(w.last, ErrDiskFull) || !errors.Is(w.last, flow.ErrUnavailable) {
				t.Fatalf("writer %d: %v", w.id, w.last)
			}
		}
		wantText(t, r.warning("store-writes-refused"), "writes refused: disk full")
		image := copyDir(t, c.Path)
		now := read(t, r) // queries go on
		for _, w := range writers {
			w.heldBy(t, now, "on the full disk")
			acked += w.acked.count()
		}
		free()
		eventually(t, "writes are accepted again", func() bool {
			select {
			case r.wake <- struct{}{}:
			default:
			}
			return r.refusal.Load() == nil
		})
		if text := r.warning("store-writes-refused"); text != "" {
			t.Errorf("still warned: %s", text)
		}
		now = read(t, r)
		crashed := start(t, config(image))
		then := read(t, crashed)
		crashed.stop()
		for _, w := range writers {
			w.heldBy(t, now, "after the recovery")
			w.heldBy(t, then, "in the crash image")
		}
	}
	if acked == 0 {
		t.Error("nothing was acknowledged: the test shows nothing")
	}
	if n := r.metric("atoll_store_log_failures_total"); n == 0 {
		t.Error("no write failed in the middle of a record: the test shows nothing")
	} else if opens := r.metric("atoll_store_opens_total"); opens != n+1 {
		t.Errorf("opened %v times after %v failures of the log", opens, n)
	}
	r.stop()
	r = start(t, c)
	got := read(t, r)
	for _, w := range writers {
		w.heldBy(t, got, "after a restart")
	}
}

// TestStopOnAFullDisk: stopping leaves no goroutine and no open file, or else the
// disk could not be unmounted.
func TestStopOnAFullDisk(t *testing.T) {
	c := config(filepath.Join(smallDisk(t, "24m"), "tsdb"))
	r := start(t, c, func(s *Store) { s.every.poll = time.Hour })
	w := &writer{rnd: rand.New(rand.NewPCG(2, 9)), acked: samples{}}
	free := fill(t, c.Path, 1<<20)
	for ts := int64(0); w.last == nil; ts += 1000 {
		w.last = w.commit(r, 0, ts, 20_000)
	}
	fill(t, c.Path, 0)
	r.stop()
	free()
	w.heldBy(t, read(t, start(t, c)), "after a stop on the full disk")
}

// TestOpenTransactionsFailCleanly: appenders handed out before the disk was full
// end with an error and hold nothing open.
func TestOpenTransactionsFailCleanly(t *testing.T) {
	c := config(filepath.Join(smallDisk(t, "24m"), "tsdb"))
	r := start(t, c)
	mustAppend(t, r, 1000, 1)
	early, unused := r.AppenderV2(t.Context()), r.AppenderV2(t.Context())
	if _, err := early.Append(0, series(0), 0, 5000, 1, nil, nil, storage.AOptions{}); err != nil {
		t.Fatal(err)
	}
	free := fill(t, c.Path, 1200<<10)
	w := &writer{rnd: rand.New(rand.NewPCG(8, 9)), acked: samples{}}
	for ts := int64(2000); w.last == nil; ts += 10 {
		w.last = w.commit(r, 0, ts, 100_000)
	}
	if r.metric("atoll_store_log_failures_total") != 1 {
		t.Fatalf("the log did not fail: %v", w.last)
	}
	if err := early.Commit(); !errors.Is(err, ErrDiskFull) {
		t.Errorf("Commit of a transaction begun before: %v", err)
	}
	if err := unused.Rollback(); err != nil {
		t.Errorf("Rollback of a transaction begun before: %v", err)
	}
	free()
	eventually(t, "writes are accepted again", func() bool { return appendFloats(r, 9000, 1) == nil })
	if _, ok := read(t, r)["0"][5000]; ok {
		t.Error("a refused sample was kept")
	}
}

func TestLowSpaceRefusesBeforeTheDiskIsFull(t *testing.T) {
	c := config(filepath.Join(smallDisk(t, "24m"), "tsdb"))
	r := start(t, c)
	mustAppend(t, r, 1000, 1)
	free := fill(t, c.Path, 900<<10)
	eventually(t, "writes are refused", func() bool { return r.refusal.Load() != nil })
	err := appendFloats(r, 2000, 1)
	if !errors.Is(err, ErrDiskFull) {
		t.Errorf("Append: %v", err)
	}
	wantText(t, fmt.Sprint(err), "writes refused: disk full", "900 KiB free on "+c.Path, "the store needs 1 MiB")
	if r.metric("atoll_store_refused_transactions_total") == 0 || r.metric("atoll_store_writes_refused") != 1 {
		t.Error("the refusal is not counted")
	}
	if n := read(t, r).count(); n != 1 {
		t.Errorf("read %d samples, want 1", n)
	}
	free()
	eventually(t, "writes are accepted again", func() bool { return appendFloats(r, 3000, 1) == nil })
	if n := r.metric("atoll_store_opens_total"); n != 1 {
		t.Errorf("opened %v times for a log that never failed", n)
	}
}

func TestStartOnAFullDisk(t *testing.T) {
	c := config(filepath.Join(smallDisk(t, "24m"), "tsdb"))
	r := start(t, c)
	w := &writer{rnd: rand.New(rand.NewPCG(1, 9)), acked: samples{}}
	for ts := range int64(20) {
		if err := w.commit(r, 0, 1000*ts, 1000); err != nil {
			t.Fatal(err)
		}
	}
	want := read(t, r)
	r.stop()
	segment := filepath.Join(c.Path, "wal", "00000000")
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	write(t, segment, string(append(b, "half a record"...)))
	free := fill(t, c.Path, 0)
	r = start(t, c)
	if diff := cmp.Diff(want, read(t, r)); diff != "" {
		t.Errorf("on the full disk:\n%s", diff[:min(len(diff), 500)])
	}
	eventually(t, "writes are refused", func() bool { return r.refusal.Load() != nil })
	free()
	eventually(t, "writes are accepted", func() bool { return appendFloats(r, 1_000_000, 1) == nil })
}

// TestNoRoomToCompact: the store does not try what cannot fit, and lowering the
// retention still makes room.
func TestNoRoomToCompact(t *testing.T) {
	c := config(filepath.Join(smallDisk(t, "24m"), "tsdb"))
	c.Retention.Time = 0
	r := start(t, c)
	fillBlocks(t, r, 30, 50)
	before, err := r.BlockMetas()
	if err != nil {
		t.Fatal(err)
	}
	free := fill(t, c.Path, 500<<10)
	want := read(t, r)
	if err := r.maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantText(t, r.warning("store-compaction-failed"), "not enough free space to compact")
	if diff := cmp.Diff(want, read(t, r)); diff != "" {
		t.Errorf("a compaction without room changed what is stored:\n%s", diff[:min(len(diff), 500)])
	}
	next := c
	next.Retention.Time = model.Duration(6 * time.Hour)
	commit, _, err := r.Prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	eventually(t, "a shorter retention makes room", func() bool {
		now, err := r.BlockMetas()
		return err == nil && len(now) < len(before)
	})
	free()
	eventually(t, "compaction works again", func() bool { return r.cur.Load() != nil && r.compact(t.Context(), r.cur.Load()) == nil })
}

func TestProbeNeedsARealWrite(t *testing.T) {
	dir := filepath.Join(smallDisk(t, "1m"), "sub")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := probe(dir); err != nil {
		t.Fatal(err)
	}
	fill(t, dir, 100<<10)
	if err := probe(dir); !isDiskFull(err) {
		t.Errorf("probe of a full disk: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("the probe left %v", left)
	}
}
