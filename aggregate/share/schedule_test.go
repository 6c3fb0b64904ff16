package share

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/owner"
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/flow"
)

// truth is what one owner publishes that sees everything of everybody.
func (w *world) truth() map[string]float64 {
	o, err := owner.New(owner.Options{Rules: w.set})
	if err != nil {
		w.t.Fatal(err)
	}
	r := w.set.Rules[0]
	out := map[string]float64{}
	for _, end := range slices.Sorted(maps.Keys(w.pushed)) {
		groups := map[string]*partial.Row{}
		for _, win := range w.pushed[end] {
			for _, row := range win.Rows {
				if have := groups[row.Group.String()]; have != nil {
					have.Acc.Merge(r.Needs(), &row.Acc)
				} else {
					row.Acc = row.Acc.Clone()
					groups[row.Group.String()] = &row
				}
			}
		}
		all := &partial.Window{Rule: r, End: end}
		for _, row := range groups {
			all.Rows = append(all.Rows, *row)
		}
		for _, s := range o.Finish(all) {
			out[fmt.Sprintf("%s@%d", s.Labels, s.T)] = s.V
		}
	}
	return out
}

// check compares what was published with the truth. Where islands were away for
// longer than they are waited for, exact is false: then there is one value still,
// and the totals come right.
func (w *world) check(exact bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	truth := w.truth()
	bad := 0
	fail := func(format string, args ...any) {
		if bad++; bad <= 8 {
			w.t.Errorf("seed %d: "+format, append([]any{w.seed}, args...)...)
		}
	}
	for key, es := range w.said {
		for _, e := range es[1:] {
			if e.value != es[0].value {
				fail("%s has two values: %v", key, es)
			}
		}
		want, known := truth[key]
		if !known || exact && want != es[0].value {
			fail("%s is %v, want %v%s", key, es, want, w.shares(key))
		}
	}
	for key, want := range truth {
		if exact && len(w.said[key]) == 0 {
			fail("%s is missing, want %v", key, want)
		}
	}
	if !exact {
		w.checkTotals(truth, fail)
	}
	if len(truth) < 100 {
		fail("only %d values to compare", len(truth))
	}
	if bad > 0 {
		w.t.Errorf("seed %d: %d mistakes of %d values; events:\n%s", w.seed, bad, len(truth), strings.Join(w.events, "\n"))
	}
}

// shares are the increases that each island saw, to tell whose is missing.
func (w *world) shares(key string) (text string) {
	if !strings.Contains(key, "increase") {
		return ""
	}
	for end, wins := range w.pushed {
		for i, win := range wins {
			for _, row := range win.Rows {
				job := fmt.Sprintf("job=%q", row.Group.Get("job"))
				if strings.Contains(key, job) && strings.HasSuffix(key, fmt.Sprint("@", end)) {
					text += fmt.Sprintf(" %d:%v(slot %d)", i, row.Acc.Increase.Value(), slotOf(win.Rule.Hash, row.Hash))
				}
			}
		}
	}
	return text
}

// checkTotals: the last total of each group is what there was altogether.
func (w *world) checkTotals(truth map[string]float64, fail func(string, ...any)) {
	last := map[string]string{}
	for key := range truth {
		series, _, _ := strings.Cut(key, "@")
		if strings.Contains(series, "_total\"") && (last[series] == "" || key > last[series]) {
			last[series] = key
		}
	}
	for _, key := range last {
		if es := w.said[key]; len(es) == 0 || es[0].value != truth[key] {
			fail("%s is %v at the end, want %v", key, es, truth[key])
		}
	}
}

// schedule plays one life of a network.
func schedule(t *testing.T, seed uint64, long bool) (w *world) {
	synctest.Test(t, func(t *testing.T) {
		n := 3 + int(seed%3)
		w = newWorld(t, seed, n)
		if seed%4 == 0 { // little memory, the rest on disk
			w.pending = flow.Bytes(2 << 10)
			for _, x := range w.nodes {
				x.dir = t.TempDir()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		joins := seed%5 == 1
		for i, x := range w.nodes {
			if joins && i == n-1 {
				w.join(x, 60*time.Second)
				continue
			}
			x.start()
		}
		w.run(ctx)
		time.Sleep(15 * time.Second) // all have seen each other once
		for _, x := range w.nodes {
			x.checkpoint()
		}
		for range 3 {
			w.burst(joins)
		}
		if long {
			w.fault(w.nodes[1], w.between(150*time.Second, 200*time.Second))
			time.Sleep(w.between(0, 60*time.Second))
		}
		w.mu.Lock()
		w.calm = true
		w.mu.Unlock()
		time.Sleep(260 * time.Second) // whoever is away comes back, and is heard
		for _, x := range w.nodes {
			x.mu.Lock()
			x.last = w.end(time.Now())
			x.mu.Unlock()
		}
		time.Sleep(160 * time.Second)
		cancel()
		w.close()
		time.Sleep(20 * time.Second)
		w.check(!long)
	})
	return w
}

// burst is a time of faults, some at once, and one of rest after it: so nobody is
// out of another's sight for as long as it is waited for.
func (w *world) burst(joins bool) {
	w.mu.Lock()
	w.calm = false
	w.mu.Unlock()
	for until := time.Now().Add(45 * time.Second); time.Now().Before(until); {
		x := w.nodes[int(w.between(0, time.Duration(len(w.nodes)-1)))]
		if !joins || x != w.nodes[len(w.nodes)-1] {
			w.fault(x, w.between(time.Second, 40*time.Second))
		}
		time.Sleep(w.between(2*time.Second, 30*time.Second))
	}
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	time.Sleep(60 * time.Second)
}

func (w *world) fault(x *node, d time.Duration) {
	if w.chance(0.5) {
		w.fail(x, d)
	} else {
		w.part([]*node{x}, d)
	}
}

// join brings a node in after a while: the others know of it before it has data.
func (w *world) join(n *node, after time.Duration) {
	for _, o := range w.nodes {
		w.see(o, n, o == n)
		if o != n {
			time.AfterFunc(after+w.between(0, 5*time.Second), func() { w.see(o, n, true) })
		}
	}
	n.first = w.end(time.Now().Add(after + 20*time.Second))
	time.AfterFunc(after, func() {
		w.note("%s joins", n.name)
		n.start()
	})
}

// How many schedules there are, and how many with ATOLL_LONG.
const (
	schedules     = 20
	longSchedules = 200
)

// Delay, loss, repetition, partitions, deaths at any instant, joins: the windows of
// all islands together are the truth, each with one value. Of every ten schedules
// two have an island away for longer than it is waited for.
func TestSchedules(t *testing.T) {
	again, most := 0, uint64(schedules)
	if os.Getenv("ATOLL_LONG") != "" {
		most = longSchedules
	}
	for seed := range most {
		w := schedule(t, seed, seed%10 >= 8)
		for _, es := range w.said {
			if len(es) > 1 {
				again++
			}
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d values were published again, identically", again)
	if again == 0 {
		t.Error("no value was ever published again: the schedules kill nobody at the wrong moment")
	}
}

// A member that comes or goes moves its own share and nothing else.
func TestViewsMoveLittle(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	five, four := newView(names), newView(names[:4])
	moved, owns := 0, map[int16]int{}
	for k := range Slots {
		owns[five.first[k]]++
		if five.first[k] == 4 {
			if four.first[k] != five.second[k] {
				t.Fatalf("slot %d goes to %d, not to the deputy %d", k, four.first[k], five.second[k])
			}
			moved++
		} else if five.first[k] != four.first[k] {
			t.Fatalf("slot %d moved from %d to %d", k, five.first[k], four.first[k])
		}
	}
	for i, n := range owns {
		if n < Slots/5*8/10 || n > Slots/5*12/10 {
			t.Errorf("member %d owns %d of %d slots", i, n, Slots)
		}
	}
	if moved != owns[4] {
		t.Errorf("%d slots moved of the %d of the one that left", moved, owns[4])
	}
}
