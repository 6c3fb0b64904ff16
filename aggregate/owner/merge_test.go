package owner

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

const allOutputs = `- {interval: 1m, by: [job], outputs: [total, total_prometheus, increase, rate_sum, rate_avg, sum_samples_total, count_samples,
    count_series, unique_samples, avg, min, max, last, stddev, histogram_bucket, "quantiles(0.5, 0.99)", native_histogram, sketch]}
`

// message is one call of Merge.
type message struct {
	source string
	epoch  uint64
	window *partial.Window
}

func deliver(t *testing.T, o *Owner, ms []message) {
	t.Helper()
	for _, m := range ms {
		if err := o.Merge(m.source, m.epoch, m.window); err != nil {
			t.Fatal(err)
		}
	}
}

// traffic is what three sources say of ten windows of seven groups: growing
// revisions of each, cut into pieces, one source in two epochs.
func traffic(r *rule.Rule) (all []message) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for end := int64(60_000); end <= 600_000; end += 60_000 {
		for s := range 3 {
			for revision := range uint32(3) {
				w := &partial.Window{Rule: r, End: end, Revision: revision, Open: revision < 2}
				for g := range 7 {
					ls := labels.FromStrings("__name__", "m", "job", fmt.Sprint("j", g))
					var a partial.Acc
					for range 1 + int(revision)*3 {
						a.Observe(r.Needs(), end-int64(rnd.IntN(60_000)), rnd.ExpFloat64())
					}
					a.Increase.Add(rnd.Float64() * 1e6)
					a.IncreaseProm.Add(rnd.Float64())
					a.Rate, a.Rates, a.Series = rnd.Float64(), 2, 3
					w.Rows = append(w.Rows, row(ls, a))
				}
				epoch := uint64(1)
				if s == 2 && end > 300_000 {
					epoch = 2
				}
				for _, p := range partial.Split(w, 3) {
					all = append(all, message{fmt.Sprint("s", s), epoch, p})
				}
			}
		}
	}
	return all
}

// Any order, duplicates and replays of the partials give the same samples, each once.
func TestAnyOrder(t *testing.T) {
	set := load(t, allOutputs)
	all := traffic(set.Rules[0])
	var want []string
	for seed := range uint64(8) {
		o := newOwner(t, set)
		o.SetSources([]string{"s2", "s0", "s1"})
		rnd := rand.New(rand.NewPCG(seed, 9))
		ms := slices.Clone(all)
		if seed > 0 {
			for range len(all) { // duplicates
				ms = append(ms, all[rnd.IntN(len(all))])
			}
			rnd.Shuffle(len(ms), func(i, j int) { ms[i], ms[j] = ms[j], ms[i] })
		}
		// Publication goes on while messages come in, and the owner is restarted now and then.
		var got []string
		for i, m := range ms {
			deliver(t, o, []message{m})
			if i%37 == 0 {
				got = append(got, texts(o.Take(1000))...)
			}
			if i%101 == 100 {
				o = reborn(t, o, set)
			}
		}
		got = append(got, texts(o.Take(1000))...)
		deliver(t, o, all) // a replay of everything
		if again := o.Take(1000); len(again) > 0 {
			t.Fatalf("seed %d: a replay made %d samples, such as %s", seed, len(again), texts(again)[0])
		}
		if want == nil {
			want = got
			if len(want) < 10*7*18 {
				t.Fatalf("%d samples are too few to show anything", len(want))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d: -in order +got\n%.3000s", seed, diff)
		}
	}
}

// reborn is an owner with the state of o, restored in another process.
func reborn(t *testing.T, o *Owner, set *rule.Set) *Owner {
	t.Helper()
	var state bytes.Buffer
	if err := o.Snapshot(&state); err != nil {
		t.Fatal(err)
	}
	first := bytes.Clone(state.Bytes())
	state.WriteString("more")
	next := newOwner(t, set)
	next.SetSources(o.live)
	if err := next.Restore(&state); err != nil {
		t.Fatal(err)
	}
	if state.String() != "more" {
		t.Fatalf("%d bytes are left behind the state, want 4", state.Len())
	}
	var again bytes.Buffer
	if err := next.Snapshot(&again); err != nil || !bytes.Equal(first, again.Bytes()) {
		t.Fatalf("the state does not come back as it was: %v", err)
	}
	return next
}

func small(t *testing.T, options string) (*rule.Rule, *Owner) {
	t.Helper()
	set := load(t, "- {interval: 1m, by: [job], max_lag: 90s, outputs: [total, increase]"+options+"}")
	o := newOwner(t, set)
	o.SetSources([]string{"a", "b"})
	return set.Rules[0], o
}

func part1(r *rule.Rule, source string, end, revision int, v float64) message {
	w := &partial.Window{Rule: r, End: int64(end) * 1000, Revision: uint32(revision)}
	w.Rows = []partial.Row{row(labels.FromStrings("__name__", "m"), counter(v))}
	return message{source, 1, w}
}

const totalOf, increaseOf = `{__name__="m:1m_by_job_total"} `, `{__name__="m:1m_by_job_increase"} `

func TestWaitsForAllSources(t *testing.T) {
	r, o := small(t, "")
	deliver(t, o, []message{part1(r, "a", 60, 0, 5)})
	expect(t, o.Take(61_000))
	deliver(t, o, []message{part1(r, "a", 120, 0, 7), part1(r, "b", 120, 0, 1)})
	expect(t, o.Take(121_000)) // 120 is complete but must not overtake 60
	o.Mark("b", r, 60_000)
	expect(t, o.Take(122_000), totalOf+"60 5", increaseOf+"60 5", totalOf+"120 13", increaseOf+"120 8")
	// A source that says nothing: the deadline is max_lag and grace after the end.
	deliver(t, o, []message{part1(r, "a", 180, 0, 2)})
	expect(t, o.Take(279_999))
	expect(t, o.Take(280_000), totalOf+"180 15", increaseOf+"180 2")
	// A source that is gone is not waited for.
	deliver(t, o, []message{part1(r, "a", 300, 0, 2)})
	o.SetSources([]string{"a"})
	expect(t, o.Take(301_000), totalOf+"300 17", increaseOf+"300 2")
}

func TestLatePolicies(t *testing.T) {
	for _, tc := range []struct {
		options     string
		late, after []string
	}{
		{"", nil, []string{totalOf + "120 18", increaseOf + "120 1"}},
		{", late: correct", []string{totalOf + "60 17 revision 1", increaseOf + "60 17 revision 1"}, []string{totalOf + "120 18", increaseOf + "120 1"}},
		{", late: drop", nil, []string{totalOf + "120 9", increaseOf + "120 1"}},
	} {
		r, o := small(t, tc.options)
		deliver(t, o, []message{part1(r, "a", 60, 0, 5), part1(r, "b", 60, 0, 3)})
		expect(t, o.Take(61_000), totalOf+"60 8", increaseOf+"60 8")
		deliver(t, o, []message{part1(r, "a", 60, 1, 14)})
		expect(t, o.Take(62_000), tc.late...)
		expect(t, o.Take(63_000))
		// A window that was never published is new, whatever the policy; its amount is in the next total.
		deliver(t, o, []message{part1(r, "a", 0, 0, 0)})
		expect(t, o.Take(100_000), increaseOf+"0 0")
		deliver(t, o, []message{part1(r, "a", 120, 0, 1), part1(r, "b", 120, 0, 0)})
		expect(t, o.Take(121_000), tc.after...)
	}
}

func TestEarly(t *testing.T) {
	r, o := small(t, ", early: true")
	grow := part1(r, "a", 60, 0, 5)
	grow.window.Open = true
	deliver(t, o, []message{grow})
	expect(t, o.Take(20_000), totalOf+"60 5", increaseOf+"60 5")
	expect(t, o.Take(30_000))
	deliver(t, o, []message{part1(r, "a", 60, 1, 9), part1(r, "b", 60, 0, 1)})
	expect(t, o.Take(61_000), totalOf+"60 10 revision 1", increaseOf+"60 10 revision 1")
}

// A source that lost its state begins an epoch: what it saw before still counts.
func TestEpochsAdd(t *testing.T) {
	set := load(t, "- {interval: 1m, by: [job], outputs: [increase, rate_sum, count_series, count_samples]}")
	o, r := newOwner(t, set), set.Rules[0]
	o.SetSources([]string{"a"})
	say := func(epoch uint64, increase, rate float64, series, count uint64) message {
		m := part1(r, "a", 60, 0, increase)
		a := &m.window.Rows[0].Acc
		a.Rate, a.Rates, a.Series, a.Count = rate, series, series, count
		m.epoch = epoch
		return m
	}
	deliver(t, o, []message{say(8, 20, 4, 3, 2), say(7, 30, 5, 4, 3)})
	const m = `{__name__="m:1m_by_job_`
	expect(t, o.Take(61_000), m+`increase"} 60 50`, m+`rate_sum"} 60 5`, m+`count_series"} 60 4`, m+`count_samples"} 60 5`)
}

// Groups move to a new owner with their totals and windows; nothing is lost or doubled.
func TestHandOver(t *testing.T) {
	r, old := small(t, "")
	deliver(t, old, []message{part1(r, "a", 60, 0, 5), part1(r, "b", 60, 0, 3), part1(r, "a", 120, 0, 1)})
	expect(t, old.Take(61_000), totalOf+"60 8", increaseOf+"60 8")
	var state bytes.Buffer
	if err := old.Release(&state, func(*rule.Rule, uint64) bool { return true }); err != nil {
		t.Fatal(err)
	}
	_, next := small(t, "")
	deliver(t, next, []message{part1(r, "b", 120, 0, 2)})
	if err := next.Restore(&state); err != nil {
		t.Fatal(err)
	}
	deliver(t, next, []message{part1(r, "a", 60, 0, 5), part1(r, "a", 120, 0, 1)}) // sent again
	expect(t, next.Take(121_000), totalOf+"120 11", increaseOf+"120 3")
	expect(t, old.Take(400_000))
}

func TestBoundsAndReload(t *testing.T) {
	registry := prometheus.NewRegistry()
	set := load(t, "- {interval: 1m, outputs: [total]}")
	o, err := New(Options{Rules: set, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	r := set.Rules[0]
	const day = 24 * 3_600_000
	o.Take(day)
	deliver(t, o, []message{part1(r, "a", 60, 0, 1)})
	expect(t, o.Take(day+1)) // beyond the horizon
	o.Reload(load(t, "- {interval: 2m, outputs: [total]}"))
	if err := o.Merge("a", 1, part1(r, "a", 60, 0, 1).window); err == nil {
		t.Error("a window of a rule that is gone was taken")
	}
	want := map[string]float64{"too_old": 1, "unknown_rule": 1}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if w, ok := want[l.GetValue()]; ok && m.GetCounter().GetValue() == w {
					delete(want, l.GetValue())
				}
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not counted: %v", want)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("an owner without rules was made")
	}
}

func FuzzRestore(f *testing.F) {
	set := load(f, allOutputs)
	o := newOwner(f, set)
	for _, m := range traffic(set.Rules[0])[:20] {
		if err := o.Merge(m.source, m.epoch, m.window); err != nil {
			f.Fatal(err)
		}
	}
	o.Take(200_000)
	var state bytes.Buffer
	if err := o.Snapshot(&state); err != nil {
		f.Fatal(err)
	}
	f.Add(state.Bytes())
	f.Add([]byte{2, 1, 0, 1, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		o := newOwner(t, set)
		if o.Restore(bytes.NewReader(b)) != nil {
			return
		}
		o.Take(1_000_000)
		if err := o.Snapshot(&bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
	})
}
