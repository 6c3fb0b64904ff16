package council

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/verdict"
)

// TestFlapsOutliveJudges has a target flap, both its judges die, and then one come back:
// whoever judges knows since when, and that it flaps.
func TestFlapsOutliveJudges(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		d := webs(4, 6)
		d.History = definition.History{Need: 1, Of: 1}
		all := six(ctx, s, d)
		time.Sleep(time.Minute)
		set := func(code string) {
			for _, i := range all {
				i.fail("host-1", code)
			}
			time.Sleep(40 * time.Second)
		}
		for range 3 {
			set("status")
			set("")
		}
		before := all[0].verdict("host-1")
		if !before.Flapping || before.State != verdict.Down {
			t.Fatalf("does not flap: %s", before.Words)
		}
		var dead []*isle
		for range 2 { // the first, then who took over
			judge := s.all[all[0].verdict("host-1").Judge]
			judge.end()
			dead = append(dead, judge)
			all = slices.DeleteFunc(all, func(i *isle) bool { return i == judge })
			time.Sleep(leeway + 5*time.Second)
		}
		check := func(when string) Verdict {
			t.Helper()
			v := all[0].verdict("host-1")
			if off := v.Since.Sub(before.Since).Abs(); !v.Flapping || v.State != verdict.Down || off > time.Duration(d.Interval) { // the dead were voters, too
				t.Errorf("%s, by %s: flapping %v, since %s, want %s: %s", when, v.Judge, v.Flapping, v.Since, before.Since, v.Words)
			}
			for _, name := range []string{dead[0].name, dead[1].name} {
				if v.Judge == name && when == "both are gone" {
					t.Errorf("the dead %s judges", name)
				}
			}
			return v
		}
		check("both are gone")
		fresh := s.isle(ctx, dead[0].name, dead[0].who.Region, dead[0].who.ISP, d) // it knows nothing any more
		all = append(all, fresh)
		time.Sleep(30 * time.Second)
		if v := check("one is back"); v.Judge != fresh.name {
			t.Errorf("%s judges, want %s", v.Judge, fresh.name)
		}
		if got := fresh.store.series(State); !slices.Contains(got, `{__name__="probe_state", instance="host-1", job="web"} 3`) {
			t.Errorf("series of who is back: %q", got)
		}
		time.Sleep(calm)
		if v := all[0].verdict("host-1"); v.Flapping || v.State != verdict.Up {
			t.Errorf("calm: flapping %v: %s", v.Flapping, v.Words)
		}
	})
}

// TestFailureIsTold: votes tell where the evidence is, as long as the target fails.
func TestFailureIsTold(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		all := six(ctx, s, webs(2, 6))
		time.Sleep(time.Minute)
		const id = "01KAR3ZZZZZZZZZZZZZZZZZZZZ"
		host := NewTarget("web", "host-1", noAddress, labels.EmptyLabels())
		all[0].Evidence(host, id) // of nothing
		for _, i := range all[:2] {
			i.fail("host-1", "status")
		}
		time.Sleep(30 * time.Second)
		for _, v := range all[3].verdict("host-1").Failing {
			if v.Failure != "" {
				t.Errorf("%s has evidence %s that nobody gathered", v.Vantage.Name, v.Failure)
			}
		}
		all[0].Evidence(host, id)
		time.Sleep(time.Second)
		for _, asked := range all {
			for _, v := range asked.verdict("host-1").Failing {
				if want := map[string]string{all[0].name: id}[v.Vantage.Name]; v.Failure != want {
					t.Errorf("%s hears of evidence %q of %s, want %q", asked.name, v.Failure, v.Vantage.Name, want)
				}
			}
		}
		for _, i := range all {
			i.fail("host-1", "")
		}
		time.Sleep(time.Minute)
		for _, v := range all[3].verdict("host-1").Fine {
			if v.Failure != "" {
				t.Errorf("%s is fine and has evidence %s", v.Vantage.Name, v.Failure)
			}
		}
	})
}

// TestRefusedIsTold: an island whose own definition has the name of the network's counts
// no votes on that one, and who votes gets to know.
func TestRefusedIsTold(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		d := webs(8, 3)
		all := []*isle{s.isle(ctx, "a", "eu", "", d), s.isle(ctx, "b", "eu", "", d), s.isle(ctx, "c", "eu", "", d)}
		time.Sleep(2 * time.Minute)
		if got := all[0].Refused(); got != nil {
			t.Errorf("refused: %q", got)
		}
		own := d
		own.Shared = false
		all[2].Define(map[string]Definition{"web": own})
		time.Sleep(30 * time.Second)
		if got := all[0].Refused(); got != nil {
			t.Errorf("told while it may be on its way: %q", got)
		}
		time.Sleep(time.Minute)
		want := `definition "web": c does not count this island's votes: it has a definition of its own of that name, which goes before the network's; rename one of them`
		for _, i := range all[:2] {
			if got := i.Refused(); len(got) != 1 || got[0] != want {
				t.Errorf("%s is told %q", i.name, got)
			}
		}
		all[2].Define(map[string]Definition{"web": d})
		time.Sleep(time.Minute)
		for _, i := range all {
			if got := i.Refused(); got != nil {
				t.Errorf("mended, %s is told %q", i.name, got)
			}
		}
	})
}

// TestPages reads a list page by page, from judges that each have a part of it.
func TestPages(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		all := six(ctx, s, webs(40, 6))
		time.Sleep(time.Minute)
		var got []Target
		f := Filter{Limit: 7, Vantage: "eu-1"}
		for range 10 {
			page, left, missing := all[0].Everywhere(ctx, f)
			if len(missing) != 0 || len(page)+left != 40-len(got) {
				t.Fatalf("after %d: %d and %d left, missing %v", len(got), len(page), left, missing)
			}
			for _, v := range page {
				if got = append(got, v.Target); len(v.Fine) != 1 || v.Fine[0].Vantage.Name != "eu-1" || v.Fine[0].Took != time.Second || v.Fine[0].Measured.IsZero() {
					t.Fatalf("votes of others: %+v", v.Fine)
				}
			}
			if left == 0 {
				break
			}
			f.After = &got[len(got)-1]
		}
		if len(got) != 40 || !slices.IsSortedFunc(got, func(a, b Target) int { return a.compare(&b) }) {
			t.Errorf("%d targets: %v", len(got), got)
		}
		if none, _, _ := all[0].Everywhere(ctx, Filter{Vantage: "nobody"}); len(none) != 0 {
			t.Errorf("%d targets have a vote of nobody", len(none))
		}
	})
}
