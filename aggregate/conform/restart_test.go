package conform

import (
	"fmt"
	"testing"
)

// checkpointed is a world that writes a checkpoint every so often.
type checkpointed struct {
	*world
	every int64
	next  int64
}

func (c *checkpointed) Tick(now int64) ([]Point, error) {
	points, err := c.world.Tick(now)
	if err == nil && c.every > 0 && now >= c.next {
		c.next = now + c.every
		err = c.Checkpoint(0)
	}
	return points, err
}

// TestRestartAtAnyInstant kills the node at every second of two windows, with
// checkpoints and without: nothing shows.
func TestRestartAtAnyInstant(t *testing.T) {
	for _, every := range []int64{0, 7 * Second, 45 * Second} {
		t.Run(fmt.Sprintf("checkpoint every %d s", every/Second), func(t *testing.T) {
			for _, s := range fragile(t) {
				for at := int64(170); at <= 410; at += 5 {
					s.Restarts = []int64{at*Second + 500, (at+1)*Second + 500}
					late := "late: correct"
					if at%2 == 0 {
						late = "late: carry"
					}
					l, err := Play(s, &checkpointed{world: newWorld(t, 1, config(counters, late)), every: every})
					if err != nil {
						t.Fatalf("%s, killed at %d: %v", s.Name, at, err)
					}
					if at%2 == 0 {
						totals(t, s, l)
					} else {
						exact(t, s, l)
					}
					if t.Failed() {
						t.Fatalf("%s, killed at %d", s.Name, at)
					}
				}
			}
		})
	}
}

// fragile are scenarios with every kind of state between 170 and 410.
func fragile(t *testing.T) []Scenario {
	t.Helper()
	var all []Scenario
	for _, name := range []string{"S0", "S1", "S3", "S6b", "S8b/senders", "S10", "S12"} {
		all = append(all, scenario(t, name))
	}
	for _, s := range Variants() {
		switch s.Name {
		case "moved to another sender at 235 s", "born, its first sample late", "created long before the first scrape, newest first",
			"the old life's samples late", "leader dies and comes back":
			all = append(all, modelled(s))
		}
	}
	backlog := Scenario{
		Name: "begins with a backlog", Group: group, Until: 720 * Second,
		Deliveries: Join(scrapeTen(Pod("b"), Linear(0, 10)), steady().Newest(0, 295*Second, 330*Second)),
	}
	backlog.Observed = backlog.Deliveries
	return append(all, modelled(backlog))
}

// TestRestartTwice kills it again and again.
func TestRestartTwice(t *testing.T) {
	s := scenario(t, "S7")
	for at := int64(30); at < 600; at += 13 {
		s.Restarts = append(s.Restarts, at*Second)
	}
	l, err := Play(s, &checkpointed{world: newWorld(t, 1, config(counters)), every: 50 * Second})
	if err != nil {
		t.Fatal(err)
	}
	exact(t, s, l)
	if twice := l.Twice(); twice != "" {
		t.Errorf("published more than once:\n%s", twice)
	}
}

// busy writes a checkpoint at every tenth request, which comes while the state
// is being written, a little later each time.
type busy struct {
	*world
	requests int
}

func (b *busy) Deliver(now int64, r Request) error {
	b.requests++
	if b.requests%10 != 0 {
		return b.world.Deliver(now, r)
	}
	writes, at := 0, b.requests/10%16
	err := b.checkpoint(0, func() error {
		if writes++; writes-1 == at {
			return b.world.Deliver(now, r)
		}
		return nil
	})
	if err == nil && writes <= at {
		err = b.world.Deliver(now, r)
	}
	return err
}

// TestCheckpointWhileDelivering: a request that comes while the state is written
// is in some of its parts and in the journal, and counts once.
func TestCheckpointWhileDelivering(t *testing.T) {
	for _, seed := range seeds(4, 100) {
		m := NewMix(seed+500, 12, 4, 4)
		truth := Compute(params, m.Observed)
		s := Scenario{Deliveries: m.Deliveries, Until: m.Until}
		for at := 31 * Second; at < mixEnd; at += 23 * Second {
			s.Restarts = append(s.Restarts, at)
		}
		l, err := Play(s, &busy{world: newWorld(t, 1, config(many, "late: correct"))})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for group := range truth {
			for _, diff := range differences(t, l, truth, group) {
				t.Errorf("seed %d, %s: %.600s", seed, group, diff)
			}
			mixTotal(t, l, group, truth)
		}
		revisions(t, l)
		if t.Failed() {
			t.Fatalf("seed %d: %v", seed, m.Fates)
		}
	}
}
