package engine

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// steadily sends a series every 10 s from first up to (not including) until.
func (r *rig) steadily(p point, first, until float64, v func(t float64) float64) {
	r.t.Helper()
	for t := first; t < until; t += 10 {
		p.t, p.v = t, v(t)
		r.send(t+0.1, p)
	}
}

func TestBirthOnAKnownSource(t *testing.T) {
	r := newRig(t, "- interval: 1m\n  without: [path]\n  outputs: [total, total_prometheus]\n  staleness_interval: 1m\n")
	old, born := point{ls: series}, point{ls: labelsWith("path", "new")}
	for now := 5.0; now < 300; now += 10 {
		old.t, old.v = now, counter(now)
		ps := []point{old}
		if now > 200 {
			born.t, born.v = now, 100*(now-200)
			ps = append(ps, born)
		}
		r.send(now+0.1, ps...)
	}
	r.tick(400)
	const g = `{__name__="c", instance="a", job="j"}`
	r.want("increase", r.row(g, 180, 300, 60, increase), "6000 9500 12000")
	if got, want := r.totals[g]-r.prom[g], 500.0; got != want {
		t.Errorf("first values count %v, want %v, and in total_prometheus never", got, want)
	}
}

func TestNoBirthOfANewTarget(t *testing.T) {
	r := newRig(t, total)
	r.steadily(point{ls: series}, 5, 600, counter)
	r.steadily(point{ls: labelsWith("instance", "b")}, 605, 700, counter)
	r.tick(800)
	r.want("increase", r.row(groupA, 600, 720, 60, increase), "6000 5000 4000")
}

func TestCreatedTimestamps(t *testing.T) {
	r := newRig(t, corrected)
	r.tick(0)
	r.send(1, point{ls: labelsWith("path", "other"), t: 1, v: 1}) // the engine has begun
	// Created at 100 under our eyes, first seen at 220: 1200 over 120 s.
	r.send(220.1, point{ls: series, t: 220, v: 1200, st: 100})
	r.send(230.1, point{ls: series, t: 230, v: 1300, st: 100})
	// Created anew at 234 and larger than before already: no other sign of a reset.
	r.send(240.1, point{ls: series, t: 240, v: 5000, st: 234})
	r.tick(400)
	r.want("increase", r.row(groupA, 120, 240, 60, increase), "200 600 5500")
	// Created before we began: its value says nothing.
	r.send(400.1, point{ls: labelsWith("path", "y"), t: 400, v: 1e9, st: -5000})
	r.tick(600)
	if w := r.windows[`{__name__="c", job="j", path="y"}`]; w != nil {
		t.Errorf("an old counter's first value was counted: %+v", w)
	}
}

func TestNaNInfAndStaleMarkers(t *testing.T) {
	r := newRig(t, "- interval: 1m\n  without: [instance]\n  outputs: [total, max, sum_samples, count_series]\n")
	nan, stale := math.NaN(), math.Float64frombits(value.StaleNaN)
	for i, v := range []float64{10, 20, nan, 40, math.Inf(1), 60} {
		at := 5 + 10*float64(i)
		r.send(at+0.1, point{ls: series, t: at, v: v})
	}
	r.send(65.1, point{ls: series, t: 65, v: stale})
	r.send(150.1, point{ls: labelsWith("path", "z"), t: 150, v: 1}) // another one goes on
	r.tick(151)
	w := r.windows[groupA]
	if a := w[60]; a.Increase.Value() != 50 || !math.IsInf(a.Max, 1) || a.Series != 1 {
		t.Errorf("window 60: increase %v, max %v, series %d; want 50, +Inf, 1", a.Increase.Value(), a.Max, a.Series)
	}
	if r.dropped(dropNaN) != 1 || r.dropped(dropInf) != 1 {
		t.Errorf("counted %d NaN, %d infinities, want 1 and 1", r.dropped(dropNaN), r.dropped(dropInf))
	}
	if a, ok := w[120]; ok {
		t.Errorf("window 120 after the stale marker: %+v", a)
	}
	r.send(185.1, point{ls: series, t: 185, v: 190}) // it comes back: 130 over 130 s
	r.tick(300)
	if got := r.totals[groupA]; got != 180 {
		t.Errorf("total %v after the return, want 180", got)
	}
}

// A window waits for every source that is alive, and for none that ended.
func TestSealWaitsForSources(t *testing.T) {
	r := newRig(t, total)
	a, b := point{ls: series}, point{ls: labelsWith("instance", "b")}
	r.steadily(a, 5, 60, counter)
	for now := 5.0; now < 50; now += 10 { // b's sample of 55 is under way
		b.t, b.v = now, counter(now)
		r.send(60, b)
	}
	a.t, a.v = 65, counter(65)
	r.send(65.1, a)
	r.tick(68)
	if w, ok := r.windows[groupA][60]; ok {
		t.Fatalf("window 60 was sealed without b's sample of 55: %+v", w)
	}
	b.t, b.v = 55, counter(55)
	r.send(69.5, b)
	r.tick(72)
	r.want("increase", r.row(groupA, 60, 60, 60, increase), "10000")
	// b falls silent without a word: max_lag.
	r.steadily(a, 75, 220, counter)
	r.want("increase", r.row(groupA, 60, 120, 60, increase), "10000 6000")
}

func TestLatePolicies(t *testing.T) {
	const text = "rules:\n- interval: 1m\n  without: [instance]\n  outputs: [total]\n  late: %s\n"
	play := func(late string, inTime bool) *rig {
		r := newRig(t, fmt.Sprintf(text, late))
		var held []point
		for now := 5.0; now < 600; now += 10 {
			p := scrape(now)
			if now > 240 {
				p.v -= 1_020_000 // a reset at 240, which the gap hides
			}
			if now > 220 && now < 260 && !inTime {
				held = append(held, p)
				continue
			}
			r.send(now+0.1, p)
		}
		r.send(600.5, held...)
		r.tick(1200)
		return r
	}
	straight := play("carry", true)
	carry, correct, drop := play("carry", false), play("correct", false), play("drop", false)
	rowOf := func(r *rig) string { return r.row(groupA, 60, 600, 60, increase) }
	straight.want("correct", rowOf(correct), rowOf(straight))
	straight.want("carry and drop publish what they knew in time", rowOf(carry), rowOf(drop))
	if rowOf(carry) == rowOf(straight) {
		t.Errorf("late samples changed a window that was published: %s", rowOf(carry))
	}
	want := straight.totals[groupA]
	if carry.totals[groupA] != want || correct.totals[groupA] != want || drop.totals[groupA] >= want {
		t.Errorf("totals: in time %v, carry %v, correct %v, drop %v", want, carry.totals[groupA], correct.totals[groupA], drop.totals[groupA])
	}
	if n := carry.e.rules.Load().active[0].late[lateCarried].Load(); n == 0 {
		t.Error("nothing was counted as carried")
	}
}

func TestReplicas(t *testing.T) {
	r := newRig(t, "- interval: 1m\n  without: [instance]\n  outputs: [increase, count_samples]\n")
	a, b := labelsWith("replica", "a"), labelsWith("replica", "b")
	for now := 5.0; now < 600; now += 10 {
		if now < 300 || now > 500 {
			r.send(now+0.1, point{ls: a, t: now, v: counter(now)})
		}
		// b's clock is 4 s ahead: merged, its values would look like resets.
		r.send(now+0.9, point{ls: b, t: now + 4, v: counter(now) - 50})
	}
	r.tick(800)
	if got := r.totals[groupA]; math.Abs(got-59000) > 100 {
		t.Errorf("total %v, want 59000 but for 50 at each change", got)
	}
	r.want("samples", r.row(groupA, 120, 540, 60, func(a partial.Acc) float64 { return float64(a.Count) }), "6 6 6 6 6 6 6 6")
	for end, a := range r.windows[groupA] {
		if end > 60 && math.Abs(a.Increase.Value()-6000) > 500 {
			t.Errorf("window %d: increase %v, want about 6000", end, a.Increase.Value())
		}
	}
}

// A series without replica labels that moves from one sender to another.
func TestSeriesMovesBetweenSenders(t *testing.T) {
	r := newRig(t, total)
	for now := 5.0; now < 600; now += 10 {
		sender := uint64(1)
		if now > 250 {
			sender = 2
		}
		r.send(now+0.1, point{ls: series, t: now, v: counter(now), sender: sender})
	}
	r.tick(800)
	if got := r.totals[groupA]; got != 59000 {
		t.Errorf("total %v, want 59000", got)
	}
	for k, n := range r.count {
		if n != 1 {
			t.Errorf("%s was published %d times", k, n)
		}
	}
}

func TestDedup(t *testing.T) {
	r := newRig(t, "- interval: 1m\n  without: [instance]\n  dedup_interval: 30s\n  outputs: [increase, count_samples, last]\n")
	r.steadily(point{ls: series}, 5, 300, counter)
	r.tick(400)
	r.want("samples", r.row(groupA, 60, 300, 60, func(a partial.Acc) float64 { return float64(a.Count) }), "2 2 2 2 2")
	r.want("increase", r.row(groupA, 60, 300, 60, increase), "3000 6000 6000 6000 6000")
	r.want("last", r.row(groupA, 300, 300, 60, func(a partial.Acc) float64 { return a.Last }), "1029500")
}

func TestRateAndSeries(t *testing.T) {
	r := newRig(t, "- interval: 1m\n  without: [instance]\n  outputs: [rate_sum, rate_avg, count_series, unique_samples]\n")
	b := labelsWith("instance", "b")
	for now := 5.0; now < 300; now += 10 {
		r.send(now+0.1, point{ls: series, t: now, v: counter(now)}, point{ls: b, t: now, v: 3 * now})
	}
	r.tick(400)
	r.want("rate", r.row(groupA, 60, 300, 60, func(a partial.Acc) float64 { return a.Rate }), "103 103 103 103 103")
	r.want("series", r.row(groupA, 60, 300, 60, func(a partial.Acc) float64 { return float64(a.Series) }), "2 2 2 2 2")
	r.want("unique", r.row(groupA, 60, 60, 60, func(a partial.Acc) float64 { return float64(a.Unique.Estimate()) }), "12")
}

func TestLargeCounters(t *testing.T) {
	r := newRig(t, total)
	base := math.Ldexp(1, 60)
	r.steadily(point{ls: series}, 5, 3000, func(t float64) float64 { return base + 1024*math.Round(t/10) })
	r.tick(3200)
	if got, want := r.totals[groupA], 1024*299.0; got != want {
		t.Errorf("total %v, want %v", got, want)
	}
}

func TestOverflowGroup(t *testing.T) {
	r := newRig(t, "rules:\n- interval: 1m\n  by: [path]\n  outputs: [count_series]\n  max_groups: 3\n")
	for i := range 10 {
		r.send(5, point{ls: labelsWith("path", fmt.Sprint(i)), t: 5, v: 1})
	}
	r.tick(200)
	if len(r.windows) != 4 {
		t.Fatalf("%d groups, want 3 and the overflow", len(r.windows))
	}
	r.want("overflow", r.row(`{__name__="c", path="overflow"}`, 60, 60, 60, func(a partial.Acc) float64 { return float64(a.Series) }), "7")
	top := r.e.Top(1)
	if len(top) != 3 || top[0].Series != 10 || top[0].Overflow != 7 || top[1].Series != 7 || top[2].Label != "__name__" {
		t.Errorf("Top(1): %+v", top)
	}
}

func TestEarlyPublication(t *testing.T) {
	r := newRig(t, "rules:\n- interval: 1m\n  without: [instance]\n  outputs: [total]\n  early: true\n")
	var values []float64
	last := int64(-1)
	r.steadily(point{ls: series}, 5, 55, counter)
	emit := func(w *partial.Window) error {
		if w.End != at(60) || len(w.Rows) == 0 {
			return nil
		}
		if int64(w.Revision) <= last {
			t.Errorf("revision %d after %d", w.Revision, last)
		}
		last = int64(w.Revision)
		values = append(values, w.Rows[0].Acc.Increase.Value())
		return nil
	}
	for now := 56.0; now < 75; now++ {
		if now == 58 {
			r.send(57, point{ls: series, t: 55, v: counter(55)})
		}
		if err := r.e.Advance(at(now), emit); err != nil {
			t.Fatal(err)
		}
	}
	if len(values) == 0 || values[len(values)-1] != 5000 {
		t.Errorf("values %v, want the last to be 5000", values)
	}
}

func TestNativeHistograms(t *testing.T) {
	r := newRig(t, "- interval: 1m\n  without: [instance]\n  outputs: [increase]\n")
	for i, n := range []float64{5, 7, 12, 3, 4} { // a reset after 12
		r.sendHistogram(5+10*float64(i), series, n)
	}
	r.tick(200)
	h := r.windows[groupA][60].Hist
	if h == nil || h.Count != 11 {
		t.Fatalf("window 60: %v, want a count of 11", h)
	}
}

func TestForgetting(t *testing.T) {
	r := newRig(t, "rules:\n- interval: 1m\n  without: [instance]\n  outputs: [total]\n  keep_input: false\n  forget_after: 1h\n")
	sum := func() (n int) {
		for _, s := range r.e.shards {
			n += s.bytes()
		}
		return n + r.e.src.index.bytes()
	}
	r.send(5, point{ls: series, t: 5, v: 1})
	r.tick(100)
	before := sum()
	for round := range 4 {
		base := float64(round) * 5000
		for part := range 10 {
			var ps []point
			for i := range 1000 {
				ps = append(ps, point{ls: labelsWith("instance", fmt.Sprintf("%d-%d-%d", round, part, i)), t: base + 101, v: 1})
			}
			r.send(base+102+float64(part), ps...)
		}
		r.send(base+200, point{ls: series, t: base + 200, v: base})
		r.tick(base + 4900)
	}
	r.tick(30_000)
	if after := sum(); after > before+240_000 { // a tenth of what they took
		t.Errorf("%d bytes after 40,000 series came and went, %d before", after, before)
	}
	r.send(30_001, point{ls: series, t: 30_001, v: 5})
	if got := r.e.Top(1); len(got) == 0 || got[0].Series != 1 {
		t.Errorf("Top: %+v, want one series", got)
	}
}

func TestReload(t *testing.T) {
	r := newRig(t, total)
	r.steadily(point{ls: series}, 5, 200, counter)
	epoch := r.e.Epoch()
	if err := r.e.Reload(loadRules(t, total+"- interval: 1m\n  by: [job]\n  outputs: [count_samples]\n")); err != nil {
		t.Fatal(err)
	}
	if r.e.Epoch() == epoch {
		t.Error("Epoch did not change")
	}
	r.steadily(point{ls: series}, 205, 400, counter)
	if err := r.e.Reload(loadRules(t, "- interval: 1m\n  by: [job]\n  outputs: [count_samples]\n")); err != nil {
		t.Fatal(err)
	}
	r.steadily(point{ls: series}, 405, 600, counter)
	r.tick(700)
	r.want("increase", r.row(groupA, 60, 360, 60, increase), "5000 6000 6000 6000 6000 6000")
	r.want("samples", r.row(`{__name__="c", job="j"}`, 300, 600, 60, func(a partial.Acc) float64 { return float64(a.Count) }), "6 6 6 6 6 6")
}

func TestRawAndAliases(t *testing.T) {
	r := newRig(t, "rules:\n- match: c\n  interval: 1m\n  without: [instance]\n  outputs: [count_samples]\n  keep_input: false\n")
	r.tick(0)
	raw := appendLabels(nil, series, nil)
	b := r.e.Begin(1)
	if b.AppendRaw(raw, 0, at(5), 1) {
		t.Fatal("a series that was never learnt is taken")
	}
	if v := b.Learn(raw, series); v != Matched|Drop {
		t.Fatalf("Learn: %b, want matched and dropped", v)
	}
	if !b.AppendRaw(raw, 0, at(5), 1) {
		t.Fatal("not taken after Learn")
	}
	// The same labels in another order are the same series.
	var turned []byte
	for i := len(raw); i > 0; {
		for j := 0; ; {
			n := j + 2 + int(raw[j+1])
			if n == i {
				turned = append(turned, raw[j:i]...)
				i = j
				break
			}
			j = n
		}
	}
	b.Learn(turned, series)
	if !b.AppendRaw(turned, 0, at(15), 2) {
		t.Fatal("another order is not taken after Learn")
	}
	other := labels.FromStrings("__name__", "d")
	if ref, v := b.Append(0, other, 0, at(5), 1); ref != 0 || v != 0 {
		t.Errorf("a series of no rule: %d, %b", ref, v)
	}
	many := []Raw{{Labels: raw, T: at(25), V: 1}, {Labels: []byte("?"), T: at(25)}, {Labels: turned, T: at(35), V: 1}}
	if left := b.AppendRaws(many); left != 1 || !many[0].Taken || many[1].Taken || !many[2].Taken {
		t.Errorf("AppendRaws: %d left, %+v", left, many)
	}
	b.Commit(at(36))
	r.tick(200)
	r.want("samples", r.row(groupA, 60, 60, 60, func(a partial.Acc) float64 { return float64(a.Count) }), "4")
}

func TestStaleRefs(t *testing.T) {
	r := newRig(t, total)
	b := r.e.Begin(1)
	ref, _ := b.Append(0, series, 0, at(5), 1)
	for _, bad := range []Ref{ref ^ 1<<33, ref + 1000, 1<<48 - 1} {
		if got, v := b.Append(bad, series, 0, at(5), 1); got != ref || v != Matched {
			t.Errorf("Append with %x: %x, %b; want %x", bad, got, v, ref)
		}
	}
	b.Rollback()
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	r := newRig(t, total+"- interval: 1m\n  by: [job]\n  outputs: [max]\n", func(o *Options) { o.Registerer = reg })
	r.steadily(point{ls: series}, 5, 100, counter)
	r.send(101, point{ls: series, t: 95, v: 1})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"atoll_aggregate_samples_total": 11, "atoll_aggregate_dropped_samples_total": 2,
		"atoll_aggregate_series": 1, "atoll_aggregate_groups": 2, "atoll_aggregate_windows_total": 4,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

func TestEmitIsRepeatedAfterAnError(t *testing.T) {
	r := newRig(t, total)
	r.steadily(point{ls: series}, 5, 55, counter)
	refused := fmt.Errorf("full")
	if err := r.e.Advance(at(160), func(*partial.Window) error { return refused }); !errors.Is(err, refused) {
		t.Fatalf("Advance: %v, want the error of emit", err)
	}
	r.now = at(160)
	r.tick(161)
	r.want("increase", r.row(groupA, 60, 60, 60, increase), "4000")
}

func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	r := newRig(t, "rules:\n- interval: 1h\n  without: [instance]\n  outputs: [total, count_series, avg, max]\n  keep_input: false\n")
	raws := make([][]byte, 500)
	all := make([]labels.Labels, len(raws))
	refs := make([]Ref, len(raws))
	now := at(0)
	send := func() {
		b := r.e.Begin(1)
		now += 10_000
		for i, raw := range raws {
			if i%2 == 0 && b.AppendRaw(raw, 0, now, 1) {
				continue
			}
			refs[i], _ = b.Append(refs[i], all[i], 0, now, 1)
		}
		b.Commit(now)
	}
	for i := range raws {
		all[i] = labelsWith("instance", fmt.Sprint(i))
		raws[i] = appendLabels(nil, all[i], nil)
	}
	for range 5 {
		send()
	}
	// A batch may come from the pool anew after a garbage collection.
	if n := testing.AllocsPerRun(20, send); n > 1 {
		t.Errorf("%v allocations for a batch of %d samples, want none", n, len(raws))
	}
}

func TestConcurrentBatches(t *testing.T) {
	r := newRig(t, manyRules, func(o *Options) { o.Journal = discard{} })
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for step := range 150 {
				now := at(float64(step) * 10)
				b := r.e.Begin(uint64(w + 1))
				for i := range 40 {
					b.Append(0, labelsWith("instance", fmt.Sprintf("%d-%d", w, (step/50*10+i))), 0, now, float64(step))
				}
				b.Commit(now)
			}
		})
	}
	stop := make(chan struct{})
	var background sync.WaitGroup
	background.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// Before the first batch there is no time yet.
			if err := r.e.Advance(max(r.e.newest.Load(), at(0)), func(*partial.Window) error { return nil }); err != nil {
				t.Error(err)
			}
			switch i % 3 {
			case 0:
				if err := r.e.Snapshot(&strings.Builder{}, nil); err != nil {
					t.Error(err)
				}
			case 1:
				if err := r.e.Reload(loadRules(t, manyRules)); err != nil {
					t.Error(err)
				}
			case 2:
				r.e.Decide(r.e.newest.Load(), []Decision{{Verb: Begin, Series: Series{ID: uint64(i)}}})
				r.e.Decide(r.e.newest.Load(), []Decision{{Verb: Doubt}})
			}
			r.e.Top(3)
		}
	})
	wg.Wait()
	close(stop)
	background.Wait()
	if got := r.e.Top(1)[0].Series; got != 4*60 {
		t.Errorf("%d series, want %d", got, 4*60)
	}
}

type discard struct{}

func (discard) Append([]byte) error { return nil }
