package share

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/atoll-mesh/atoll/aggregate/owner"
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// truth is what is right of one world: it sees everything of everybody.
type truth struct {
	w *world
	// windows are the values that belong to one window, by series and time; totals
	// those of all before too.
	windows, totals map[string]float64
	// sums are what each group counted altogether, by job, and lost the part of it
	// that islands may have taken to their graves; more is what they had said before
	// they came to say less.
	sums, lost, more map[string]float64
	// unsure are the windows that a dead island may or may not have handed on.
	unsure map[int64]bool
}

// latest are the rows that hold of a window: by group, and of each node the newest.
func (w *world) latest(end int64) map[string]map[string]*partial.Row {
	out := map[string]map[string]*partial.Row{}
	for _, p := range w.pushed[end] {
		for i := range p.Rows {
			job := p.Rows[i].Group.Get("job")
			if out[job] == nil {
				out[job] = map[string]*partial.Row{}
			}
			out[job][p.node] = &p.Rows[i] // in the order of revisions
		}
	}
	return out
}

func (w *world) truth() *truth {
	o, err := owner.New(owner.Options{Rules: w.set})
	if err != nil {
		w.t.Fatal(err)
	}
	r := w.set.Rules[0]
	t := &truth{w, map[string]float64{}, map[string]float64{}, map[string]float64{}, map[string]float64{}, map[string]float64{}, map[int64]bool{}}
	for _, end := range slices.Sorted(maps.Keys(w.pushed)) {
		all := &partial.Window{Rule: r, End: end}
		for job, rows := range w.latest(end) {
			var sum partial.Row
			for _, node := range slices.Sorted(maps.Keys(rows)) {
				row := rows[node]
				sum.Group, sum.Hash = row.Group, row.Hash
				sum.Acc.Merge(r.Needs(), &row.Acc)
			}
			all.Rows = append(all.Rows, sum)
			t.count(job, end)
		}
		for _, s := range o.Finish(all) {
			to := t.windows
			if strings.HasSuffix(s.Labels.Get("__name__"), "_total") {
				to = t.totals
			}
			to[fmt.Sprintf("%s@%d", s.Labels, s.T)] = s.V
		}
	}
	return t
}

// count adds what nodes counted of a group in a window: where windows come again
// the newest holds, else all that was said.
func (t *truth) count(job string, end int64) {
	newest, most := map[string]float64{}, map[string]float64{}
	for _, p := range t.w.pushed[end] {
		for i := range p.Rows {
			if p.Rows[i].Group.Get("job") != job {
				continue
			}
			v := p.Rows[i].Acc.Increase.Value()
			if t.w.set.Rules[0].Late != rule.Correct {
				v += newest[p.node]
			}
			newest[p.node], most[p.node] = v, max(v, most[p.node])
		}
	}
	const grave = 60_000 // a node hands on what it has within that, ms
	for node, v := range newest {
		t.sums[job] += v
		if t.w.handed[node] {
			continue
		}
		if t.w.dead[node] != 0 {
			t.more[job] += most[node] - v
		}
		if at := t.w.dead[node]; at != 0 && end > at-grave {
			t.unsure[end] = true
			t.lost[job] += v
		} else if at != 0 && len(t.w.pushed[end]) > 1 {
			t.lost[job] += t.lateOf(job, end, node, at-grave)
		}
	}
}

// lateOf is what came for a window after its time, from a node that was about to die.
func (t *truth) lateOf(job string, end int64, node string, after int64) (v float64) {
	for _, p := range t.w.pushed[end] {
		if p.node != node || p.Revision == 0 {
			continue
		}
		t.unsure[end] = true
		for i := range p.Rows {
			if p.Rows[i].Group.Get("job") == job {
				v += p.Rows[i].Acc.Increase.Value()
			}
		}
	}
	return v
}

// check compares what was published with the truth.
//
// Always: islands that are together publish one value per revision of a series and
// window, revisions do not fall, only a rule that corrects has any, and the last
// totals are all that there was. Where nobody was away for longer than it is waited
// for (exact), and where windows are corrected, the values are the truth.
func (w *world) check(p plot) {
	exact := p.exact()
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.truth()
	bad := 0
	fail := func(format string, args ...any) {
		if bad++; bad <= 8 {
			w.mistakes = append(w.mistakes, fmt.Sprintf("seed %d: "+format, append([]any{w.seed}, args...)...))
		}
	}
	last := map[string]emission{}
	for key, es := range w.said {
		if strings.HasPrefix(jobOf(key), "b") {
			w.backlogs++
		}
		if e, ok := w.one(key, es, p, fail); ok {
			last[key] = e
		}
	}
	t.compare(last, p, fail)
	t.compareTotals(last, exact, fail)
	if len(t.windows) < 100 {
		fail("only %d values to compare", len(t.windows))
	}
	if bad > 0 {
		w.mistakes = append(w.mistakes, fmt.Sprintf("seed %d: %d mistakes of %d values; events:\n%s", w.seed, bad, len(t.windows), strings.Join(w.events, "\n")))
	}
}

// one is the value of a series and time that holds in the end.
func (w *world) one(key string, es []emission, p plot, fail func(string, ...any)) (e emission, ok bool) {
	values := map[uint32]float64{}
	// What an island that is away for long had said can be missing in corrections.
	gone := !p.exact() && p.late == rule.Correct
	for _, x := range es {
		if x.apart {
			if p.exact() {
				fail("%s was published apart: %v", key, es)
			}
			if len(values) == 0 { // it holds where the others have nothing like it
				e, ok = emission{value: x.value}, true
			}
			continue
		}
		switch v, known := values[x.revision]; {
		case !known || v == x.value || gone && x.revision > 0:
		default:
			fail("%s has two values of one revision: %v%s", key, es, w.shares(key))
		}
		if x.revision < e.revision && !gone {
			fail("%s falls back to an earlier revision: %v", key, es)
		}
		if x.revision > 0 && p.late != rule.Correct {
			fail("%s was corrected: %v", key, es)
		}
		values[x.revision], e, ok = x.value, x, true
	}
	return e, ok
}

// compare looks at what belongs to one window.
func (t *truth) compare(last map[string]emission, p plot, fail func(string, ...any)) {
	for key, want := range t.windows {
		end := endOf(key)
		e, said := last[key]
		backlog := strings.Contains(key, `job="b`) && p.late != rule.Correct
		switch {
		case t.unsure[end] || !p.corrects() && (!p.exact() || p.late == rule.Correct):
		case !said && backlog && p.disk:
			t.w.forgotten++ // its source had no memory to keep it while it was gathered
		case !said:
			fail("%s is missing, want %v%s", key, want, t.w.shares(key))
		case backlog && strings.Contains(key, "increase") && !t.w.isSomeOf(key, e.value):
			fail("%s is %v, which no islands together saw:%s", key, e.value, t.w.shares(key))
		case !backlog && e.value != want:
			fail("%s is %v, want %v: %v%s", key, e.value, want, t.w.said[key], t.w.shares(key))
		}
	}
	for key := range last {
		_, window := t.windows[key]
		_, total := t.totals[key]
		if !window && !total {
			fail("%s was published, and there is nothing like it", key)
		}
	}
}

// compareTotals: each is what there was so far, if nothing came late; and the last
// one is all that there was.
func (t *truth) compareTotals(last map[string]emission, exact bool, fail func(string, ...any)) {
	newest := map[string]int64{}
	for key := range t.totals {
		series, _, _ := strings.Cut(key, "@")
		newest[series] = max(newest[series], endOf(key))
	}
	corrects := t.w.set.Rules[0].Late == rule.Correct
	for key, want := range t.totals {
		series, _, _ := strings.Cut(key, "@")
		e, said := last[key]
		job := jobOf(key)
		switch {
		case newest[series] == endOf(key) && !strings.HasPrefix(job, "b"):
			if sum := t.sums[job]; !said || e.value > sum+t.more[job] || e.value < sum-t.lost[job] {
				fail("%s is %v at the end, want %v, of which %v may be lost, and %v more", key, e.value, sum, t.lost[job], t.more[job])
			}
		case exact && !corrects && len(t.unsure) == 0 && !strings.HasPrefix(job, "b") && (!said || e.value != want):
			fail("%s is %v (%v), want %v", key, e.value, said, want)
		}
	}
}

func endOf(key string) int64 {
	_, at, _ := strings.Cut(key, "@")
	end, _ := strconv.ParseInt(at, 10, 64) // the world wrote it
	return end
}

func jobOf(key string) string {
	_, rest, _ := strings.Cut(key, `job="`)
	job, _, _ := strings.Cut(rest, `"`)
	return job
}

// increases are what each node saw of a group in a window, added up in the order
// in which it said so.
func (w *world) increases(key string) map[string]float64 {
	out := map[string]float64{}
	for node, row := range w.latest(endOf(key))[jobOf(key)] {
		out[node] = row.Acc.Increase.Value()
	}
	return out
}

// shares are the increases that each island saw, to tell whose is missing.
func (w *world) shares(key string) (text string) {
	if !strings.Contains(key, "increase") {
		return ""
	}
	saw := w.increases(key)
	for _, node := range slices.Sorted(maps.Keys(saw)) {
		text += fmt.Sprintf(" %s:%v", node, saw[node])
	}
	return text
}

// isSomeOf reports whether v is what some nodes said of a group in a window: of
// each one of the values that it said.
func (w *world) isSomeOf(key string, v float64) bool {
	sums := map[float64]bool{0: true}
	byNode := map[string][]float64{}
	for _, p := range w.pushed[endOf(key)] {
		for i := range p.Rows {
			if p.Rows[i].Group.Get("job") == jobOf(key) {
				byNode[p.node] = append(byNode[p.node], p.Rows[i].Acc.Increase.Value())
			}
		}
	}
	for _, values := range byNode {
		next := maps.Clone(sums)
		for sum := range sums {
			for _, x := range values {
				next[sum+x] = true
			}
		}
		sums = next
	}
	return cmp.Compare(v, 0) != 0 && sums[v]
}
