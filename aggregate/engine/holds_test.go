package engine

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sys/unix"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// BenchmarkHolds reports the longest time that each lock which a batch may wait for is
// held while a million series are sealed, swept, forgotten and written to a snapshot:
// in CPU time, so that what else the machine does is not in it, nor is the garbage
// collector's work, of which whoever allocates has to do some: it runs between rounds.
// Batches of 1000 samples are the measure: they hold the locks too.
func BenchmarkHolds(b *testing.B) {
	const rules = "rules:\n- {interval: 1m, without: [instance], outputs: [%s], max_lag: 1m, max_age: 10m, staleness_interval: 2m, forget_after: 10m%s}\n"
	for _, c := range []struct {
		name, output, more string
		play               func(*holdup, *testing.B)
	}{
		{"total", "total", "", (*holdup).play},
		{"early", "rate_sum", ", early: true", (*holdup).play},
		{"quantiles", "quantiles(0.5)", "", (*holdup).play},
		{"dedup", "increase", ", dedup_interval: 20s", (*holdup).play},
		{"replicas", "total", "", (*holdup).playReplicas},
		{"away", "total", ", distribute: true", (*holdup).playAway},
	} {
		b.Run(c.name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			for range b.N {
				h := newHoldup(newRig(b, fmt.Sprintf(rules, "'"+c.output+"'", c.more), func(o *Options) { o.Shards = 8 }).e)
				c.play(h, b)
				for what, ns := range h.longest {
					b.ReportMetric(float64(ns)/1e6, what+"-ms")
				}
			}
		})
	}
}

type holdup struct {
	e       *Engine
	series  []labels.Labels
	refs    []Ref
	now     int64
	phase   string
	inner   bool             // a shard is held
	longest map[string]int64 // ns, by phase and lock
}

const holdSeries = 1_000_000

func newHoldup(e *Engine) *holdup {
	h := &holdup{e: e, now: origin, refs: make([]Ref, holdSeries), longest: map[string]int64{}}
	for i := range holdSeries {
		h.series = append(h.series, labels.FromStrings("__name__", "c", "instance", fmt.Sprint(i/20), "job", "j", "path", fmt.Sprint(i%1000), "x", fmt.Sprint(i%20)))
	}
	h.watch("learning", &h.e.learning)
	h.watch("cut", &h.e.cut)
	h.watch("sources", &h.e.src.mu)
	for _, s := range h.e.shards {
		h.watch("shard", &s.mu)
	}
	h.phase = "learn"
	return h
}

func (h *holdup) play(b *testing.B) {
	h.round(1)
	for range 14 {
		h.phase = "batch"
		h.round(1)
		h.phase = "seal"
		h.advance(b, 10)
	}
	h.snapshot(b, "snapshot")
	h.now += 5 * 60_000 // all have a gap now
	h.phase = "gaps"
	for range 20 {
		h.round(1)
		h.advance(b, 10)
	}
	h.snapshot(b, "gapsnapshot")
	h.phase = "reload"
	if err := h.e.Reload(loadRules(b, total)); err != nil {
		b.Fatal(err)
	}
	h.phase = "forget"
	for range 40 {
		h.now += 60_000
		h.advance(b, 10)
	}
	for _, s := range h.e.shards {
		if s.count.series != 0 {
			b.Fatalf("%d series of a shard are left, want none", s.count.series)
		}
	}
}

// playReplicas: a second replica's samples are set aside, at last for a take-over.
func (h *holdup) playReplicas(b *testing.B) {
	for _, leads := range []bool{true, true, true, true, false, false, false, true} {
		if leads {
			h.round(1)
		}
		h.advance(b, 8)
		h.phase = "batch"
		h.round(2)
		h.phase = "seal"
		h.advance(b, 2)
	}
	h.snapshot(b, "snapshot")
	h.phase = "takeover"
	for range 5 {
		h.advance(b, 10)
		h.round(2)
	}
}

// playAway: another island counts all series, then it is silent, then lost.
func (h *holdup) playAway(b *testing.B) {
	h.e.Decide(h.now, []Decision{{Verb: Begin, Series: Series{ID: homeKey}}})
	h.round(1)
	h.phase = "wait"
	h.advance(b, 1)
	h.phase = "follow"
	var all []Decision
	for _, s := range h.e.shards {
		s.eachHead(func(id uint32) {
			all = append(all, Decision{Verb: Follow, Series: Series{ID: s.idOf(id), Ref: h.e.dense(s, id)}, Home: island, T: h.now})
		})
	}
	h.e.Decide(h.now, all)
	for i := range all {
		all[i].Verb = Watched
	}
	h.e.Decide(h.now, all)
	for n := range 8 {
		if n < 6 { // then it is silent
			h.e.Decide(h.now, []Decision{{Verb: Heard, Home: island, T: h.now, Due: h.now + 9000, Newest: h.now}})
		}
		h.phase = "seal"
		h.advance(b, 10)
		h.phase = "batch"
		h.round(1)
	}
	h.snapshot(b, "snapshot")
	h.phase = "takeover"
	h.advance(b, 20)
	h.round(1)
	h.advance(b, 10)
	h.phase = "doubt"
	h.e.Decide(h.now, []Decision{{Verb: Doubt}})
	h.phase = "key"
	h.e.Decide(h.now, []Decision{{Verb: Begin, Series: Series{ID: homeKey + 1}}})
}

func (h *holdup) snapshot(b *testing.B, phase string) {
	h.phase = phase
	if err := h.e.Snapshot(io.Discard, nil); err != nil {
		b.Fatal(err)
	}
	h.amidst(phase)
}

// amidst sends a batch of series that lie far apart while shards are copied: it has
// each chunk of records copied first.
func (h *holdup) amidst(phase string) {
	images := make([]image, len(h.e.shards))
	for k, s := range h.e.shards {
		images[k].begin(s)
	}
	h.phase = phase + "batch"
	batch := h.e.Begin(1)
	for i := 0; i < holdSeries; i += holdSeries / benchBatch {
		h.refs[i], _ = batch.Append(h.refs[i], h.series[i], 0, h.now+1, float64(h.now))
	}
	batch.Commit(h.now + 1)
	h.phase = phase
	for k, s := range h.e.shards {
		images[k].finish(s)
		images[k].end(s)
	}
}

// round sends a sample of each series.
func (h *holdup) round(sender uint64) {
	runtime.GC()
	for from := 0; from < holdSeries; from += benchBatch {
		batch := h.e.Begin(sender)
		for i := from; i < from+benchBatch; i++ {
			h.refs[i], _ = batch.Append(h.refs[i], h.series[i], 0, h.now, float64(h.now))
		}
		batch.Commit(h.now)
	}
}

// advance lets seconds go by.
func (h *holdup) advance(b *testing.B, seconds int) {
	for range seconds {
		h.now += 1000
		if err := h.e.Advance(h.now, func(*partial.Window) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// watch expects that all is done by one thread. Locks that are taken while a shard is
// held are not looked at, as looking takes longer than what is done under them.
func (h *holdup) watch(name string, g *guard) {
	begun := int64(0)
	g.watch = func(held bool) {
		switch {
		case h.inner && name != "shard":
			return
		case held:
			h.inner, begun = name == "shard", threadTime()
			return
		}
		h.inner = false
		what := h.phase + "-" + name
		h.longest[what] = max(h.longest[what], threadTime()-begun)
	}
}

// threadTime is the CPU time of this thread, ns.
func threadTime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}
