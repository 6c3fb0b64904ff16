package home

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/conform"
)

// contested lets two islands receive the same series from two replicas, every 10 s.
func contested(w *world, series int, rounds int64) {
	lists := make([][2]labels.Labels, series)
	for k := range lists {
		for r := range 2 {
			lists[k][r] = labels.FromStrings("__name__", "requests_total", "job", "shop", "instance", fmt.Sprint("i", k/100), "pod", fmt.Sprint("p", k), "replica", fmt.Sprint(r))
		}
	}
	begin := w.now()
	for round := range rounds {
		for r := range 2 {
			t := begin + round*10*second + int64(r)*3*second
			time.Sleep(time.Duration(max(0, t-w.now())) * time.Millisecond)
			i := w.islands[r]
			i.mu.Lock()
			i.journal.forget() // not what is measured
			b := i.engine.Begin(uint64(r) + 1)
			for k := range lists {
				_, _ = b.Append(0, lists[k][r], 0, t+conform.Origin, float64(t))
			}
			b.Commit(w.clock().UnixMilli())
			i.journal.forget()
			i.mu.Unlock()
		}
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What it takes to count series once that two islands receive is bounded by series:
// in memory for home, follower and directory, and on the wire, where next to nothing
// goes while nothing changes. HOME_SERIES=100000 measures as many.
func TestContested(t *testing.T) {
	n := 5000
	if text := os.Getenv("HOME_SERIES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2, ruleText)
		before := heap()
		for _, i := range w.islands {
			i.boot()
		}
		sent := func() (n float64) {
			for _, i := range w.islands {
				n += testutil.ToFloat64(i.home.m.sent)
			}
			return n
		}
		contested(w, n, 3)
		settled := sent()
		contested(w, n, 6)
		bytes, steady := float64(heap()-before)/float64(n), (sent()-settled)/60
		follows := 0
		for _, i := range w.islands {
			for _, k := range i.engine.Homes() {
				follows += k
			}
		}
		t.Logf("%d series on two islands: %.0f bytes of heap per series on both together, %.1f bytes sent per series to find homes, then %.0f bytes/s; %d are followed",
			n, bytes, settled/float64(n), steady, follows)
		if follows != n {
			t.Errorf("%d of %d series are followed", follows, n)
		}
		if settled > 200*float64(n) || steady > 1000 {
			t.Errorf("finding homes took %.0f bytes, and %.0f bytes/s after that; want at most 200 per series and 1000", settled, steady)
		}
		if bytes > 3000 { // what does not grow with series is in it
			t.Errorf("%.0f bytes of heap per series, want at most 3000", bytes)
		}
		w.close()
	})
}
