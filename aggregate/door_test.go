package aggregate

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/flow"
)

const (
	keptA    = `{__name__="kept", instance="a", job="j"}`
	freeA    = `{__name__="free", instance="a", job="j"}`
	droppedA = `{__name__="dropped", instance="a", job="j"}`

	keptCount    = `{__name__="kept:1m_without_instance_count_samples", job="j"}`
	keptSum      = `{__name__="kept:1m_without_instance_sum_samples", job="j"}`
	droppedCount = `{__name__="dropped:1m_without_instance_count_samples", job="j"}`
	droppedSum   = `{__name__="dropped:1m_without_instance_sum_samples", job="j"}`
)

func TestDoorStoresAndAggregates(t *testing.T) {
	db := openDB(t)
	r := newRig(t, mixed, db)
	c := newClient(t, r.Appendable(db))
	all := []labels.Labels{series("kept", "a"), series("dropped", "a"), series("dropped", "b"), series("free", "a")}
	for s := int64(10); s <= 60; s += 10 {
		r.now = at(s)
		c.send(s, 2, all...)
	}
	for ls, ref := range c.refs {
		if ref == 0 {
			t.Errorf("%s has no reference", ls)
		}
	}
	r.finish(60)
	equal(t, "store", dump(t, db), map[string]string{
		keptA: "10=2 20=2 30=2 40=2 50=2 60=2", freeA: "10=2 20=2 30=2 40=2 50=2 60=2",
		keptCount: "60=6", keptSum: "60=12", droppedCount: "60=12", droppedSum: "60=24",
	})
}

// TestDoorReferences looks at what the store is asked with.
func TestDoorReferences(t *testing.T) {
	for _, tc := range []struct {
		name         string
		base         storage.SeriesRef
		kept, free   storage.SeriesRef // what the store is given the second time
		freeReturned bool              // the caller has one for the free series
	}{
		{"small", 0, 1, 2, true},
		{"largest", 1<<48 - 3, 1<<48 - 2, 1<<48 - 1, true},
		{"too large for 48 bits", 1 << 50, 0, 1<<50 + 2, true},
		{"in the bits of the door", 1 << 63, 0, 0, false},
	} {
		m := newMemory()
		m.base = tc.base
		r := newRig(t, mixed, nil)
		c := newClient(t, r.Appendable(m))
		for s := range int64(3) {
			c.send(10*s, 1, series("kept", "a"), series("free", "a"), series("dropped", "a"))
		}
		equal(t, tc.name, m.given, []storage.SeriesRef{0, 0, tc.kept, tc.free, tc.kept, tc.free})
		equal(t, tc.name+": free has a reference", c.refs[freeA] != 0, tc.freeReturned)
		if c.refs[keptA] == 0 || c.refs[droppedA] == 0 {
			t.Errorf("%s: kept or dropped have no reference: %v", tc.name, c.refs)
		}
		r.finish(60)
	}
}

// A series that the store says to know is not asked for by labels.
func TestDoorGetRef(t *testing.T) {
	m := newMemory()
	r := newRig(t, mixed, nil)
	d := r.Appendable(m)
	newClient(t, d).send(0, 1, series("kept", "a"), series("free", "a"))
	c := newClient(t, d)
	app := d.AppenderV2(t.Context())
	for _, ls := range []labels.Labels{series("kept", "a"), series("free", "a"), series("dropped", "a")} {
		ref, _ := app.(storage.GetRef).GetRef(ls, ls.Hash())
		c.refs[ls.String()] = ref
		c.add(app, 10, 1, ls)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	equal(t, "references", m.given, []storage.SeriesRef{0, 0, 1, 2})
}

const swapped = `
rules:
- {interval: 1m, match: free, without: [instance], outputs: [count_samples], keep_input: false}
- {interval: 1m, match: dropped, without: [instance], outputs: [count_samples]}
`

// TestDoorReload: references from before mean nothing after.
func TestDoorReload(t *testing.T) {
	m, out := newMemory(), newMemory()
	r := newRig(t, mixed, out)
	c := newClient(t, r.Appendable(m))
	all := []labels.Labels{series("kept", "a"), series("free", "a"), series("dropped", "a")}
	c.send(10, 1, all...)
	r.reloaded(swapped)
	for s := int64(20); s <= 40; s += 10 {
		c.send(s, 2, all...)
	}
	equal(t, "stored", m.all(), map[string]string{keptA: "1 2 2 2", freeA: "1", droppedA: "2 2 2"})
	r.finish(60)
	equal(t, "aggregated", out.all(), map[string]string{
		`{__name__="free:1m_without_instance_count_samples", job="j"}`: "3", droppedCount: "4", // it has an output less, and goes on
	})

	m.given = nil
	r.reloaded("rules: []")
	for s := int64(170); s <= 180; s += 10 {
		c.send(s, 3, all...)
	}
	// The first time nothing of the door reaches the store, then the store's own.
	equal(t, "given without rules", m.given, []storage.SeriesRef{0, 0, 0, 1, 2, 3})
	r.reloaded(mixed)
	c.send(190, 4, all...)
	equal(t, "stored", m.all(), map[string]string{keptA: "1 2 2 2 3 3 4", freeA: "1 3 3 4", droppedA: "2 2 2 3 3"})
}

func TestDoorWithoutRules(t *testing.T) {
	m := newMemory()
	r := newRig(t, "rules: []", nil)
	if app, ok := r.Appendable(m).AppenderV2(t.Context()).(*memoryAppender); !ok {
		t.Errorf("got %T, want the appender of the store itself", app)
	}
}

func TestDoorExemplars(t *testing.T) {
	db := openDB(t)
	r := newRig(t, mixed, nil)
	d := r.Appendable(db)
	app := d.AppenderV2(t.Context())
	c := newClient(t, d)
	for _, name := range []string{"kept", "free", "dropped"} {
		ls := series(name, "a")
		c.add(app, 10, 1, ls)
		ref := c.refs[ls.String()]
		got, err := app.(storage.ExemplarAppenderV2).AppendExemplars(ref, ls, []exemplar.Exemplar{{Labels: labels.FromStrings("trace", name), Value: 1, Ts: at(10), HasTs: true}})
		if err != nil || got != ref {
			t.Errorf("%s: %d, %v, want %d", name, got, err, ref)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	q, err := db.ExemplarQuerier(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, err := q.Select(0, math.MaxInt64, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "job", "j")})
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]int{}
	for _, x := range found {
		have[x.SeriesLabels.Get("__name__")] += len(x.Exemplars)
	}
	equal(t, "exemplars", have, map[string]int{"kept": 1, "free": 1})
}

// A kept series whose reference has no place is found by its labels.
func TestDoorExemplarsOfAnUnknownReference(t *testing.T) {
	m := newMemory()
	m.base = 1 << 50
	r := newRig(t, mixed, nil)
	d := r.Appendable(m)
	app := d.AppenderV2(t.Context())
	c := newClient(t, d)
	c.add(app, 10, 1, series("kept", "a"))
	c.add(app, 10, 1, series("dropped", "a"))
	for _, ls := range []labels.Labels{series("kept", "a"), series("dropped", "a")} {
		if _, err := app.(storage.ExemplarAppenderV2).AppendExemplars(c.refs[ls.String()], ls, []exemplar.Exemplar{{}}); err != nil {
			t.Errorf("%s: %v", ls, err)
		}
	}
	equal(t, "asked of the store", m.shown, []storage.SeriesRef{0})
}

func TestDoorHistograms(t *testing.T) {
	db := openDB(t)
	r := newRig(t, mixed, db)
	d := r.Appendable(db)
	var whole, float storage.SeriesRef
	add := func(ref *storage.SeriesRef, instance string, s int64, h *histogram.Histogram, fh *histogram.FloatHistogram) error {
		app := d.AppenderV2(t.Context())
		got, err := app.Append(*ref, series("latency", instance), 0, at(s), 0, h, fh, storage.AOptions{})
		if err != nil {
			return errors.Join(err, app.Rollback())
		}
		*ref = got
		return app.Commit()
	}
	for i := range int64(3) {
		r.now = at(10 + 10*i)
		err := errors.Join(add(&whole, "a", 10+10*i, tsdbutil.GenerateTestHistogram(i), nil),
			add(&float, "b", 10+10*i, nil, tsdbutil.GenerateTestFloatHistogram(i)))
		if err != nil {
			t.Fatal(err)
		}
	}
	bad := tsdbutil.GenerateTestHistogram(5)
	bad.PositiveBuckets = bad.PositiveBuckets[:1]
	badFloat := tsdbutil.GenerateTestFloatHistogram(5)
	badFloat.PositiveBuckets = badFloat.PositiveBuckets[:1]
	for _, err := range []error{add(&whole, "a", 40, bad, nil), add(&float, "b", 40, nil, badFloat)} {
		if !errors.Is(err, histogram.ErrHistogramSpansBucketsMismatch) {
			t.Errorf("a histogram with too few buckets: %v", err)
		}
	}
	r.finish(60)
	first, last := tsdbutil.GenerateTestHistogram(0), tsdbutil.GenerateTestHistogram(2)
	want := fmt.Sprintf("60={count:%d sum:%g}", 2*(last.Count-first.Count), 2*(last.Sum-first.Sum))
	equal(t, "store", dump(t, db), map[string]string{`{__name__="latency:1m_without_instance_native_histogram", job="j"}`: want})
}

// TestDoorRefused: what the store does not take is not aggregated.
func TestDoorRefused(t *testing.T) {
	m, out := newMemory(), newMemory()
	r := newRig(t, mixed, out)
	d := r.Appendable(m)
	c := newClient(t, d)
	app := d.AppenderV2(t.Context())
	c.add(app, 10, 1, series("kept", "a"))
	c.add(app, 10, 1, series("dropped", "a"))
	if err := app.Rollback(); err != nil {
		t.Fatal(err)
	}
	m.set(nil, errTest)
	app = d.AppenderV2(t.Context())
	c.add(app, 20, 1, series("kept", "a"))
	c.add(app, 20, 1, series("dropped", "a"))
	if err := app.Commit(); !errors.Is(err, errTest) {
		t.Fatalf("commit: %v", err)
	}
	// Rolling back once more does no harm: no two transactions get one batch.
	if err := app.Rollback(); err != nil {
		t.Fatal(err)
	}
	m.set(nil, nil)
	one, two := d.AppenderV2(t.Context()), d.AppenderV2(t.Context())
	c.add(one, 30, 7, series("dropped", "a"))
	c.add(two, 30, 9, series("dropped", "b"))
	if err := errors.Join(two.Rollback(), one.Commit()); err != nil {
		t.Fatal(err)
	}
	r.finish(60)
	equal(t, "aggregated", out.all(), map[string]string{droppedCount: "1", droppedSum: "7"})
}

// TestDoorOutOfOrder: a sample that the store refuses for its time counts all the same.
func TestDoorOutOfOrder(t *testing.T) {
	db, out := openDB(t), newMemory()
	r := newRig(t, mixed, out)
	c := newClient(t, r.Appendable(db))
	ls := series("kept", "a")
	r.now = at(30)
	c.send(10, 1, ls)
	c.send(30, 1, ls)
	before := c.refs[ls.String()]
	app := c.door.AppenderV2(t.Context())
	ref, err := app.Append(before, ls, 0, at(20), 5, nil, nil, storage.AOptions{})
	if !errors.Is(err, storage.ErrOutOfOrderSample) || ref != before {
		t.Fatalf("%d, %v, want %d and out of order", ref, err, before)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, stored, _ := app.(*appender).split(before); stored == 0 {
		t.Error("the store's reference was forgotten for the error")
	}
	r.finish(60)
	equal(t, "stored", dump(t, db), map[string]string{keptA: "10=1 30=1"})
	equal(t, "aggregated", out.all(), map[string]string{keptCount: "3", keptSum: "7"})
}

func raw(t testing.TB, ls labels.Labels) []byte {
	t.Helper()
	b, err := (&prompb.TimeSeries{Labels: prompb.FromLabels(ls, nil)}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDoorRaw(t *testing.T) {
	m, out := newMemory(), newMemory()
	r := newRig(t, mixed, out)
	app := r.Appendable(m).AppenderV2(t.Context())
	ra, ok := app.(flow.RawAppender)
	if !ok {
		t.Fatalf("%T takes nothing raw", app)
	}
	all := []labels.Labels{series("dropped", "a"), series("kept", "a"), series("free", "a"), series("dropped", "b")}
	var samples []flow.RawSample
	for _, ls := range all {
		samples = append(samples, flow.RawSample{Labels: raw(t, ls), T: at(10), V: 3})
	}
	taken := func() (out []bool) {
		ra.AppendRaw(samples)
		for _, s := range samples {
			out = append(out, s.Taken)
		}
		return out
	}
	equal(t, "taken when nothing is known", taken(), []bool{false, false, false, false})
	var learned []bool
	for i, ls := range all {
		learned = append(learned, ra.LearnRaw(samples[i].Labels, ls))
	}
	equal(t, "learned", learned, []bool{true, false, false, true})
	equal(t, "taken", taken(), []bool{true, false, false, true})
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	r.finish(60)
	equal(t, "stored", m.all(), map[string]string{})
	equal(t, "aggregated", out.all(), map[string]string{droppedCount: "2", droppedSum: "6"})
}

// TestDoorConcurrent: many at once, with reloads and ticks between.
func TestDoorConcurrent(t *testing.T) {
	const clients, rounds, each = 4, 50, 100
	m, out := newMemory(), newMemory()
	r := newRig(t, mixed, out)
	r.now = at(59) // the window is not due before all have delivered
	d := r.Appendable(m)
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			c := newClient(t, d)
			for i := range int64(rounds) {
				app := d.AppenderV2(t.Context())
				for k := range each {
					name := []string{"kept", "dropped", "free"}[k%3]
					ls := series(name, fmt.Sprintf("%d-%d", n, k))
					ref, err := app.Append(c.refs[ls.String()], ls, 0, at(i+1), 1, nil, nil, storage.AOptions{})
					if err != nil {
						t.Errorf("%s: %v", ls, err)
						return
					}
					c.refs[ls.String()] = ref
				}
				if err := app.Commit(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		r.reloaded(mixed)
		r.seal(t.Context())
	}
	wg.Wait()
	r.finish(60)
	kept, dropped := float64(clients*rounds*34), float64(clients*rounds*33)
	want := map[string]string{
		keptCount: fmt.Sprintf("%g", kept), keptSum: fmt.Sprintf("%g", kept),
		droppedCount: fmt.Sprintf("%g", dropped), droppedSum: fmt.Sprintf("%g", dropped),
	}
	equal(t, "aggregated", out.all(), want)
	points := 0
	for ls, all := range m.series {
		points += len(all)
		if len(all) != rounds {
			t.Errorf("%s has %d samples, want %d", ls, len(all), rounds)
		}
	}
	equal(t, "stored", points, clients*rounds*67)
}

func TestStoredRefs(t *testing.T) {
	var s storedRefs
	s.set(5<<32|100_000, 7)
	for ref, want := range map[uint64]storage.SeriesRef{
		5<<32 | 100_000: 7, 6<<32 | 100_000: 0, 5<<32 | 100_001: 0, 1<<32 | 3: 0, 1<<32 | 1_000_000: 0,
	} {
		if got := s.get(engine.Ref(ref)); got != want {
			t.Errorf("%x: %d, want %d", ref, got, want)
		}
	}
	s.set(6<<32|100_000, 1<<48)
	if got := s.get(6<<32 | 100_000); got != 0 {
		t.Errorf("a reference of 49 bits is read as %d", got)
	}
	if chunks := *s.chunks.Load(); chunks[0] != nil {
		t.Error("places are taken where nothing is stored")
	}
}

// TestFullStore: what is not to be stored is aggregated though the store takes
// nothing; what is to be stored is refused, and not counted until it is taken.
func TestFullStore(t *testing.T) {
	out, raw := newMemory(), newMemory()
	r := newRig(t, mixed, out)
	c := newClient(t, r.Appendable(raw))
	raw.set(nil, fmt.Errorf("disk full: %w", flow.ErrUnavailable))
	c.send(10, 5, series("dropped", "a"), series("dropped", "b"))
	app := c.door.AppenderV2(t.Context())
	c.add(app, 20, 7, series("dropped", "a"))
	c.add(app, 20, 7, series("kept", "a"))
	if err := app.Commit(); !errors.Is(err, flow.ErrUnavailable) {
		t.Errorf("a transaction that holds something to be stored: %v, want that the store is not available", err)
	}
	raw.set(nil, nil)
	c.send(30, 1, series("dropped", "a"))
	r.finish(200)
	equal(t, "samples", out.points(`{__name__="dropped:1m_without_instance_sum_samples", job="j"}`), "11")
	equal(t, "stored", raw.all(), map[string]string{})
}
