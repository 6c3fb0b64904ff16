package witness

import (
	"fmt"
	"testing"
	"time"
)

// busiest is what the limits allow in one second.
const busiest = looksBurst + asksBurst + 4 + 2

var regions = []string{"eu", "us", "ap"}

func (s *sim) wantStates(except func(i, j int) bool, want State) {
	s.t.Helper()
	for i, is := range s.islands {
		for j, m := range s.members {
			if i == j || is.down || !except(i, j) {
				continue
			}
			if v, ok := is.View(m.Key); !ok || v.State != want {
				s.t.Errorf("island %d sees %d as %q, want %q (%+v)", i, j, v.State, want, v)
			}
		}
	}
}

func (s *sim) wantNothingStanding() {
	s.t.Helper()
	for i, is := range s.islands {
		if st := is.Statements(); len(st) > 0 && !is.down {
			s.t.Errorf("island %d: %d statements stand: %+v", i, len(st), st[0])
		}
	}
}

// wantFew holds what each island sent since start to bounds: in the mean over
// the time, and in any one second.
func (s *sim) wantFew(over time.Duration, mean float64, once int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	worst, most := 0.0, 0
	for _, is := range s.islands {
		worst = max(worst, float64(is.looks+is.asks)/over.Seconds())
		for _, n := range is.sent {
			most = max(most, n)
		}
	}
	s.t.Logf("%d islands: at most %.2f looks and asks per second and island in the mean over %s, %d in the busiest second", len(s.islands), worst, over, most)
	if worst > mean || most > once {
		s.t.Errorf("more than %v in the mean, or %d in one second", mean, once)
	}
}

// TestOneDead: exactly one statement, with who saw what, in bounded time and at
// bounded cost, whatever the size; withdrawn once when it is back.
func TestOneDead(t *testing.T) {
	for _, n := range []int{3, 9, 30, 200} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				s := newSim(t, n, regions...)
				s.start(nil)
				defer s.stopAll()
				dead := n / 2
				died := time.Now()
				s.islands[dead].die()
				time.Sleep(5 * time.Minute)

				lost := s.acts(KindLost, false)
				if len(lost) != 1 {
					t.Fatalf("%d statements, want 1: %+v", len(lost), lost)
				}
				took := lost[0].at.Sub(died)
				t.Logf("%d islands: stated after %s by %d", n, took, lost[0].by)
				if took < 15*time.Second || took > 75*time.Second {
					t.Errorf("stated after %s, want 15s to 75s", took)
				}
				s.wantContent(lost[0].s, dead)
				s.wantFew(5*time.Minute, 1, busiest)
				for i, is := range s.islands {
					if st := is.Statements(); !is.down && (len(st) != 1 || st[0].Target != s.members[dead].Key) {
						t.Errorf("island %d: statements %+v", i, st)
					}
				}

				s.islands[dead].revive()
				time.Sleep(3 * time.Minute)
				if w := s.acts("", true); len(w) != 1 || w[0].s.Target != s.members[dead].Key {
					t.Errorf("withdrawals %+v, want one", w)
				}
				s.wantNothingStanding()
				if n == 9 {
					s.wantStates(func(int, int) bool { return true }, Alive)
				}
			})
		})
	}
}

func (s *sim) wantContent(st Statement, dead int) {
	s.t.Helper()
	m := s.members[dead]
	if st.Target != m.Key || st.Name != m.Name || st.Region != m.Region || st.Since.After(st.At) {
		s.t.Errorf("statement %+v, want it about %+v", st, m)
	}
	if len(st.Votes) < 2 || st.Votes[0].Key != st.By {
		s.t.Fatalf("votes %+v, want the writer's own first and others", st.Votes)
	}
	other := map[string]bool{}
	for i, v := range st.Votes {
		if v.Reached || v.Error == "" || v.At.IsZero() {
			s.t.Errorf("vote %d: %+v, want not reached, with an error and a time", i, v)
		}
		if v.Region != st.Votes[0].Region {
			other[v.Region] = true
		}
	}
	if want := min(2, len(s.members)-2); len(other) < want {
		s.t.Errorf("votes from %d other regions, want %d: %+v", len(other), want, st.Votes)
	}
}

// TestCutUplink: the rest makes one statement about the island, the island one
// about itself, and nobody any other.
func TestCutUplink(t *testing.T) {
	for _, n := range []int{9, 200} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				s := newSim(t, n, regions...)
				s.start(nil)
				defer s.stopAll()
				const cut = 4
				s.set(func() { s.cut = func(a, b int) bool { return a == cut || b == cut } })
				time.Sleep(5 * time.Minute)
				if lost := s.acts(KindLost, false); len(lost) != 1 || lost[0].s.Target != s.members[cut].Key {
					t.Errorf("lost: %+v, want one about %d", lost, cut)
				}
				if own := s.acts(KindCutOff, false); len(own) != 1 || own[0].by != cut {
					t.Errorf("cut off: %+v, want one by %d", own, cut)
				}
				if !s.islands[cut].Alone() {
					t.Error("the island does not know that it is cut off")
				}
				for _, v := range s.islands[cut].Views() {
					if v.State == Lost {
						t.Errorf("the cut island takes %s for lost", v.Name)
					}
				}
				s.wantFew(5*time.Minute, 2, busiest)

				s.set(func() { s.cut = func(int, int) bool { return false } })
				time.Sleep(5 * time.Minute)
				if s.islands[cut].Alone() {
					t.Error("the island still thinks it is cut off")
				}
				s.wantNothingStanding()
			})
		})
	}
}

// TestPartition of 4 and 5 across regions: neither side can tell, so none says.
func TestPartition(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 9, regions...)
		s.start(nil)
		defer s.stopAll()
		other := func(a, b int) bool { return (a < 4) != (b < 4) }
		s.set(func() { s.cut = other })
		time.Sleep(10 * time.Minute)
		if all := s.all(); len(all) > 0 {
			t.Errorf("statements: %+v, want none", all)
		}
		s.wantStates(other, Unreachable)
		s.wantStates(func(a, b int) bool { return !other(a, b) }, Alive)
		s.wantFew(10*time.Minute, 2, busiest)
		s.set(func() { s.cut = func(int, int) bool { return false } })
		time.Sleep(time.Minute)
		s.wantStates(func(int, int) bool { return true }, Alive)
	})
}

// TestPartitionOfMany: 45 islands against 55 is no loss of 100 either.
func TestPartitionOfMany(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 100, "a", "b", "c", "d", "e", "f", "g")
		s.start(nil)
		defer s.stopAll()
		s.set(func() { s.cut = func(a, b int) bool { return (a < 45) != (b < 45) } })
		time.Sleep(5 * time.Minute)
		if lost := s.all(); len(lost) > 0 {
			t.Errorf("%d statements, want none; the first: %+v", len(lost), lost[0])
		}
		s.wantFew(5*time.Minute, 5, busiest)
	})
}

// TestRegionLost: two of three regions agree on each island of the third.
func TestRegionLost(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 9, regions...)
		s.start(nil)
		defer s.stopAll()
		s.set(func() { s.cut = func(a, b int) bool { return (a < 6) != (b < 6) } })
		time.Sleep(5 * time.Minute)
		about := map[string]int{}
		for _, a := range s.acts(KindLost, false) {
			about[a.s.Name]++
			if a.by >= 6 {
				t.Errorf("island %d of the smaller side states %s lost", a.by, a.s.Name)
			}
		}
		if len(about) != 3 || about["i6"] != 1 || about["i7"] != 1 || about["i8"] != 1 {
			t.Errorf("lost: %v, want each of i6, i7, i8 once", about)
		}
		for _, a := range s.acts(KindCutOff, false) {
			if a.by < 6 {
				t.Errorf("island %d of the larger side says it is cut off", a.by)
			}
		}
		s.set(func() { s.cut = func(int, int) bool { return false } })
		time.Sleep(5 * time.Minute)
		s.wantNothingStanding()
	})
}

// TestFew holds what the package doc says of small networks.
func TestFew(t *testing.T) {
	for _, tc := range []struct {
		name    string
		n       int
		regions []string
		stated  int
	}{
		{"two islands", 2, []string{"a", "b"}, 0},
		{"two islands of one region", 2, []string{"a"}, 0},
		{"three, each a region by its name", 3, nil, 1},
		{"three of one region", 3, []string{"a"}, 1},
		{"four of one region", 4, []string{"a"}, 1},
		{"two regions, the single island", 4, []string{"a", "a", "a", "b"}, 0},
		{"two regions of two", 4, []string{"a", "b"}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				s := newSim(t, tc.n, tc.regions...)
				s.start(nil)
				defer s.stopAll()
				last := tc.n - 1
				s.islands[last].die()
				time.Sleep(5 * time.Minute)
				if lost := s.acts(KindLost, false); len(lost) != tc.stated {
					t.Errorf("%d statements, want %d: %+v", len(lost), tc.stated, lost)
				}
				want := Unreachable
				if tc.stated > 0 {
					want = Lost
				}
				s.wantStates(func(_, j int) bool { return j == last }, want)
				for i := range last {
					if s.islands[i].Alone() {
						t.Errorf("island %d thinks it is cut off", i)
					}
				}
			})
		})
	}
}

// TestAsymmetric: one link is cut, others reach the island.
func TestAsymmetric(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 9, regions...)
		s.start(nil)
		defer s.stopAll()
		const a, b = 0, 7
		s.set(func() { s.cut = func(x, y int) bool { return x == a && y == b } })
		time.Sleep(10 * time.Minute)
		if all := s.all(); len(all) > 0 {
			t.Errorf("statements: %+v, want none", all)
		}
		v, _ := s.islands[a].View(s.members[b].Key)
		if v.State != Unreachable || !sighted(v.Testimony) || v.Error == "" {
			t.Errorf("got %+v, want it unreachable from here, with who reaches it", v)
		}
		s.wantStates(func(i, j int) bool { return j == b && i != a }, Alive)
		s.wantFew(10*time.Minute, 1, busiest)
	})
}

// TestFlappingLink: 15 s down, 15 s up, for long, is no loss.
func TestFlappingLink(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 9, regions...)
		s.start(nil)
		defer s.stopAll()
		for range 40 {
			s.set(func() { s.cut = func(a, b int) bool { return a == 3 || b == 3 } })
			time.Sleep(15 * time.Second)
			s.set(func() { s.cut = func(int, int) bool { return false } })
			time.Sleep(15 * time.Second)
		}
		if all := s.all(); len(all) > 0 {
			t.Errorf("statements: %+v, want none", all)
		}
	})
}

// TestFlappingIsland is away for 90 s and back for 60 s, ten times: statements
// come at once and stay longer and longer.
func TestFlappingIsland(t *testing.T) {
	for name, flap := range map[string]struct{ away, back func(s *sim) }{
		"dies": {func(s *sim) { s.islands[3].die() }, func(s *sim) { s.islands[3].revive() }},
		"cut off": {
			func(s *sim) { s.set(func() { s.cut = func(a, b int) bool { return a == 3 || b == 3 } }) },
			func(s *sim) { s.set(func() { s.cut = func(int, int) bool { return false } }) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T) {
				s := newSim(t, 9, regions...)
				s.start(nil)
				defer s.stopAll()
				for range 10 {
					flap.away(s)
					time.Sleep(90 * time.Second)
					flap.back(s)
					time.Sleep(60 * time.Second)
				}
				time.Sleep(15 * time.Minute)
				lost, own := s.acts(KindLost, false), s.acts(KindCutOff, false)
				t.Logf("%d lost, %d cut off, %d withdrawn", len(lost), len(own), len(s.acts("", true)))
				if len(lost) < 1 || len(lost) > 3 || len(own) > 3 {
					t.Errorf("%d and %d statements in ten flaps, want at most 3 of a kind", len(lost), len(own))
				}
				s.wantNothingStanding()
			})
		})
	}
}

// TestLoss: a tenth of all packets lost everywhere is no loss of islands.
func TestLoss(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 30, regions...)
		s.set(func() { s.loss = 0.1 })
		s.start(nil)
		defer s.stopAll()
		time.Sleep(20 * time.Minute)
		if all := s.all(); len(all) > 0 {
			t.Errorf("%d statements, want none: %+v", len(all), all[0])
		}
		s.islands[20].die()
		time.Sleep(5 * time.Minute)
		// Two may write at once where the word spreads slowly: into the same document.
		lost := s.acts(KindLost, false)
		if len(lost) < 1 || len(lost) > 2 {
			t.Errorf("%d statements, want 1, or 2 at the same time: %+v", len(lost), lost)
		}
		for _, a := range lost {
			if a.s.Target != s.members[20].Key || a.at.Sub(lost[0].at) > time.Minute {
				t.Errorf("statement %+v, want it about i20, soon after the first", a)
			}
		}
	})
}

// TestClocks: wall clocks off by ten minutes, one running at half speed, change nothing.
func TestClocks(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 9, regions...)
		n := 0
		began := time.Now()
		s.start(func(o *Options) {
			n++
			switch n % 4 {
			case 1:
				o.Clock = func() time.Time { return time.Now().Add(-10 * time.Minute) }
			case 2:
				o.Clock = func() time.Time { return time.Now().Add(10 * time.Minute) }
			case 3:
				o.Clock = func() time.Time { return began.Add(time.Since(began) / 2) }
			}
		})
		defer s.stopAll()
		s.islands[4].die()
		time.Sleep(5 * time.Minute)
		if lost := s.acts(KindLost, false); len(lost) != 1 {
			t.Errorf("%d statements, want 1", len(lost))
		}
		s.islands[4].revive()
		time.Sleep(3 * time.Minute)
		s.wantNothingStanding()
	})
}

// TestSpeakerFails: the first in order cannot write, the next does, once; and
// when the writer is gone too, another withdraws.
func TestSpeakerFails(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 9, regions...)
		s.start(nil)
		defer s.stopAll()
		const dead = 4
		var others []int
		for _, k := range order(s.members[dead].Key, keys(s.members)) {
			if n := s.byKey[k].n; n != dead {
				others = append(others, n)
			}
		}
		s.set(func() { s.islands[others[0]].deaf = fmt.Errorf("disk is full") })
		s.islands[dead].die()
		time.Sleep(5 * time.Minute)
		lost := s.acts(KindLost, false)
		if len(lost) != 1 || lost[0].by != others[1] {
			t.Fatalf("%d statements, want one by %d: %+v", len(lost), others[1], lost)
		}
		s.islands[dead].revive()
		s.islands[others[1]].die()
		time.Sleep(4 * time.Minute)
		if w := s.acts("", true); len(w) != 1 || w[0].by == others[1] || w[0].s.Target != s.members[dead].Key {
			t.Errorf("withdrawals %+v, want one about %d by another", w, dead)
		}
	})
}

// TestLeft: the statement about an island that is no member any more goes.
func TestLeft(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 9, regions...)
		s.start(nil)
		defer s.stopAll()
		s.islands[8].die()
		time.Sleep(3 * time.Minute)
		if lost := s.acts(KindLost, false); len(lost) != 1 {
			t.Fatalf("%d statements, want 1", len(lost))
		}
		s.set(func() { s.gone = 1 })
		time.Sleep(3 * time.Minute)
		if w := s.acts("", true); len(w) != 1 {
			t.Errorf("withdrawals %+v, want one", w)
		}
		s.wantNothingStanding()
	})
}

// TestOneWitnessIsEnough: a single island that reaches the target outweighs all
// who do not.
func TestOneWitnessIsEnough(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 5)
		s.start(nil)
		defer s.stopAll()
		const target, friend = 4, 1
		s.set(func() {
			s.cut = func(a, b int) bool {
				return a == target && b != friend || b == target && a != friend
			}
		})
		time.Sleep(5 * time.Minute)
		if lost := s.acts(KindLost, false); len(lost) > 0 {
			t.Errorf("statements: %+v, want none", lost)
		}
		for _, i := range []int{0, 2, 3} {
			if v, _ := s.islands[i].View(s.members[target].Key); v.State != Unreachable || reachedBy(v.Testimony) != "i1" {
				t.Errorf("island %d: %+v, want it unreachable from here and reached by i1", i, v)
			}
		}
	})
}
