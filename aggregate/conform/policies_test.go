package conform

import (
	"slices"
	"testing"
)

func scenario(t *testing.T, name string) Scenario {
	t.Helper()
	all := Scenarios()
	i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no scenario %s", name)
	}
	return all[i]
}

// TestDrop: what comes late is gone for the total, too; nothing is said twice.
func TestDrop(t *testing.T) {
	for _, option := range []string{"late: drop", "ignore_old_samples: true"} {
		s := scenario(t, "S1")
		l := play(t, s, config(counters, option))
		check(t, "increase", l.Final(find(t, l, "increase", s.Group)), s.First, 1e-9, false)
		s.Increase = s.First
		totals(t, s, l)
		if twice := l.Twice(); twice != "" {
			t.Errorf("published more than once:\n%s", twice)
		}
	}
}

// TestDedup keeps the last sample of every half minute: the first window begins
// with its first kept sample.
func TestDedup(t *testing.T) {
	s := scenario(t, "S0")
	s.Increase, s.Count = minutes("3000 6000x9"), minutes("2x10")
	for _, late := range []string{"late: carry", "late: correct"} {
		l := play(t, s, config(counters, "dedup_interval: 30s", late))
		exact(t, s, l)
		if twice := l.Twice(); twice != "" {
			t.Errorf("published more than once:\n%s", twice)
		}
	}
}

// TestEarly: open windows are published as they grow, for stores that keep the
// newest or the larger value; what they end with is the truth.
func TestEarly(t *testing.T) {
	for _, name := range []string{"S0", "S2", "S4", "S5", "S6b", "S10"} {
		t.Run(name, func(t *testing.T) {
			s := scenario(t, name)
			l := play(t, s, config(counters, "early: true"))
			series := find(t, l, "increase", s.Group)
			check(t, "increase, final", l.Final(series), s.Increase, 1e-9, false)
			totals(t, s, l)
			grown := false
			for end, all := range l.Windows(series) {
				for i := 1; i < len(all); i++ {
					grown = grown || all[i].V > all[i-1].V
					if all[i].V < all[i-1].V || all[i].Revision <= all[i-1].Revision {
						t.Errorf("window %d: %+v after %+v", end/Second, all[i], all[i-1])
					}
				}
			}
			if !grown {
				t.Error("no window was published while it grew")
			}
		})
	}
}

// TestDeadline: a source that went silent holds windows for max_lag and no longer.
func TestDeadline(t *testing.T) {
	lively := scrapeTen(Pod("b"), Linear(0, 100))
	dead := steady().Between(0, 145*Second)
	for _, max := range []int64{30, 90} {
		s := Scenario{Deliveries: Join(lively, dead), Nodes: 1, Until: 720 * Second, Group: group}
		l := play(t, s, config(counters, "max_lag: "+map[int64]string{30: "30s", 90: "90s"}[max]))
		windows := l.Windows(find(t, l, "increase", s.Group))
		for end, all := range windows {
			if late := all[0].At - end; late > (max+1)*Second {
				t.Errorf("max_lag %d s: window %d was published %d ms after its end", max, end/Second, late)
			}
		}
		// The dead source's last sample is at 145, its next one would have been due at 155.
		if at := windows[180*Second][0].At; at < (145+max)*Second || at > (180+max+1)*Second {
			t.Errorf("max_lag %d s: window 180 was published at %d ms", max, at)
		}
		if at := windows[360*Second][0].At; at > 366*Second {
			t.Errorf("max_lag %d s: window 360 was published at %d ms: the dead source still holds it", max, at)
		}
	}
}

// TestBacklogOnce: the windows of an old backlog come once and complete with late:
// carry, also where it takes half a minute to arrive.
func TestBacklogOnce(t *testing.T) {
	all := append(Scenarios(), Variants()...)
	for _, name := range []string{"S12", "old backlog in pieces"} {
		i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
		s := modelled(all[i])
		l := play(t, s, config(counters))
		series := find(t, l, "increase", s.Group)
		past, want := Row{}, Row{}
		for end, v := range l.Final(series) {
			if end <= 0 {
				past[end] = v
			}
		}
		for end, v := range s.Increase {
			if end <= 0 {
				want[end] = v
			}
		}
		if len(want) != 30 {
			t.Fatalf("%s: %d windows in the past, want 30", name, len(want))
		}
		check(t, name, past, want, 1e-9, true)
		if twice := l.Twice(); twice != "" {
			t.Errorf("%s: published more than once:\n%s", name, twice)
		}
	}
}
