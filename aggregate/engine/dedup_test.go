package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

const deduplicated = "- interval: 1m\n  without: [instance]\n  dedup_interval: 30s\n  outputs: [increase, sum_samples, stddev, count_samples]\n"

// published is what comes out of an engine, to the bit.
type published []string

func (p *published) take(w *partial.Window) error {
	for _, row := range w.Rows {
		*p = append(*p, fmt.Sprintf("%d %d %s %x", w.End, w.Revision, row.Group, partial.AppendAcc(nil, w.Rule.Needs(), w.End, &row.Acc)))
	}
	return nil
}

// What is held back is let go in one order: sums of floats depend on it.
func TestDedupLetsGoInOrder(t *testing.T) {
	var first published
	for try := range 5 {
		var got published
		e := newRig(t, deduplicated, func(o *Options) { o.Shards = 1 }).e
		rng := rand.New(rand.NewPCG(1, 1))
		for round := range int64(12) {
			b := e.Begin(1)
			for i := range 3 * chunkSize / 2 {
				b.Append(0, labelsWith("instance", fmt.Sprint(i)), 0, origin+round*10_000+5_000, rng.ExpFloat64()*1e6)
			}
			b.Commit(origin + round*10_000 + 5_000)
		}
		if err := e.Advance(origin+300_000, got.take); err != nil {
			t.Fatal(err)
		}
		if try == 0 {
			if first = got; len(first) == 0 {
				t.Fatal("nothing was published")
			}
		} else if !slices.Equal(first, got) {
			t.Fatalf("try %d published\n%q\nthe first one\n%q", try, got, first)
		}
	}
}

// What comes while samples are let go comes after all of them, now and when the
// journal is replayed.
func TestDedupLetsGoAtOneInstant(t *testing.T) {
	j := &tape{}
	var live, replayed published
	e := newRig(t, deduplicated, func(o *Options) { o.Journal = j }).e
	send := func(now float64, ps ...point) {
		b := e.Begin(1)
		for _, p := range ps {
			b.Append(0, p.ls, 0, at(p.t), p.v)
		}
		b.Commit(at(now))
	}
	name := func(i int) labels.Labels { return labelsWith("instance", fmt.Sprint(i)) }
	for now := 5.0; now < 60; now += 10 {
		for i := range 20 {
			send(now, point{ls: name(i), t: now, v: now * float64(i+1)})
		}
	}
	rs := e.rules.Load().active[0]
	due := []decision{{rs: rs, sealed: at(60)}}
	e.beginLetting(due, at(61), true)
	for i := range 20 {
		switch i % 4 {
		case 0:
			send(61, point{ls: name(i), t: 58, v: 60 * float64(i+1)}) // of a span that was let go
		case 1:
			send(61, point{ls: name(i), t: 65, v: 65 * float64(i+1)})
		case 2:
			send(61, point{ls: name(100 + i), t: 59, v: 7}, point{ls: name(100 + i), t: 66, v: 8}) // not held when it began
		}
	}
	e.finishLetting()
	if n := heldUpTo(e, at(60)); n != 0 {
		t.Errorf("%d samples are still held for a window that is to be sealed", n)
	}
	e.carryOut(due, at(61), true)
	for now := 62.0; now < 300; now++ {
		if err := e.Advance(at(now), live.take); err != nil {
			t.Fatal(err)
		}
	}
	again := newRig(t, deduplicated).e
	for _, frame := range j.frames {
		if err := again.ReplayFrame(frame, replayed.take); err != nil {
			t.Fatal(err)
		}
	}
	if err := again.Advance(at(300), replayed.take); err != nil {
		t.Fatal(err)
	}
	slices.Sort(live)
	slices.Sort(replayed)
	if len(live) < 2 || !slices.Equal(live, replayed) {
		t.Errorf("published\n%q\nreplay published\n%q", live, replayed)
	}
}

func heldUpTo(e *Engine, end int64) (n int) {
	for _, s := range e.shards {
		for id := range uint32(len(*s.chunks.Load()) * chunkSize) {
			if h := s.heldOf(id); h != nil && h.t <= end {
				n++
			}
		}
	}
	return n
}
