package replicate

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"

	"github.com/atoll-mesh/atoll/flow/columnar/fleet"
)

func modelDuration(d time.Duration) model.Duration { return model.Duration(d) }

// TestPerSecond holds a stream to its bytes a second; what it could not send at
// first it reads from the store.
func TestPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := buddyStream()
		s.Budget.PerSecond = 1 << 10
		w := newWorld(t, s)
		w.begin()
		defer w.stop()
		began := time.Now()
		for range 40 {
			w.scrape(1)
			if most := 64<<10 + int64(time.Since(began).Seconds()*1024) + 8<<10; w.bytes.Load() > most {
				t.Fatalf("%d bytes after %s, want at most %d", w.bytes.Load(), time.Since(began), most)
			}
		}
		w.settle()
	})
}

// TestPerDay stops a stream whose budget is spent until the next day, over a
// restart, and then fills the gap.
func TestPerDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := buddyStream()
		s.Budget.PerDay = 20_000
		w := newWorld(t, s)
		time.Sleep(23 * time.Hour) // it is midnight in a bubble
		w.fleet = fleet.New(1, time.Now().UnixMilli())
		w.targets = w.fleet.Targets[12:14]
		w.begin()
		defer w.stop()
		w.scrape(60)
		const slack = 8 << 10 // the frame that went over
		if n := w.bytes.Load(); n < 20_000 || n > 20_000+slack {
			t.Fatalf("%d bytes in a day, want 20000", n)
		}
		if st := w.origin.r.Streams()[0]; st.State != doingPause || st.SpentToday < 20_000 {
			t.Errorf("status %+v", st)
		}
		w.crash(w.origin, w.config)
		w.scrape(20)
		if n := w.bytes.Load(); n > 20_000+2*slack {
			t.Errorf("%d bytes in a day after a restart, want 20000", n)
		}
		time.Sleep(time.Hour)
		if n := w.bytes.Load(); n < 30_000 {
			t.Errorf("%d bytes on the next day, want more", n)
		}
		next := w.config
		next.Streams = []Stream{buddyStream()}
		commit, _, err := w.origin.r.Prepare(next)
		if err != nil {
			t.Fatal(err)
		}
		commit()
		w.settle()
	})
}

// put stores one sample at the origin.
func (w *world) put(t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, ls ...string) {
	w.t.Helper()
	app := w.origin.tap.AppenderV2(context.Background())
	if _, err := app.Append(0, labels.FromStrings(ls...), 0, t, v, h, fh, storage.AOptions{}); err != nil {
		w.t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

// TestLate copies samples that come out of order, live, in a cut, and before and
// after a crash.
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, buddyStream())
		w.late = 30 * time.Minute
		w.begin()
		defer w.stop()
		n := 0
		late := func(minutes int) {
			n++
			w.put(time.Now().Add(-time.Duration(minutes)*time.Minute).UnixMilli()+int64(n), float64(n), nil, nil, "__name__", "late", "job", "l")
		}
		for range 3 {
			late(0)
			w.scrape(20)
			late(0)
			late(3)
			w.scrape(1)
			late(2)
			w.sever(true)
			late(0)
			late(4)
			w.scrape(3)
			late(1)
			w.sever(false)
			w.scrape(3)
			w.sever(true)
			late(5)
			w.crash(w.origin, w.config)
			late(6)
			w.scrape(2)
			w.crash(w.receiver, Default())
			late(7)
		}
		w.settle()
	})
}

// TestHistograms copies native histograms of both kinds, and staleness markers.
func TestHistograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, buddyStream())
		w.begin()
		defer w.stop()
		for n := range 20 {
			now := time.Now().UnixMilli()
			w.put(now, 0, tsdbutil.GenerateTestHistogram(int64(n)), nil, "__name__", "ints")
			w.put(now, 0, nil, tsdbutil.GenerateTestFloatHistogram(int64(n)), "__name__", "floats")
			if n == 10 {
				w.sever(true)
			}
			if n == 15 {
				w.sever(false)
			}
			w.scrape(1)
		}
		w.settle()
	})
}

// TestMatch copies the chosen series alone, each once.
func TestMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Stream{Name: "overview", To: []string{"role=admin,region=us"}, Match: []string{`{__name__="up"}`, `{job="node",__name__=~"up|node_load.*"}`}}
		w := newWorld(t, s)
		w.begin()
		defer w.stop()
		w.scrape(10)
		w.sever(false)
		w.scrape(10)
		time.Sleep(time.Minute)
		all, got := dump(t, w.origin.store), dump(t, w.copy())
		want := map[string][]point{}
		for ls, ps := range all {
			if strings.Contains(ls, `"up"`) || strings.Contains(ls, `"node_load`) {
				want[ls] = ps
			}
		}
		if err := equal(want, got); err != nil {
			t.Error(err)
		}
		if f := w.receiver.r.Facts(); len(f) != 1 || len(f[0].Selectors()) != 2 || f[0].External["region"] != "eu" {
			t.Errorf("facts %+v", f)
		}
	})
}

// TestReload changes streams while others go on.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, buddyStream())
		w.begin()
		defer w.stop()
		w.scrape(4)
		next := w.config
		next.Streams = append(next.Streams[:1:1], Stream{Name: "second", To: []string{"receiver"}, Match: []string{"up"}})
		for _, bad := range []Config{{}, {Streams: []Stream{{Name: "x"}}, Receive: next.Receive}} {
			if _, _, err := w.origin.r.Prepare(bad); err == nil {
				t.Errorf("%+v was taken", bad)
			}
		}
		commit, _, err := w.origin.r.Prepare(next)
		if err != nil {
			t.Fatal(err)
		}
		commit()
		w.scrape(10)
		time.Sleep(time.Minute)
		if all := w.receiver.r.Copies(); len(all) != 2 || all[1].Stream != "second" || len(dump(t, all[1].Store)) != len(w.targets) {
			t.Errorf("copies %+v", all)
		}
		if n := value(t, w.origin.reg, "resets_total"); n != 2 {
			t.Errorf("%v streams began, want 2: the first must go on", n)
		}
	})
}

// TestBuddy chooses by rendezvous among other regions' members that are not lost.
func TestBuddy(t *testing.T) {
	self := Member{ID: "a@1", Labels: map[string]string{region: "eu"}}
	var near, far []Member
	for i := range 8 {
		m := Member{ID: fmt.Sprint("m", i), Labels: map[string]string{region: "eu"}}
		if i%2 == 0 {
			m.Labels = map[string]string{region: "us"}
			far = append(far, m)
		} else {
			near = append(near, m)
		}
	}
	first, ok := buddy(self, append(near, far...))
	if !ok || first.Labels[region] != "us" {
		t.Fatalf("buddy %+v", first)
	}
	for i := range far {
		if far[i].ID == first.ID {
			far[i].Lost = true
		}
	}
	second, _ := buddy(self, append(far, near...))
	if second.ID == first.ID || second.Labels[region] != "us" {
		t.Errorf("the next one is %+v", second)
	}
	for i := range far {
		far[i].Lost = true
	}
	if third, ok := buddy(self, append(far, near...)); !ok || third.Labels[region] != "eu" {
		t.Errorf("without another region it is %+v", third)
	}
	if m, ok := buddy(self, far); ok {
		t.Errorf("a lost one: %+v", m)
	}
}

// TestConfig names every fault.
func TestConfig(t *testing.T) {
	bad := Config{Streams: []Stream{
		{Name: "a b", To: []string{"x", "role="}},
		{Name: "n", Buddy: "yes", Match: []string{"{"}, Keep: modelDuration(time.Second), Delay: modelDuration(time.Hour)},
		{Name: "n", To: []string{"x"}, Buddy: BuddyAuto, Budget: Budget{PerSecond: 1}, History: -1}, {Name: "m"},
	}, Receive: Receive{Copies: -1, Size: -1}}
	err := bad.Validate()
	for _, want := range []string{
		"streams[0].name", "streams[0].to", "streams[1].buddy", "streams[1].match", "streams[1].keep", "streams[1].delay", "streams[2].name",
		"streams[2].to", "streams[2].budget", "streams[2].history", "streams[3].to", "receive.copies", "receive.series", "receive.size",
	} {
		if err == nil || !strings.Contains(err.Error(), want+":") {
			t.Errorf("no fault in %s: %v", want, err)
		}
	}
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}
