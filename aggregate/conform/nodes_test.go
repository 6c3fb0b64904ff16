package conform

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func tenPodsScenario(t *testing.T) Scenario {
	t.Helper()
	for _, s := range Scenarios() {
		if s.Name == "S13" {
			return s
		}
	}
	t.Fatal("there is no S13")
	return Scenario{}
}

// TestNodesRough: partials that come as bytes, in pieces, twice, late and in any
// order give one value per series and window all the same, also where the owner
// is replaced in between.
func TestNodesRough(t *testing.T) {
	s := tenPodsScenario(t)
	for _, seed := range seeds(10, 300) {
		w := newWorld(t, s.Nodes, config(counters, "max_lag: 5m", "max_age: 2h"))
		w.rough = rand.New(rand.NewPCG(seed, 3))
		l := NewLedger()
		requests := s.Deliveries.Requests()
		for now := int64(0); now <= 20*Minute; now += Second {
			for ; len(requests) > 0 && requests[0].At <= now; requests = requests[1:] {
				if err := w.Deliver(requests[0].At, requests[0]); err != nil {
					t.Fatal(err)
				}
			}
			points, err := w.Tick(now)
			if err != nil {
				t.Fatal(err)
			}
			l.Add(now, points)
			if w.rough.IntN(60) == 0 {
				if err := w.restartOwner(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if twice := l.Twice(); twice != "" {
			t.Errorf("seed %d: published more than once:\n%s", seed, twice)
		}
		exact(t, s, l)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestSeriesMovesBetweenNodes: what a node does not know of a series' past it
// cannot count, so that one step may be missing, but nothing is counted twice
// and no window has a spike.
func TestSeriesMovesBetweenNodes(t *testing.T) {
	const step = 1000.0
	for at := 105 * Second; at <= 305*Second; at += 10 * Second {
		t.Run(fmt.Sprint(at/Second), func(t *testing.T) {
			s := Scenario{Until: 20 * Minute, Nodes: 2, Group: group, Increase: minutes(plain), Deliveries: steady().Map(func(a *Arrival) {
				if a.T >= at {
					a.Node = 1
				}
			})}
			l := play(t, s, config(counters))
			if twice := l.Twice(); twice != "" {
				t.Errorf("published more than once:\n%s", twice)
			}
			increase := l.Final(find(t, l, "increase", s.Group))
			for end, v := range increase {
				if v > s.Increase[end] {
					t.Errorf("a spike: window %d is %v, the truth %v", end/Second, v, s.Increase[end])
				}
			}
			if got, want := increase.Sum(), s.Increase.Sum(); got < want-step {
				t.Errorf("the windows add up to %v, the counter grew %v: more than the step of the move is missing", got, want)
			}
			s.Increase = increase
			totals(t, s, l)
		})
	}
}
