package send

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

func contains(text string, all ...string) bool {
	for _, s := range all {
		if !strings.Contains(text, s) {
			return false
		}
	}
	return true
}

// displaced makes an outage so long that the TSDB drops WAL that was not sent.
func displaced(t *testing.T, i *island, r *receiver, ts int64) int64 {
	t.Helper()
	r.answer(http.StatusServiceUnavailable)
	ts = i.scrapes(40, 900, ts)
	eventually(t, "the queue to fall out of the WAL", func() bool {
		return testutil.ToFloat64(i.s.m.gaps.WithLabelValues("test")) > 0 && readTo(i) > doomedUpTo(walDir(i.dir()))
	})
	i.compact()
	if len(i.db.Blocks()) == 0 {
		t.Fatal("nothing was compacted")
	}
	return i.scrapes(40, 20, ts)
}

func TestTruncatedWAL(t *testing.T) {
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		r, i := newReceiver(t, nil), newIsland(t)
		i.start(remoteConfig(t, r.srv.URL, msg, nil))
		ts := i.scrapes(40, 20, hoursAgo(10))
		i.same(r)
		ts = displaced(t, i, r, ts)
		r.heal()
		i.scrapes(40, 20, ts)
		i.same(r)
		if n := testutil.ToFloat64(i.s.m.backfilled.WithLabelValues("test")); n < 900*40/2 {
			t.Errorf("filled %v samples from the store", n)
		}
		if n := r.refused.Load(); n > 0 {
			t.Errorf("receiver refused %d requests", n)
		}
	})
}

func TestRestartsWithAGap(t *testing.T) {
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		r, i := newReceiver(t, nil), newIsland(t)
		cfg := remoteConfig(t, r.srv.URL, msg, nil)
		i.start(cfg)
		ts := i.scrapes(40, 20, hoursAgo(16))
		i.same(r)
		ts = displaced(t, i, r, ts)
		i.restart(cfg)
		ts = i.scrapes(40, 500, ts)
		i.compact()
		ts = i.scrapes(40, 20, ts)
		i = i.killed(r)
		i.start(cfg)
		ts = i.scrapes(40, 20, ts)
		r.heal()
		i.scrapes(40, 20, ts)
		i.same(r)
		if n := r.refused.Load(); n > 0 {
			t.Errorf("receiver refused %d requests", n)
		}
	})
}

func TestKilledWhileFilling(t *testing.T) {
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		r, i := newReceiver(t, nil), newIsland(t)
		cfg := remoteConfig(t, r.srv.URL, msg, nil)
		i.opts = func(o *Options) {
			o.Config = Default()
			o.Config.BackfillSamplesPerSecond = 10_000
		}
		i.start(cfg)
		ts := i.scrapes(40, 20, hoursAgo(10))
		i.same(r)
		ts = displaced(t, i, r, ts)
		for range 3 {
			before := count(contents(t, r.db))
			r.heal()
			eventually(t, "a part to be filled", func() bool { return count(contents(t, r.db)) > before+500 })
			r.swallow()
			asked := r.requests.Load()
			eventually(t, "requests whose answers are lost", func() bool { return r.requests.Load() > asked+1 })
			i = i.killed(r)
			i.start(cfg)
		}
		r.heal()
		i.scrapes(40, 20, ts)
		i.same(r)
	})
}

// The WAL is replaced while the sender is away: only the store can help.
func TestLostWAL(t *testing.T) {
	r, i := newReceiver(t, nil), newIsland(t)
	cfg := remoteConfig(t, r.srv.URL, remoteapi.WriteV2MessageType, nil)
	i.start(cfg)
	ts := i.scrapes(40, 20, hoursAgo(10))
	i.same(r)
	i.stop()
	ts = i.scrapes(40, 900, ts)
	i.compact()
	i.compact()
	ts = i.scrapes(40, 20, ts)
	i.restart(cfg)
	i.scrapes(40, 20, ts)
	i.same(r)
	if testutil.ToFloat64(i.s.m.gaps.WithLabelValues("test")) != 1 {
		t.Error("the WAL was still there")
	}
}

// An open querier holds up compaction, so none may be open while requests wait;
// and none may ask for more than memory holds.
func TestFillingReadsThenSends(t *testing.T) {
	r, i := newReceiver(t, nil), newIsland(t)
	var watch watchedStore
	i.watched = func(s storage.Queryable) storage.Queryable { watch.Queryable = s; return &watch }
	i.start(remoteConfig(t, r.srv.URL, remoteapi.WriteV1MessageType, nil))
	ts := displaced(t, i, r, hoursAgo(10))
	var during atomic.Int64
	look := func(http.ResponseWriter, *http.Request) bool { during.Add(watch.open.Load()); return false }
	r.spoil.Store(&look)
	i.scrapes(40, 20, ts)
	i.same(r)
	if during.Load() > 0 {
		t.Errorf("%d requests were made while a querier was open", during.Load())
	}
	if watch.asked.Load() == 0 || watch.widest.Load() > maxApart {
		t.Errorf("asked %d times, widest slice %d ms, want at most %d", watch.asked.Load(), watch.widest.Load(), maxApart)
	}
}

type watchedStore struct {
	storage.Queryable
	open, asked, widest atomic.Int64
}

func (w *watchedStore) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := w.Queryable.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	w.open.Add(1)
	w.asked.Add(1)
	w.widest.Store(max(w.widest.Load(), maxt-mint))
	return &watchedQuerier{q, w}, nil
}

type watchedQuerier struct {
	storage.Querier
	w *watchedStore
}

func (q *watchedQuerier) Close() error { q.w.open.Add(-1); return q.Querier.Close() }

// While a gap waits to be filled, more WAL comes into danger: it goes into the one behind it.
func TestSecondGap(t *testing.T) {
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		r, i := newReceiver(t, nil), newIsland(t)
		i.start(remoteConfig(t, r.srv.URL, msg, nil))
		ts := i.scrapes(40, 20, hoursAgo(16))
		i.same(r)
		ts = displaced(t, i, r, ts)
		for range 2 {
			ts = i.scrapes(40, 400, ts)
			eventually(t, "the reader to leave the doomed WAL", func() bool { return readTo(i) > doomedUpTo(walDir(i.dir())) })
			i.compact()
		}
		// The first holds what was in flight, the second what came after.
		if n := gapsOf(i); n != 2 {
			t.Errorf("%v gaps, want 2", n)
		}
		r.heal()
		i.scrapes(40, 20, ts)
		i.same(r)
		if n := r.refused.Load(); n > 0 {
			t.Errorf("receiver refused %d requests", n)
		}
	})
}

func gapsOf(i *island) int {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	for _, r := range i.s.running {
		r.pump.mu.Lock()
		defer r.pump.mu.Unlock()
		return len(r.pump.state.Gaps)
	}
	return 0
}

// readTo returns the segment behind which nothing is owed from the WAL.
func readTo(i *island) int {
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	for _, r := range i.s.running {
		r.pump.mu.Lock()
		defer r.pump.mu.Unlock()
		return r.pump.state.low().Segment
	}
	return -1
}

// Late samples that come while a gap is open arrive too, also over a restart.
func TestLateSamplesWhileAGapIsOpen(t *testing.T) {
	window := func(o *tsdb.Options) { o.OutOfOrderTimeWindow = (24 * time.Hour).Milliseconds() }
	r, i := newReceiver(t, window), newIsland(t)
	i.tsdb = window
	cfg := remoteConfig(t, r.srv.URL, remoteapi.WriteV2MessageType, nil)
	i.start(cfg)
	start := hoursAgo(16)
	ts := i.scrapes(40, 20, start)
	i.same(r)
	ts = displaced(t, i, r, ts)
	i.late(start + 7_500)              // before the gap
	i.late(start + 100*15_000 + 7_500) // in it
	ts = i.scrapes(40, 400, ts)
	eventually(t, "the reader to leave the doomed WAL", func() bool { return readTo(i) > doomedUpTo(walDir(i.dir())) })
	i.restart(cfg)
	i.late(start + 5*15_000 + 7_500)
	r.heal()
	i.scrapes(40, 20, ts)
	i.same(r)
}

// What retention took before the receiver was back is counted, and the rest arrives.
func TestExpiredSamplesAreCounted(t *testing.T) {
	r, i := newReceiver(t, nil), newIsland(t)
	start := hoursAgo(10)
	i.opts = func(o *Options) {
		o.Retention = func() time.Duration { return time.Since(time.UnixMilli(start).Add(time.Hour)) }
	}
	i.start(remoteConfig(t, r.srv.URL, remoteapi.WriteV2MessageType, nil))
	ts := displaced(t, i, r, start)
	r.heal()
	i.scrapes(40, 20, ts)
	eventually(t, "all but an hour", func() bool { return count(contents(t, r.db)) >= 40*(940-240) })
	if n := testutil.ToFloat64(i.s.m.expired.WithLabelValues("test")); n < 3500 || n > 3900 { // what was in flight is a gap by itself, and overlaps
		t.Errorf("%v s expired, want an hour", n)
	}
}
