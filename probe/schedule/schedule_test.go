package schedule

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// task notes when it ran.
type task struct {
	takes time.Duration
	all   *crowd // nil for none

	mu      sync.Mutex
	dues    []time.Time
	starts  []time.Time
	running int
	twice   bool
	gone    int
}

// crowd counts who runs at a time.
type crowd struct {
	mu        sync.Mutex
	now, most int
}

func (c *crowd) add(n int) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += n
	c.most = max(c.most, c.now)
}

func (k *task) Run(ctx context.Context, due time.Time) {
	k.mu.Lock()
	k.dues, k.starts = append(k.dues, due), append(k.starts, time.Now())
	k.running++
	k.twice = k.twice || k.running > 1
	k.mu.Unlock()
	k.all.add(1)
	defer k.all.add(-1)
	select {
	case <-ctx.Done():
	case <-time.After(k.takes):
	}
	k.mu.Lock()
	k.running--
	k.mu.Unlock()
}

func (k *task) Gone() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone++
	k.twice = k.twice || k.running > 0
}

func (k *task) runs() []time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]time.Time(nil), k.starts...)
}

func (k *task) told() int      { k.mu.Lock(); defer k.mu.Unlock(); return k.gone }
func (k *task) runsNow() int   { k.mu.Lock(); defer k.mu.Unlock(); return k.running }
func (k *task) wasTwice() bool { k.mu.Lock(); defer k.mu.Unlock(); return k.twice }

// begin runs a scheduler until the returned function is called.
func begin(t *testing.T, concurrency int, entries ...Entry) (s *Scheduler, end func()) {
	t.Helper()
	s, err := New(Options{Concurrency: concurrency, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	s.Set(entries)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestEvenAndOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, interval = 2000, 10 * time.Second
		var entries []Entry
		tasks := make([]*task, n)
		for i := range tasks {
			tasks[i] = &task{takes: 50 * time.Millisecond}
			entries = append(entries, Entry{Key: fmt.Sprintf("web/https://%d.example.com/", i), Interval: interval, Task: tasks[i]})
		}
		_, end := begin(t, 1000, entries...)
		time.Sleep(60*time.Second + time.Millisecond)
		end()
		perSecond := map[int64]int{}
		for i, k := range tasks {
			runs := k.runs()
			if len(runs) < 6 || len(runs) > 7 || k.wasTwice() {
				t.Fatalf("task %d ran %d times in six intervals, twice at a time: %v", i, len(runs), k.wasTwice())
			}
			place := Offset(entries[i].Key, interval).Truncate(gridOf(n / interval.Seconds()))
			for j, at := range runs[1:] {
				if off := time.Duration(at.UnixNano())%interval - place; off != 0 {
					t.Fatalf("task %d: run %d is %s off its place", i, j+1, off)
				}
				if !k.dues[j+1].Equal(at) {
					t.Fatalf("task %d: was due %s, ran %s", i, k.dues[j+1], at)
				}
				perSecond[at.UnixNano()%int64(interval)/int64(time.Second)]++
			}
		}
		mean := 0.0
		for _, c := range perSecond {
			mean += float64(c) / float64(len(perSecond))
		}
		for second, c := range perSecond {
			if math.Abs(float64(c)-mean) > mean/3 || len(perSecond) != 10 {
				t.Errorf("second %d of ten has %d runs, the mean is %.0f", second, c, mean)
			}
		}
	})
}

func TestFirstRunComesSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, end := begin(t, 10)
		defer end()
		time.Sleep(time.Hour)
		k := &task{}
		s.Set([]Entry{{Key: "a", Interval: 24 * time.Hour, Task: k}})
		time.Sleep(soonest)
		synctest.Wait()
		if n := len(k.runs()); n != 1 {
			t.Errorf("%d runs within %s", n, soonest)
		}
		time.Sleep(48 * time.Hour)
		if n := len(k.runs()); n != 3 {
			t.Errorf("%d runs within two days", n)
		}
	})
}

func TestSlowTasksAreSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &task{takes: 2500 * time.Millisecond}
		s, end := begin(t, 10, Entry{Key: "a", Interval: time.Second, Task: slow})
		time.Sleep(30 * time.Second)
		end()
		if n := len(slow.runs()); n < 10 || n > 11 || slow.wasTwice() {
			t.Errorf("%d runs of 2.5s in 30s, twice at a time: %v", n, slow.wasTwice())
		}
		if n := testutil.ToFloat64(s.m.skipped.WithLabelValues(skippedRunning)); n < 18 || n > 21 {
			t.Errorf("%v runs are counted as skipped", n)
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &crowd{}
		var entries []Entry
		tasks := make([]*task, 100)
		for i := range tasks {
			tasks[i] = &task{takes: time.Second, all: all}
			entries = append(entries, Entry{Key: fmt.Sprint(i), Interval: 2 * time.Second, Task: tasks[i]})
		}
		s, end := begin(t, 20, entries...) // work for 50 is there
		time.Sleep(60 * time.Second)
		synctest.Wait()
		if all.most != 20 {
			t.Errorf("%d ran at once", all.most)
		}
		runs := 0
		for i, k := range tasks {
			if n := len(k.runs()); n < 6 || k.wasTwice() {
				t.Errorf("task %d ran %d times: it starves", i, n)
			}
			runs += len(k.runs())
		}
		if runs < 1180 || runs > 1220 {
			t.Errorf("%d runs, 20 at a time for 60s are 1200", runs)
		}
		skips := testutil.ToFloat64(s.m.skipped.WithLabelValues(skippedBusy)) + testutil.ToFloat64(s.m.skipped.WithLabelValues(skippedRunning))
		if skips < 1700 || skips > 1900 {
			t.Errorf("%v skips are counted, about 1800 runs are missing", skips)
		}
		s.SetConcurrency(100)
		time.Sleep(time.Second)
		before := testutil.ToFloat64(s.m.skipped.WithLabelValues(skippedBusy))
		time.Sleep(20 * time.Second)
		if n := testutil.ToFloat64(s.m.skipped.WithLabelValues(skippedBusy)) - before; n != 0 {
			t.Errorf("%v are skipped though there is room for all", n)
		}
		end()
		if s.workers != 0 {
			t.Errorf("%d workers remain", s.workers)
		}
	})
}

// TestTogether has runs begin some at a time, however many there are, and each a
// second after the one before. It ends while some are queued.
func TestTogether(t *testing.T) {
	for n, most := range map[int]int{300: 25, 1500: 200} {
		synctest.Test(t, func(t *testing.T) {
			var entries []Entry
			tasks := make([]*task, n)
			for i := range tasks {
				tasks[i] = &task{takes: time.Millisecond}
				entries = append(entries, Entry{Key: fmt.Sprint(i), Interval: time.Second, Task: tasks[i]})
			}
			s, end := begin(t, 1000, entries...)
			time.Sleep(3 * time.Second)
			before := testutil.ToFloat64(s.m.skipped.WithLabelValues(skippedRunning))
			times := map[time.Duration]int{}
			for _, k := range tasks {
				runs := k.runs()
				at := runs[len(runs)-1]
				if since := at.Sub(runs[len(runs)-2]); since != time.Second {
					t.Fatalf("a run begins %s after the one before", since)
				}
				times[time.Duration(at.UnixNano())%time.Second]++
			}
			end()
			if len(times) > most || len(times) < most/3 {
				t.Errorf("%d runs a second begin at %d times, want %d at most and a third of that at least", n, len(times), most)
			}
			for at, c := range times {
				if at%(time.Second/time.Duration(most)) != 0 || c > 30 {
					t.Errorf("%d of %d runs begin at %s", c, n, at)
				}
			}
			if before != 0 {
				t.Errorf("%v are skipped", before)
			}
		})
	}
}

func TestReloadKeepsThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := &task{takes: 300 * time.Millisecond}, &task{}, &task{}
		s, end := begin(t, 10, Entry{Key: "a", Interval: time.Second, Task: a}, Entry{Key: "b", Interval: time.Second, Task: b})
		time.Sleep(5500 * time.Millisecond)
		synctest.Wait()
		for i := range 100 { // reloads do not disturb
			s.Set([]Entry{{Key: "a", Interval: time.Second, Task: a}, {Key: fmt.Sprint(i), Interval: time.Minute, Task: &task{}}})
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if b.told() != 1 {
			t.Errorf("b was told %d times that it is gone", b.told())
		}
		time.Sleep(3*time.Second - time.Millisecond)
		runs := a.runs()
		for i, at := range runs[1:] {
			if at.UnixNano()%int64(time.Second) != int64(Offset("a", time.Second).Truncate(40*time.Millisecond)) {
				t.Errorf("run %d is out of place", i+1)
			}
		}
		if len(runs) < 9 || len(runs) > 11 {
			t.Errorf("%d runs in 9.5s", len(runs))
		}
		for a.runsNow() == 0 { // replaced in the middle of a run
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		s.Set([]Entry{{Key: "a", Interval: time.Second, Task: c}})
		if a.told() != 0 {
			t.Error("told that it is gone while it runs")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if a.told() != 1 || a.wasTwice() || len(c.runs()) != 2 {
			t.Errorf("replaced: told %d times, in a run: %v, the next ran %d times", a.told(), a.wasTwice(), len(c.runs()))
		}
		end()
		if c.told() != 0 {
			t.Error("the end of the process is not the end of a target")
		}
	})
}

// TestStopEndsRuns: Run returns when the tasks that run have seen the end of their
// context, and leaves no goroutine: the bubble would not end.
func TestStopEndsRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &task{takes: time.Hour}
		_, end := begin(t, 10, Entry{Key: "a", Interval: time.Second, Task: k})
		time.Sleep(5 * time.Second)
		before := time.Now()
		end()
		if time.Since(before) != 0 || k.runsNow() != 0 {
			t.Errorf("took %s, %d run", time.Since(before), k.runsNow())
		}
	})
}
