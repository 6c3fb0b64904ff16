package replicate

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// value reads one of a side's counters, summed over its labels.
func value(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "atoll_replicate_"+name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func buddyStream() Stream { return Stream{Name: "buddy", Buddy: BuddyAuto} }

// TestLive copies everything as it is stored.
func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, buddyStream())
		w.begin()
		defer w.stop()
		w.scrape(20)
		w.settle()
		if n := value(t, w.receiver.reg, "dropped_samples_total"); n > 0 {
			t.Errorf("%v samples were dropped", n)
		}
		if s := w.origin.r.Streams(); len(s) != 1 || s[0].State != doingLive || s[0].Newest == 0 {
			t.Errorf("streams: %+v", s)
		}
	})
}

// TestCut fills the gap of a cut from the store, with the state of before: nothing
// is sent twice, and it costs no more bytes a sample than the live stream.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, buddyStream())
		w.begin()
		defer w.stop()
		w.scrape(40)
		w.settle()
		live := value(t, w.origin.reg, "encoded_samples_total")
		w.sever(true)
		before := w.bytes.Load()
		w.scrape(120)
		w.sever(false)
		w.settle()
		if n := value(t, w.origin.reg, "resets_total"); n != 1 {
			t.Errorf("%v resets, want the first alone", n)
		}
		sent := value(t, w.origin.reg, "encoded_samples_total")
		if n := float64(w.samples()); sent != n {
			t.Errorf("%v samples were sent for %v", sent, n)
		}
		cost := float64(w.bytes.Load()-before) / (sent - live)
		t.Logf("%.2f bytes a sample of the gap", cost)
		if cost > 2.5 {
			t.Errorf("%.2f bytes a sample of the gap, want at most 2.5", cost)
		}
	})
}

// TestFlapping breaks the link again and again in the middle of everything.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, buddyStream())
		w.begin()
		defer w.stop()
		for n := range 30 {
			w.scrape(1)
			time.Sleep(time.Duration(n*379%997) * time.Millisecond)
			w.sever(false)
		}
		w.settle()
		if stored, n := value(t, w.receiver.reg, "received_samples_total"), float64(w.samples()); stored != n {
			t.Errorf("%v samples were stored for %v", stored, n)
		}
	})
}

// TestCrash kills either side with kill -9, in turns, also while the link is cut.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, buddyStream())
		w.begin()
		defer w.stop()
		for n := range 8 {
			w.scrape(5)
			time.Sleep(time.Duration(n) * 2 * time.Second)
			switch n % 4 {
			case 0:
				w.crash(w.receiver, Default())
			case 1:
				w.crash(w.origin, w.config)
			case 2:
				w.sever(true)
				w.scrape(8)
				w.crash(w.receiver, Default())
			case 3:
				w.sever(true)
				w.scrape(8)
				w.crash(w.origin, w.config)
			}
		}
		w.scrape(5)
		w.settle()
	})
}

// TestCutWhileBeginning breaks the link while a sender that was restarted learns
// what the receiver has, and while it fills the gap.
func TestCutWhileBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, buddyStream())
		w.begin()
		defer w.stop()
		w.scrape(10)
		for n := range int64(7) {
			w.sever(true)
			w.scrape(50) // more than a slice of the gap
			w.fuse.Store(n + 1)
			w.crash(w.origin, w.config)
			w.scrape(2)
			if n := w.fuse.Load(); n > 0 {
				t.Errorf("the link did not break: %d messages were left", n)
			}
		}
		w.settle()
		if n := value(t, w.receiver.reg, "dropped_samples_total"); n > 0 {
			t.Errorf("%v samples were dropped", n)
		}
		if stored, n := value(t, w.receiver.reg, "received_samples_total"), float64(w.samples()); stored != n {
			t.Errorf("%v samples were stored for %v", stored, n)
		}
	})
}
