package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string, max flow.Bytes, f *Family) *Queue {
	t.Helper()
	q, err := Open(Options{Dir: dir, Name: "q", MaxBytes: max, Family: f})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

// entry is content that names its number.
func entry(i, size int) []byte {
	b := fmt.Appendf(nil, "%d:", i)
	return append(b, bytes.Repeat([]byte{byte(i)}, max(0, size-len(b)))...)
}

func number(t *testing.T, e Entry) int {
	t.Helper()
	var i int
	if _, err := fmt.Sscanf(string(e.Data), "%d:", &i); err != nil {
		t.Fatalf("entry %d has foreign content: %v", e.Seq, err)
	}
	if !bytes.Equal(e.Data, entry(i, len(e.Data))) {
		t.Fatalf("entry %d is not what was put", i)
	}
	return i
}

func put(t *testing.T, q *Queue, from, to, size int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := q.Put(entry(i, size)); err != nil {
			t.Fatal(err)
		}
	}
}

// drain reads and acknowledges everything and returns the numbers.
func drain(t *testing.T, q *Queue) []int {
	t.Helper()
	var got []int
	for {
		e, ok, err := q.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return got
		}
		got = append(got, number(t, e))
		if err := q.Ack(e); err != nil {
			t.Fatal(err)
		}
	}
}

func wantRange(t *testing.T, got []int, from, to int) {
	t.Helper()
	if len(got) != to-from {
		t.Fatalf("%d entries came out, want %d", len(got), to-from)
	}
	for i := range got {
		if got[i] != from+i {
			t.Fatalf("entry %d came where %d should", got[i], from+i)
		}
	}
}

func TestOrderOverSegmentsAndRestarts(t *testing.T) {
	dir := t.TempDir()
	const max = 1 << 20
	q := open(t, dir, max, nil)
	put(t, q, 0, 200, 3000)
	for i := range 50 {
		e, err := q.Next(t.Context())
		if err != nil || number(t, e) != i {
			t.Fatalf("entry %d: %v", number(t, e), err)
		}
		if i == 39 {
			if err := q.Ack(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir, max, nil)
	if s := q.Stats(); s.Entries != 160 {
		t.Errorf("%d entries wait, want 160", s.Entries)
	}
	put(t, q, 200, 220, 10)
	wantRange(t, drain(t, q), 40, 220)
	if s := q.Stats(); s.Entries != 0 || s.DroppedEntries != 0 || s.DamagedBytes != 0 {
		t.Errorf("after everything: %+v", s)
	}
	_ = q.Close()
	q = open(t, dir, max, nil)
	if segs, _ := filepath.Glob(filepath.Join(dir, "*.seg")); len(segs) != 0 {
		t.Errorf("an empty queue keeps %v", segs)
	}
	put(t, q, 220, 221, 10)
	if e, _, err := q.TryNext(); err != nil || e.Seq != 220 {
		t.Errorf("the numbering goes on at %d: %v", e.Seq, err)
	}
}

func TestRewindGivesAgainWhatIsNotAcknowledged(t *testing.T) {
	q := open(t, t.TempDir(), 1<<20, nil)
	put(t, q, 0, 100, 2000)
	var tenth Entry
	for i := range 60 {
		e, _, err := q.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			tenth = e
		}
	}
	if err := q.Ack(tenth); err != nil {
		t.Fatal(err)
	}
	q.Rewind()
	wantRange(t, drain(t, q), 11, 100)
	if err := q.Ack(Entry{Seq: 100}); err == nil {
		t.Error("an entry that was never read was acknowledged")
	}
}

// TestBegun: where a delivery ended is known after a restart, until it is acknowledged.
func TestBegun(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, 1<<20, nil)
	put(t, q, 0, 10, 10)
	var last Entry
	for range 4 {
		var err error
		if last, _, err = q.TryNext(); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := q.Begun(Entry{}); ok {
		t.Error("nothing was begun yet")
	}
	if err := q.Begin(last); err != nil {
		t.Fatal(err)
	}
	_ = q.Close()
	q = open(t, dir, 1<<20, nil)
	first, _, err := q.TryNext()
	if err != nil {
		t.Fatal(err)
	}
	if end, ok := q.Begun(first); !ok || end != 3 || first.Seq != 0 {
		t.Errorf("begun from %d to %d, %v; want 0 to 3", first.Seq, end, ok)
	}
	for range 3 {
		if last, _, err = q.TryNext(); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Ack(last); err != nil {
		t.Fatal(err)
	}
	next, _, err := q.TryNext()
	if _, ok := q.Begun(next); ok || err != nil {
		t.Errorf("entry %d was begun: %v", next.Seq, err)
	}
}

// TestDropOldest: over the bound the oldest go, each is counted, none twice.
func TestDropOldest(t *testing.T) {
	list, reg := health.New(nil), prometheus.NewRegistry()
	f, err := NewFamily("sink", "sink", reg, list)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	q := open(t, dir, 256<<10, f)
	put(t, q, 0, 10, 1000)
	for range 5 { // in flight; two of them acknowledged
		if _, _, err := q.TryNext(); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Ack(Entry{Seq: 1}); err != nil {
		t.Fatal(err)
	}
	put(t, q, 10, 1000, 1000)
	s := q.Stats()
	if s.Bytes > 256<<10 {
		t.Errorf("the files have %d bytes, the bound is %d", s.Bytes, 256<<10)
	}
	if s.Entries+s.DroppedEntries != 998 || s.DroppedEntries == 0 {
		t.Errorf("%d wait and %d were dropped; 998 were not acknowledged", s.Entries, s.DroppedEntries)
	}
	if per := s.DroppedBytes / s.DroppedEntries; per < 950 || per > 1000 {
		t.Errorf("%d bytes were dropped for each entry of 1000", per)
	}
	if err := q.Ack(Entry{Seq: 4}); err != nil { // it was delivered after all
		t.Error(err)
	}
	if got := testutil.ToFloat64(f.dropped.WithLabelValues("q")); got != float64(s.DroppedEntries) {
		t.Errorf("the metric counts %v, want %d", got, s.DroppedEntries)
	}
	if w := list.Active(); len(w) != 1 || w[0].Code != "sink-queue-overflow" || !strings.Contains(w[0].Text, "q: ") {
		t.Errorf("warnings: %+v", w)
	}
	wantRange(t, drain(t, q), int(1000-s.Entries), 1000)
	if w := list.Active(); len(w) != 0 {
		t.Errorf("an empty queue still warns: %+v", w)
	}
	if err := q.Remove(); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(reg); err != nil || n != 0 {
		t.Errorf("a removed queue leaves %d series behind: %v", n, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a removed queue leaves its directory: %v", err)
	}
}

func TestSmallerBoundAtRestart(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir, 1<<20, nil)
	put(t, q, 0, 800, 1000)
	_ = q.Close()
	q = open(t, dir, 128<<10, nil)
	s := q.Stats()
	if s.Bytes > 128<<10 || s.Entries+s.DroppedEntries != 800 {
		t.Errorf("after the bound became smaller: %+v", s)
	}
	wantRange(t, drain(t, q), int(s.DroppedEntries), 800)
}

func TestLimitsOfAnEntry(t *testing.T) {
	q := open(t, t.TempDir(), LeastBytes, nil)
	if err := q.Put(make([]byte, 40<<10)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an entry of more than half the queue: %v", err)
	}
	if err := q.Put(nil); err == nil {
		t.Error("an empty entry was taken")
	}
	for i := range 20 { // larger than a segment
		put(t, q, i, i+1, 30<<10)
	}
	if s := q.Stats(); s.Bytes > uint64(LeastBytes) || s.Entries == 0 {
		t.Errorf("large entries: %+v", s)
	}
	if _, err := Open(Options{Dir: t.TempDir(), MaxBytes: 1000}); err == nil || !strings.Contains(err.Error(), "at least 64KiB") {
		t.Errorf("a tiny queue: %v", err)
	}
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, 1<<20, nil)
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process uses the queue") {
		t.Errorf("opened twice: %v", err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "photo.seg"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: foreign}); err == nil || !strings.Contains(err.Error(), "photo.seg") {
		t.Errorf("a directory with foreign files: %v", err)
	}
}

func TestNextWaitsAndEnds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		q := open(t, dir, 1<<20, nil)
		got := make(chan int, 1)
		fail := make(chan error, 1)
		next := func(ctx context.Context) {
			e, err := q.Next(ctx)
			if err != nil {
				fail <- err
				return
			}
			got <- number(t, e)
		}
		go next(t.Context())
		synctest.Wait()
		put(t, q, 7, 8, 10)
		if i := <-got; i != 7 {
			t.Errorf("waited for %d", i)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go next(ctx)
		synctest.Wait()
		cancel()
		if err := <-fail; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		go next(t.Context())
		synctest.Wait()
		_ = q.Close()
		if err := <-fail; !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if err := q.Put([]byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("put into a closed queue: %v", err)
		}
	})
}

// TestDamage: a torn tail costs the entries in it, damage in the middle the rest
// of its segment, a lost cursor nothing.
func TestDamage(t *testing.T) {
	fill := func(t *testing.T) (string, []string) {
		dir := t.TempDir()
		q := open(t, dir, 1<<20, nil)
		put(t, q, 0, 600, 1000)
		_ = q.Close()
		segs, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
		if len(segs) < 4 {
			t.Fatalf("%d segments", len(segs))
		}
		return dir, segs
	}
	t.Run("torn", func(t *testing.T) {
		dir, segs := fill(t)
		last := segs[len(segs)-1]
		info, err := os.Stat(last)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(last, info.Size()-5); err != nil {
			t.Fatal(err)
		}
		q := open(t, dir, 1<<20, nil)
		if s := q.Stats(); s.DamagedBytes != 1008-5 || s.Entries != 599 {
			t.Errorf("%+v", s)
		}
		put(t, q, 599, 610, 500)
		wantRange(t, drain(t, q), 0, 610)
	})
	t.Run("middle", func(t *testing.T) {
		dir, segs := fill(t)
		b, err := os.ReadFile(segs[1])
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(segs[1], b, 0o600); err != nil {
			t.Fatal(err)
		}
		q := open(t, dir, 1<<20, nil)
		got := drain(t, q)
		if len(got) > 580 || len(got) < 500 || got[len(got)-1] != 599 || got[0] != 0 {
			t.Errorf("%d entries came out, from %d to %d", len(got), got[0], got[len(got)-1])
		}
		if s := q.Stats(); s.DamagedBytes < 30_000 || s.Entries != 0 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("segment gone", func(t *testing.T) {
		dir, segs := fill(t)
		if err := os.Remove(segs[0]); err != nil {
			t.Fatal(err)
		}
		got := drain(t, open(t, dir, 1<<20, nil))
		if len(got) == 0 || got[len(got)-1] != 599 {
			t.Errorf("%d entries came out", len(got))
		}
	})
	t.Run("cursor", func(t *testing.T) {
		dir, _ := fill(t)
		if err := os.WriteFile(filepath.Join(dir, cursorName), bytes.Repeat([]byte("x"), 9000), 0o600); err != nil {
			t.Fatal(err)
		}
		wantRange(t, drain(t, open(t, dir, 1<<20, nil)), 0, 600)
	})
	t.Run("one slot", func(t *testing.T) {
		dir, _ := fill(t)
		q := open(t, dir, 1<<20, nil)
		for range 3 {
			e, _, err := q.TryNext()
			if err != nil || q.Ack(e) != nil {
				t.Fatal(err)
			}
		}
		_ = q.Close()
		name := filepath.Join(dir, cursorName)
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		clear(b[slotGap+10:]) // a torn write of the third value
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		wantRange(t, drain(t, open(t, dir, 1<<20, nil)), 2, 600)
	})
}

// TestProducersBesideConsumer: all orders within a producer are kept while the
// queue overflows, and every entry is either delivered or counted.
func TestProducersBesideConsumer(t *testing.T) {
	q := open(t, t.TempDir(), 512<<10, nil)
	const producers, each = 4, 2000
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(p)))
			for i := range each {
				if err := q.Put(entry(p*each+i, 20+r.IntN(800))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen, last := 0, map[int]int{}
	take := func() bool {
		e, ok, err := q.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return false
		}
		i := number(t, e)
		if prev, known := last[i/each]; known && i <= prev {
			t.Fatalf("entry %d came after %d", i, prev)
		}
		last[i/each] = i
		seen++
		if err := q.Ack(e); err != nil {
			t.Fatal(err)
		}
		return true
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for producing := true; producing; {
		select {
		case <-done:
			producing = false
		default:
			take()
		}
	}
	for take() {
	}
	s := q.Stats()
	// An entry may be dropped while it is being handed out: then it counts twice.
	if total := seen + int(s.DroppedEntries); total < producers*each || total > producers*each+int(s.DroppedEntries) {
		t.Errorf("%d delivered and %d dropped of %d", seen, s.DroppedEntries, producers*each)
	}
	if s.Entries != 0 {
		t.Errorf("%d entries are left", s.Entries)
	}
}

func BenchmarkPutNext(b *testing.B) {
	for _, size := range []int{200, 20 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			q, err := Open(Options{Dir: b.TempDir(), MaxBytes: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer q.Close()
			data := bytes.Repeat([]byte("x"), size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := q.Put(data); err != nil {
					b.Fatal(err)
				}
				e, err := q.Next(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if err := q.Ack(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
