package global

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// joins are islands with left{k} and right{k}, of which the one at ambiguous, if
// any, has right twice.
func joins(t *testing.T, n, ambiguous int) (merged *promql.Result, islands []Island) {
	all, answers := memory(t), upstream(t, false)
	for i := range n {
		store := memory(t)
		samples := []sample{{labels: labels.FromStrings("__name__", "left", "k", "a"), ms: 0, v: 1}, {labels: labels.FromStrings("__name__", "right", "k", "a", "n", "1"), ms: 0, v: 2}}
		if i == ambiguous {
			samples = append(samples, sample{labels: labels.FromStrings("__name__", "right", "k", "a", "n", "2"), ms: 0, v: 3})
		}
		fill(t, store, samples)
		for j := range samples {
			samples[j].labels = with(samples[j].labels, islandName(i))
		}
		fill(t, all, samples)
		islands = append(islands, newAnswerer(t, answers, store, islandName(i), false))
	}
	res, _ := at(joined, 60).ask(t.Context(), upstream(t, false), all)
	return res, islands
}

const joined = `sum(left * on (k, island) right{n=~"1|2",k="a"})`

// TestProvenError: many-to-many matching on one island only is the answer, in the
// words of one engine over all.
func TestProvenError(t *testing.T) {
	for ambiguous := range 3 {
		want, islands := joins(t, 3, ambiguous)
		e := newEngine(t, nil, func() []Island { return islands }, false)
		got, receipt := at(joined, 60).ask(t.Context(), e, nil)
		if want.Err == nil || fmt.Sprint(got.Err) != fmt.Sprint(want.Err) || receipt.Rounds != 2 {
			t.Errorf("error %v in %d rounds, want %v in 2", got.Err, receipt.Rounds, want.Err)
		}
		if i := receipt.Islands[ambiguous]; i.State != StateAnswered || i.Why != "its series make the question an error" {
			t.Errorf("receipt %+v", i)
		}
	}
}

// own is the asking island.
type own struct{ Island }

func (o own) Facts() Facts {
	f := o.Island.Facts()
	f.Own = true
	return f
}

// TestOwnError: what the asking island itself finds needs no second look.
func TestOwnError(t *testing.T) {
	_, islands := joins(t, 2, 1)
	islands[1] = own{islands[1]}
	e := newEngine(t, nil, func() []Island { return islands }, false)
	if got, receipt := at(joined, 60).ask(t.Context(), e, nil); got.Err == nil || receipt.Rounds != 1 {
		t.Errorf("%v in %d rounds", got.Err, receipt.Rounds)
	}
}

// TestLies: one island's word ends no question, and is named.
func TestLies(t *testing.T) {
	for lie, why := range map[string]string{
		"claims an error":           "it says that the question is an error, but its series show none: the question is wrong",
		"claims an error and hides": "it says that the question is an error, which could not be checked: the question is wrong: no series for you",
		"claims too much":           "it is too large for you",
	} {
		_, islands := joins(t, 3, -1)
		islands[1] = &flaky{Island: islands[1], fault: lie}
		e := newEngine(t, nil, func() []Island { return islands }, false)
		got, receipt := at(joined, 60).ask(t.Context(), e, nil)
		if v := value1(t, got); v != 4 || receipt.Islands[1].Why != why {
			t.Errorf("%s: %v, %+v", lie, v, receipt.Islands[1])
		}
		if len(texts(got.Warnings)) != 1 {
			t.Errorf("%s: warnings %q", lie, texts(got.Warnings))
		}
	}
}

// flood is an island that sends as many series as it may.
type flood struct {
	Island
	series int
}

func (f flood) Answer(ctx context.Context, r *Request) (*Answer, error) {
	a, err := f.Island.Answer(ctx, r)
	for i := range f.series {
		a.Leaves[0].Rows = append(a.Leaves[0].Rows, promql.Series{
			Metric: labels.FromStrings("island", f.Facts().Name, "n", fmt.Sprint(i)), Floats: []promql.FPoint{{T: r.Leaves[0].Start}},
		})
	}
	return a, err
}

// TestFlood: an island that takes what the others need is left out; what is too
// large without it is an error.
func TestFlood(t *testing.T) {
	for _, c := range []struct {
		floods []int
		err    string
		n      int
	}{
		{[]int{0, 98, 0}, "", 2},
		{[]int{98, 0, 0}, "", 2},
		{[]int{40, 40, 40}, "more than 100 series", 0},
		{[]int{98, 98, 98}, "more than 100 series", 0},
		{[]int{40, 40, 10}, "", 93},
		{[]int{0, 120, 0}, "", 2},
	} {
		_, islands := joins(t, 3, -1)
		for i, n := range c.floods {
			islands[i] = flood{islands[i], n}
		}
		e := newEngine(t, func(o *Options) { o.Limits = Limits{Series: 100} }, func() []Island { return islands }, false)
		got, receipt := at(`left`, 60).ask(t.Context(), e, nil)
		if c.err != "" {
			if got.Err == nil || !strings.Contains(got.Err.Error(), c.err) {
				t.Errorf("%v: %v, want %q", c.floods, got.Err, c.err)
			}
			continue
		}
		if got.Err != nil || len(asMatrix(got.Value)) != c.n || receipt.Partial != (c.n == 2) {
			t.Errorf("%v: %v, %d series, receipt %+v", c.floods, got.Err, len(asMatrix(got.Value)), receipt.Islands)
		}
	}
}

// TestRoom: what answers take is bounded in all, and to half for each.
func TestRoom(t *testing.T) {
	r := newRoom(100)
	a, b, c := r.share(), r.share(), r.share()
	for i, step := range []struct {
		share *Share
		bytes int64
		ok    bool
	}{{a, 50, true}, {a, 1, false}, {b, 40, true}, {c, 11, false}, {c, 10, true}, {b, 1, false}} {
		if err := step.share.Take(step.bytes); (err == nil) != step.ok {
			t.Errorf("step %d: %v", i, err)
		}
	}
	if newRoom(0).share().Take(1<<60) != nil {
		t.Error("no room has bounds")
	}
}
