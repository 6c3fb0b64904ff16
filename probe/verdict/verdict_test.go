package verdict

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atoll-mesh/atoll/probe/definition"
)

var noon = time.Date(2026, 11, 23, 14, 10, 0, 0, time.UTC)

func vote(name, region, isp string, s State, since string, code string) Vote {
	at, err := time.Parse("15:04", since)
	if err != nil {
		panic(err)
	}
	return Vote{
		Vantage: Vantage{Name: name, Region: region, ISP: isp}, State: s, Code: code, At: noon,
		Since: time.Date(2026, 11, 23, at.Hour(), at.Minute(), 0, 0, time.UTC),
	}
}

func fine(n int) (votes []Vote) {
	for i := range n {
		votes = append(votes, vote(fmt.Sprintf("fine-%d", i), "eu", fmt.Sprintf("eu-%d", i), Up, "09:00", ""))
	}
	return votes
}

func TestWords(t *testing.T) {
	rules := func(change func(*Rules)) Rules {
		r := Rules{Fresh: 90 * time.Second}
		if change != nil {
			change(&r)
		}
		return r
	}
	page3 := rules(func(r *Rules) { r.Quorum.Page = 3 })
	blind := vote("edge-9", "cn-west", "Poor", Down, "14:00", "connect_timeout")
	blind.Uplink = "5 of 5 hosts that others reach do not answer it"
	silent := vote("gone-1", "us", "", Up, "09:00", "")
	silent.At = noon.Add(-time.Hour)
	for name, test := range map[string]struct {
		rules Rules
		votes []Vote
		state State
		page  bool
		words string
	}{
		"two ISPs of a region": {
			page3, append(fine(9), vote("a", "cn-north", "Telecom", Down, "14:02", "connect_timeout"), vote("b", "cn-north", "Unicom", Down, "14:03", "connect_timeout")),
			Down, false, "down from 2 ISPs in cn-north since 14:02 UTC (connect timeout), fine from 9 other vantages; below paging quorum 3",
		},
		"one ISP in two regions": {
			rules(nil), append(fine(4), vote("a", "eu", "Telecom", Down, "14:02", "connect_timeout"), vote("b", "ap", "Telecom", Down, "14:03", "resolve_failed")),
			Down, true, "down from ISP Telecom in ap and eu since 14:02 UTC (1× connect timeout, 1× resolve failed), fine from 4 other vantages",
		},
		"one of many": {
			rules(nil), append(fine(2), vote("tokyo-1", "ap", "IIJ", Down, "14:02", "status")),
			Up, false, "down from tokyo-1 in ap (ISP IIJ) since 14:02 UTC (status), fine from 2 other vantages; below the quorum of 2",
		},
		"the only one": {
			rules(func(r *Rules) { r.Expected = 1 }), []Vote{vote("here", "", "", Down, "13:59", "connection_refused")},
			Down, true, "down from here since 13:59 UTC (connection refused)",
		},
		"slow for all": {
			rules(nil), []Vote{vote("a", "eu", "", Degraded, "14:02", "slow"), vote("b", "eu", "", Degraded, "14:04", "slow")},
			Degraded, false, "slow from 2 vantages in eu since 14:02 UTC (slow)",
		},
		"regions": {
			rules(func(r *Rules) { r.Quorum.Regions = 2 }),
			append(fine(1), vote("a", "us", "", Down, "14:02", "status"), vote("b", "us", "", Down, "14:02", "status")),
			Degraded, false, "down from 2 vantages in us since 14:02 UTC (status), fine from 1 other vantage; in fewer regions than the 2 that make it down",
		},
		"a bad uplink is no bad target": {
			rules(nil), append(fine(3), blind),
			Up, false, "fine from 3 vantages since 09:00 UTC; edge-9 not counted: its own uplink is bad (5 of 5 hosts that others reach do not answer it)",
		},
		"only a bad uplink": {
			rules(nil), []Vote{blind},
			Unknown, false, "nobody can tell: edge-9 not counted: its own uplink is bad (5 of 5 hosts that others reach do not answer it)",
		},
		"silence":    {rules(nil), []Vote{silent}, Unknown, false, "nobody can tell: no vantage has probed it for 1m30s"},
		"no vote":    {rules(nil), nil, Unknown, false, "nobody has probed it yet"},
		"well":       {rules(nil), fine(3), Up, false, "fine from all 3 vantages since 09:00 UTC"},
		"well alone": {rules(nil), fine(1), Up, false, "fine from the only vantage that probes it since 09:00 UTC"},
		"yesterday":  {rules(nil), yesterday(fine(2)), Up, false, "fine from all 2 vantages since 2026-11-22 09:00 UTC"},
	} {
		t.Run(name, func(t *testing.T) {
			var j Judge
			for _, v := range test.votes {
				j.Vote(v)
			}
			got := j.Verdict(test.rules, noon)
			if got.State != test.state || got.Page != test.page || got.Words != test.words {
				t.Errorf("got %s, page %v: %s\nwant %s, page %v: %s", got.State, got.Page, got.Words, test.state, test.page, test.words)
			}
		})
	}
}

func yesterday(votes []Vote) []Vote {
	for i := range votes {
		votes[i].Since = votes[i].Since.AddDate(0, 0, -1)
	}
	return votes
}

func TestView(t *testing.T) {
	const u, d, s = Up, Down, Degraded
	for name, test := range map[string]struct {
		damp definition.History
		come []State
		want []State
	}{
		"undamped":          {definition.History{}, []State{u, d, u, s, d}, []State{u, d, u, s, d}},
		"two of three":      {definition.History{Need: 2, Of: 3}, []State{u, d, u, d, u, u, d, d}, []State{u, u, u, d, u, u, u, d}},
		"slow, then worse":  {definition.History{Need: 2, Of: 2}, []State{u, s, d, d, u, s, s}, []State{u, u, s, d, d, s, s}},
		"first is believed": {definition.History{Need: 3, Of: 3}, []State{d, u, u, u}, []State{d, d, d, u}},
	} {
		t.Run(name, func(t *testing.T) {
			var v View
			var got []State
			for i, state := range test.come {
				before := v.State()
				changed := v.Add(Outcome{At: noon.Add(time.Duration(i) * time.Second), State: state}, test.damp)
				if changed != (v.State() != before) {
					t.Errorf("result %d: said changed %v, from %s to %s", i, changed, before, v.State())
				}
				got = append(got, v.State())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUplink(t *testing.T) {
	for _, test := range []struct {
		u    Uplink
		want bool
	}{
		{Uplink{Hosts: 3, Failing: 3, Healthy: 3}, false}, // may be an accident
		{Uplink{Hosts: 4, Failing: 3, Healthy: 2}, true},
		{Uplink{Hosts: 8, Failing: 5, Healthy: 5}, false},
		{Uplink{Hosts: 8, Failing: 8, Healthy: 0}, false}, // down for all
		{Uplink{Hosts: 8, Failing: 8, Healthy: -1}, true}, // nobody to ask: an island that is cut off
	} {
		if got := test.u.Bad(); got != test.want {
			t.Errorf("%+v: %v, want %v", test.u, got, test.want)
		}
	}
}

func TestFlapping(t *testing.T) {
	var j Judge
	r, at := Rules{Fresh: time.Hour, Expected: 1}, noon
	say := func(s State) Verdict {
		at = at.Add(30 * time.Second)
		v := vote("a", "eu", "", s, "09:00", "status")
		v.At, v.Since = at, at
		j.Vote(v)
		return j.Verdict(r, at)
	}
	changes, last := 0, Unknown
	for i := range 12 {
		got := say([]State{Up, Down}[i%2])
		if got.State != last {
			changes, last = changes+1, got.State
		}
		if i >= flapChanges && (!got.Flapping || got.State != Down) {
			t.Fatalf("after %d changes: %s, flapping %v", i, got.State, got.Flapping)
		}
	}
	if changes > flapChanges {
		t.Errorf("%d changes were told of 12", changes)
	}
	for range int(calmAfter/(30*time.Second)) + 1 {
		say(Up)
	}
	if got := say(Up); got.Flapping || got.State != Up {
		t.Errorf("calm for long enough: %s, flapping %v", got.State, got.Flapping)
	}
}

// TestRandom holds verdicts against what must be true of all of them.
func TestRandom(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		r := Rules{
			Fresh: time.Duration(30+rnd.IntN(100)) * time.Second, Expected: rnd.IntN(6),
			Quorum: definition.Quorum{Down: rnd.IntN(4), Degraded: rnd.IntN(4), Regions: rnd.IntN(3), Page: rnd.IntN(5)},
		}
		var votes []Vote
		for i := range 1 + rnd.IntN(8) {
			v := vote(fmt.Sprintf("v%d", i), fmt.Sprintf("r%d", rnd.IntN(3)), fmt.Sprintf("i%d", rnd.IntN(3)), State(rnd.IntN(4)), "13:00", "status")
			v.At = noon.Add(-time.Duration(rnd.IntN(150)) * time.Second)
			if rnd.IntN(5) == 0 {
				v.Uplink = "bad"
			}
			votes = append(votes, v)
		}
		first := fresh(votes, r)
		rnd.Shuffle(len(votes), func(a, b int) { votes[a], votes[b] = votes[b], votes[a] })
		if diff := cmp.Diff(first, fresh(votes, r)); diff != "" {
			t.Fatalf("seed %d: the order of votes makes a difference: %s", seed, diff)
		}
		if n := len(first.Failing) + len(first.Slow) + len(first.Fine) + len(first.Blind) + len(first.Silent); n != len(votes) {
			t.Fatalf("seed %d: %d votes are in the verdict, of %d", seed, n, len(votes))
		}
		if first.Page && first.State != Down || first.Words == "" {
			t.Fatalf("seed %d: %+v", seed, first)
		}
		worse := append(votes[:len(votes):len(votes)], vote("zz", "r0", "i0", Down, "13:30", "status"))
		if got := fresh(worse, r); got.State < first.State && got.State != Unknown && first.State > Up {
			// One vote more may raise the default quorum from one to two, and only then.
			if r.Quorum.Down != 0 && r.Quorum.Degraded != 0 && r.Quorum.Regions < 2 {
				t.Fatalf("seed %d: one that fails more made %s of %s", seed, got.State, first.State)
			}
		}
	}
}

func fresh(votes []Vote, r Rules) Verdict {
	var j Judge
	for _, v := range votes {
		j.Vote(v)
	}
	return j.Verdict(r, noon)
}

// TestOld takes no older vote for a newer one.
func TestOld(t *testing.T) {
	var j Judge
	newer, older := vote("a", "", "", Up, "14:00", ""), vote("a", "", "", Down, "13:00", "status")
	older.At = noon.Add(-time.Second)
	j.Vote(newer)
	j.Vote(older)
	if got := j.Verdict(Rules{Fresh: time.Minute}, noon); got.State != Up {
		t.Errorf("an older vote replaced a newer one: %s", got.State)
	}
	j.Leave("a")
	if got := j.Verdict(Rules{Fresh: time.Minute}, noon); j.Votes() != 0 || got.State != Unknown {
		t.Errorf("a vantage that left still votes: %s", got.State)
	}
}

// TestRecall: who comes to a target late knows what one knows that was there from the
// beginning, whatever happened in the last ten minutes.
func TestRecall(t *testing.T) {
	flapped := 0
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		r := Rules{Fresh: time.Minute, Expected: 3, Quorum: definition.Quorum{Down: 1 + rnd.IntN(3)}}
		var views [3]View
		var always, late Judge
		say := func(j *Judge, i int, at time.Time) {
			why := views[i].Why()
			j.Vote(Vote{
				Vantage: Vantage{Name: fmt.Sprint(i)}, State: views[i].State(), Since: views[i].Since(), At: at, Code: why.Code, Turns: views[i].Turns(at),
			})
		}
		at := noon
		for i := range views { // all know it before anything happens
			views[i].Add(Outcome{At: at, State: Up}, definition.History{})
			say(&always, i, at)
		}
		always.Verdict(r, at)
		for range 1 + rnd.IntN(60) {
			at = at.Add(time.Duration(1+rnd.IntN(20)) * time.Second)
			i := rnd.IntN(len(views))
			views[i].Add(Outcome{At: at, State: []State{Up, Up, Down}[rnd.IntN(3)]}, definition.History{})
			for i := range views {
				say(&always, i, at)
			}
			always.Verdict(r, at)
		}
		if at.Sub(noon) > flapWindow {
			at = at.Add(time.Second) // what is forgotten by then need not agree
		}
		for i := range views {
			say(&late, i, at)
		}
		late.Recall(r, at)
		want, got := always.Verdict(r, at), late.Verdict(r, at)
		if want.Flapping {
			flapped++
		}
		if want.State != got.State || want.Flapping != got.Flapping || at.Sub(noon) < flapWindow && !want.Since.Equal(got.Since) {
			t.Errorf("seed %d, after %s: %s, flapping %v, since %s; want %s, %v, %s", seed, at.Sub(noon), got.State, got.Flapping, got.Since, want.State, want.Flapping, want.Since)
		}
	}
	if flapped < 50 {
		t.Errorf("%d of the targets flapped: this test says nothing", flapped)
	}
}
