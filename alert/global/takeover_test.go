package global

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, group("g", alertRule("fire", 5*time.Minute, Ignore)))
		defer w.run("a", "b", "c")()
		time.Sleep(time.Minute)
		w.set("fire", true)
		time.Sleep(3 * time.Minute)
		owner := w.evaluator("fire").node
		w.kill(owner)
		killed := time.Now()
		time.Sleep(30 * time.Second)
		next := w.evaluator("fire")
		if next.node == owner || next.at.Before(killed) {
			t.Fatalf("30 s after %s was killed the last evaluation is %s before, by %s", owner, killed.Sub(next.at), next.node)
		}
		if firing, _ := w.tellings("fire"); len(firing) > 0 {
			t.Errorf("told before its time: %+v", firing)
		}
		time.Sleep(100 * time.Second) // 5 min 10 s since it began
		time.Sleep(groupWait + worldInterval + compareMost*comparePause + lookTimeout)
		firing, resolved := w.tellings("fire")
		if len(firing) != 1 || len(resolved) != 0 {
			t.Fatalf("told %+v, resolved %+v; want it told once, in the time that began before the owner was lost", firing, resolved)
		}
		if w.kill(next.node); true {
			time.Sleep(2 * time.Minute)
		}
		w.start(owner)
		time.Sleep(10 * time.Minute)
		if again, _ := w.tellings("fire"); len(again) != 1 {
			t.Errorf("after another loss and a return told %d times: %+v", len(again), again)
		}
		w.set("fire", false)
		time.Sleep(time.Minute)
		if firing, resolved := w.tellings("fire"); len(firing) != 1 || len(resolved) != 1 {
			t.Errorf("over: told %+v, resolved %+v; want one each", firing, resolved)
		}
		w.set("fire", true)
		time.Sleep(6 * time.Minute)
		if firing, _ := w.tellings("fire"); len(firing) != 2 {
			t.Errorf("a second spell: told %+v, want two in all", firing)
		}
	})
}

// Many groups move to others when one of three primaries is demoted, and back.
func TestDemoteAndPromote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var groups []Group
		for _, n := range []string{"one", "two", "three", "four", "five", "six"} {
			groups = append(groups, group(n, alertRule(n, time.Minute, Keep)))
		}
		w := newWorld(t, 3, groups...)
		defer w.run("a", "b", "c")()
		for _, g := range groups {
			w.set(g.Name, true)
		}
		time.Sleep(3 * time.Minute)
		for _, name := range []string{"a", "b", "c"} {
			w.demote("a", name)
			time.Sleep(90 * time.Second)
			for _, g := range groups {
				if e := w.evaluator(g.Name); e.node == name || time.Since(e.at) > 2*worldInterval {
					t.Errorf("%s demoted: %s was last evaluated by %s %s ago", name, g.Name, e.node, time.Since(e.at))
				}
			}
			w.promote("b", name)
			time.Sleep(90 * time.Second)
		}
		for _, g := range groups {
			if firing, resolved := w.tellings(g.Name); len(firing) != 1 || len(resolved) != 0 {
				t.Errorf("%s: told %+v, resolved %+v; want it told once", g.Name, firing, resolved)
			}
		}
		w.demote("c", "a", "b", "c")
		time.Sleep(time.Minute)
		if e := w.evaluator("one"); time.Since(e.at) < 50*time.Second {
			t.Errorf("evaluated by %s, though there is no primary", e.node)
		}
	})
}

// Islands are missing: each rule does as it says.
func TestOnMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3,
			group("g", alertRule("kept keptnew", 0, Keep)), group("h", alertRule("ignored", 0, Ignore)), group("i", alertRule("fired", time.Minute, Fire)))
		for _, c := range []string{"kept", "keptnew", "ignored", "fired"} {
			w.home[c] = "c"
		}
		w.home["keptnew"] = "a"
		defer w.run("a", "b")()
		for _, c := range []string{"kept", "ignored", "fired"} {
			w.set(c, true)
		}
		time.Sleep(2 * time.Minute)
		w.kill("c")
		w.set("keptnew", true)
		time.Sleep(5 * time.Minute)
		for alert, want := range map[string][2]int{"kept": {1, 0}, "keptnew": {0, 0}, "ignored": {1, 1}, "fired": {1, 0}, "c": {1, 0}} {
			if firing, resolved := w.tellings(alert); len(firing) != want[0] || len(resolved) != want[1] {
				t.Errorf("while an island is missing, %s: told %+v, resolved %+v; want %v", alert, firing, resolved, want)
			}
		}
		w.start("c")
		time.Sleep(2 * time.Minute)
		for alert, want := range map[string][2]int{"kept": {1, 0}, "keptnew": {1, 0}, "ignored": {2, 1}, "fired": {1, 0}, "c": {1, 1}} {
			if firing, resolved := w.tellings(alert); len(firing) != want[0] || len(resolved) != want[1] {
				t.Errorf("when it is back, %s: told %+v, resolved %+v; want %v", alert, firing, resolved, want)
			}
		}
	})
}

// Both halves of a partition have a primary, and one is promoted in each: both go
// on, and what they did meanwhile is united.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4, group("g", alertRule("kept", 0, Keep)), group("h", alertRule("both onlyleft", 4*time.Minute, Ignore)))
		w.home["onlyleft"] = "a"
		defer w.run("a", "c")()
		w.set("kept", true)
		time.Sleep(time.Minute)
		w.sever([]string{"a", "b"}, []string{"c", "d"}, true)
		time.Sleep(time.Minute)
		w.promote("a", "b")
		w.promote("c", "d")
		w.set("onlyleft", true)
		time.Sleep(3 * time.Minute)
		for _, half := range [][]string{{"a", "b"}, {"c", "d"}} {
			recent := 0
			for _, e := range w.evaluated() {
				if time.Since(e.at) < time.Minute && (e.node == half[0] || e.node == half[1]) {
					recent++
				}
			}
			if recent == 0 {
				t.Errorf("the half %v evaluates nothing", half)
			}
		}
		w.sever([]string{"a", "b"}, []string{"c", "d"}, false)
		time.Sleep(time.Minute + 30*time.Second)
		for _, n := range w.names {
			if got := len(w.nodes[n].primaries()); got != 4 {
				t.Errorf("%s knows %d primaries after the halves met, want 4", n, got)
			}
		}
		if firing, resolved := w.tellings("kept"); len(firing) != 1 || len(resolved) != 0 {
			t.Errorf("kept in both halves: told %+v, resolved %+v; want once", firing, resolved)
		}
		// It began in one half 4.5 minutes ago; the other knew nothing of it.
		if firing, _ := w.tellings("onlyleft"); len(firing) != 1 {
			t.Errorf("pending in one half: told %+v, want once, in its own time", firing)
		}
		owners := map[string]bool{}
		for _, e := range w.evaluated() {
			if time.Since(e.at) < 2*worldInterval && e.expr == "kept" {
				owners[e.node] = true
			}
		}
		if len(owners) != 1 {
			t.Errorf("evaluated by %v after the halves met, want one", owners)
		}
	})
}

// A link between two primaries fails; a third sees both, so that nothing moves.
func TestOneLinkDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, group("g", alertRule("x", 0, Keep)))
		defer w.run("a", "b", "c")()
		time.Sleep(time.Minute)
		owner := w.evaluator("x").node
		for _, other := range w.names {
			if other != owner {
				w.sever([]string{owner}, []string{other}, true)
				break
			}
		}
		begin := time.Now()
		time.Sleep(5 * time.Minute)
		for _, e := range w.evaluated() {
			if e.at.After(begin) && e.node != owner {
				t.Fatalf("%s evaluated %s after the link failed, though %s lives and is reached by a third", e.node, e.at.Sub(begin), owner)
			}
		}
	})
}
