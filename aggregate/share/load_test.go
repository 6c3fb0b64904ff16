package share

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// Loads after Zipf's law on five islands: the plan brings the busiest from far
// above the mean to near it, with few moves, keeps owner and deputy apart, and is
// stable; once one of the members has gone, its moves are as if never made.
func TestPlanSpreadsLoad(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		var weights [Slots]float64
		for rank, k := range rnd.Perm(Slots) {
			weights[k] = math.Round(1e6 / math.Pow(float64(rank+1), 1.1))
		}
		v := newView(names, false, nil)
		before := peak(v.loadsOf(&weights))
		moves := rebalance(v, &weights)
		p := newPlan(1, moves)
		next := newView(names, false, p)
		after := peak(next.loadsOf(&weights))
		t.Logf("seed %d: the busiest of five has %.2f of the mean before, %.2f after %d moves", seed, before, after, len(moves))
		if before > tolerated && (after > tolerated || len(moves) == 0 || len(moves) > Slots/20) {
			t.Errorf("seed %d: %.2f of the mean before, %.2f after %d moves", seed, before, after, len(moves))
		}
		if before <= tolerated && moves != nil {
			t.Errorf("seed %d: %d slots move for %.2f of the mean", seed, len(moves), before)
		}
		if again := rebalance(next, &weights); again != nil {
			t.Errorf("seed %d: the plan is followed by another one of %d moves", seed, len(again))
		}
		moved := map[int]bool{}
		for _, m := range moves {
			moved[int(m.slot)] = true
		}
		for k := range Slots {
			if next.First[k] == next.Second[k] {
				t.Fatalf("slot %d has one member for owner and deputy", k)
			}
			if !moved[k] && (next.First[k] != v.First[k] || next.Second[k] != v.Second[k]) {
				t.Fatalf("slot %d moves without being in the plan", k)
			}
		}
		four := newView(names[:4], false, p)
		for k := range Slots {
			if next.First[k] == 4 && four.First[k] != next.Second[k] || next.First[k] < 4 && four.First[k] != next.First[k] {
				t.Fatalf("slot %d of %d goes to %d, the deputy is %d", k, next.First[k], four.First[k], next.Second[k])
			}
		}
	}
}

// Islands with uneven loads agree on one plan, not sooner than it is time, and lose
// nothing on the way.
func TestIslandsRebalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t)
		n.listed = []string{"a", "b", "c", "d", "e"}
		set := load(t, ruleText)
		var all []*Share
		for _, name := range n.listed {
			s, stop := n.start(name, set, nil)
			defer stop()
			s.least = 1
			all = append(all, s)
		}
		base := set.Rules[0].Window(time.Now().UnixMilli())
		time.Sleep(time.Second)
		ratio := func() float64 {
			var weights [Slots]float64
			for j := range jobs {
				r := row1(fmt.Sprint("j", j), 1)
				weights[slotOf(set.Rules[0].Hash, r.Hash)]++
			}
			all[0].mu.Lock()
			defer all[0].mu.Unlock()
			return peak(all[0].view.loadsOf(&weights))
		}
		before, k := ratio(), int64(0)
		rounds := func(d time.Duration) {
			for until := time.Now().Add(d); time.Now().Before(until); k++ {
				for _, s := range all {
					w := empty(s, base+10_000*k)
					for j := range jobs {
						w.Rows = append(w.Rows, row1(fmt.Sprint("j", j), 1))
					}
					seal(t, s, w)
				}
				time.Sleep(10 * time.Second)
			}
		}
		rounds(9 * time.Minute)
		if r := ratio(); r != before {
			t.Errorf("slots moved after 9 minutes: %.2f, then %.2f of the mean", before, r)
		}
		rounds(6 * time.Minute)
		after := ratio()
		t.Logf("the busiest has %.2f of the mean before, %.2f after", before, after)
		if before <= tolerated || after >= before {
			t.Errorf("the busiest has %.2f of the mean before, %.2f after", before, after)
		}
		for _, s := range all {
			s.mu.Lock()
			if s.plan.ident() == 0 || s.plan.id != all[0].plan.id || s.plan.version != 1 {
				t.Errorf("%s has the plan %+v", s.o.Self, s.plan)
			}
			s.mu.Unlock()
		}
		for i := range k {
			for j := range jobs {
				n.only("increase", fmt.Sprint("j", j), base+10_000*i, 5)
				n.only("total", fmt.Sprint("j", j), base+10_000*i, 5*float64(i+1))
			}
		}
	})
}

// A group of very many series and values is one row of each source and window, of
// bounded size; and very many such rows go in messages that are taken.
func TestWideGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t)
		n.listed = []string{"a", "b"}
		set := load(t, "- {interval: 10s, by: [job], outputs: [unique_samples, \"quantiles(0.5)\", count_samples]}\n")
		base := set.Rules[0].Window(time.Now().UnixMilli())
		largest := 0
		var all []*Share
		for _, name := range n.listed {
			s, stop := n.start(name, set, func(o *Options) {
				o.Transport = sizes{o.Transport, func(b int) { n.with(func() { largest = max(largest, b) }) }}
			})
			defer stop()
			all = append(all, s)
		}
		const groups, values = 1500, 3000
		for _, s := range all {
			w := &partial.Window{Rule: set.Rules[0], End: base}
			var wide partial.Acc
			for i := range values {
				wide.Observe(set.Rules[0].Needs(), base, float64(i*i))
			}
			for g := range groups {
				ls := labels.FromStrings("__name__", "m", "job", fmt.Sprint("g", g))
				w.Rows = append(w.Rows, partial.Row{Group: ls, Hash: ls.Hash(), Acc: wide})
			}
			if r := (&row{Row: w.Rows[0]}).weight(); r > 64<<10 {
				t.Errorf("a group of %d values is a row of %d bytes", values, r)
			}
			seal(t, s, w)
		}
		time.Sleep(20 * time.Second)
		n.mu.Lock()
		defer n.mu.Unlock()
		for g := range groups {
			es := n.got[fmt.Sprintf("m:10s_by_job_count_samples g%d@%d", g, base)]
			if len(es) != 1 || es[0].value != 2*values {
				t.Fatalf("g%d is %v, want %d once", g, es, 2*values)
			}
		}
		if largest > 2*bytesPerMessage || largest == 0 {
			t.Errorf("a message of %d bytes went out, want less than %d", largest, 2*bytesPerMessage)
		}
	})
}

// sizes tells the bytes of messages, before they were compressed.
type sizes struct {
	Transport
	see func(int)
}

func (x sizes) Send(ctx context.Context, to string, b []byte) ([]byte, error) {
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	if raw, err := c.unpack(b); err == nil {
		x.see(len(raw))
	}
	c.dec.Close()
	return x.Transport.Send(ctx, to, b)
}
