package share

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

func textOf(late string) string { return strings.Replace(ruleText, "carry", late, 1) }

// again is a window that a source publishes once more, with other amounts.
func again(s *Share, end int64, revision uint32, increase float64) *partial.Window {
	w := empty(s, end)
	w.Revision = revision
	for j := range jobs {
		w.Rows = append(w.Rows, row1(fmt.Sprint("j", j), increase))
	}
	return w
}

// What comes late at a source is in a corrected window of the owner, with the parts
// of all sources: also where the owner is another one by now, or began anew, and
// had none of the window. Other policies leave it as it was published.
func TestLateAtASource(t *testing.T) {
	for _, late := range []string{"carry", "correct", "drop"} {
		for _, change := range []string{"nothing", "restart", "join"} {
			t.Run(late+" "+change, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					x := newTwo(t, load(t, textOf(late)))
					defer x.stopA()
					end := x.round(0, x.a, x.b)
					x.round(1, x.a, x.b)
					all := []*Share{x.a, x.b}
					switch change {
					case "restart": // with no state but what it pushes again
						life := x.b.life
						x.stopB()
						x.b, x.stopB = x.start("b", x.set, func(o *Options) { o.Start = life })
						for k := range int64(2) {
							w := again(x.b, x.base+10_000*k, 0, 10)
							seal(t, x.b, w)
						}
						all[1] = x.b
					case "join":
						x.with(func() { x.listed = []string{"a", "b", "c", "d"} })
						for _, name := range []string{"c", "d"} {
							s, stop := x.start(name, x.set, nil)
							defer stop()
							all = append(all, s)
						}
					}
					defer func() { x.stopB() }()
					time.Sleep(5 * time.Second)
					if late == "correct" {
						seal(t, x.a, again(x.a, end, 1, 5))
					} else { // the engine does not say such a thing, but a stranger may
						seal(t, x.a, again(x.a, end, 1, 4))
					}
					for k := range int64(8) {
						end := x.base + 10_000*(k+2)
						for _, s := range all {
							seal(t, s, empty(s, end))
						}
						time.Sleep(10 * time.Second)
					}
					for j := range jobs {
						es := x.in("increase", fmt.Sprint("j", j), end)
						first, last := es[0], es[len(es)-1]
						switch {
						case first.value != 11 || first.revision != 0:
							t.Errorf("j%d was %v at first", j, first)
						case late != "correct" && len(es) > 1 && (last.value != 11 || change != "restart"):
							t.Errorf("j%d was published again: %v", j, es)
						case late == "correct" && (last.value != 15 || last.revision == 0):
							t.Errorf("j%d was published %v, want 15 in the end", j, es)
						}
						for i := 1; i < len(es); i++ {
							if es[i].revision < es[i-1].revision || es[i].revision == es[i-1].revision && es[i].value != es[i-1].value {
								t.Errorf("j%d has revisions out of order: %v", j, es)
							}
						}
					}
				})
			})
		}
	}
}

// A backlog of a group that was in no window is published once; the next owner
// leaves it alone, and one whose forerunner died in the act publishes the same,
// though it knows more by then.
func TestBacklogAfterAnOwnerChange(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprint("dies ", dies), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newTwo(t, load(t, ruleText))
				defer func() { x.stopA(); x.stopB() }()
				owner, deputy, stop := x.a, x.b, x.stopA
				end := x.round(0, x.a, x.b)
				for k := range int64(4) {
					x.round(k+1, x.a, x.b)
				}
				job := ownedBy(x.a)
				w := empty(deputy, end)
				w.Rows = append(w.Rows, row1(job, 7))
				seal(t, deputy, w)
				told := func() bool {
					deputy.mu.Lock()
					defer deputy.mu.Unlock()
					for _, c := range deputy.order[0].cellsOf(end) {
						if c.labels.Get("job") == job && c.claim != nil {
							return true
						}
					}
					return false
				}
				if dies {
					seen := false
					for i := 0; i < 30_000 && !seen; i++ {
						time.Sleep(time.Millisecond)
						seen = told()
					}
					if !seen {
						t.Fatal("the owner publishes without telling its deputy")
					}
				} else {
					for k := range int64(4) {
						x.round(k+5, x.a, x.b)
					}
				}
				before := len(x.in("increase", job, end))
				stop()
				x.with(func() { x.listed = []string{deputy.o.Self} })
				// What comes now was in no publication.
				w = empty(deputy, end)
				w.Revision = 1
				w.Rows = append(w.Rows, row1(job, 9))
				seal(t, deputy, w)
				for k := range int64(20) {
					x.round(k+9, deputy)
				}
				x.stopB()
				es := x.in("increase", job, end)
				if before > 1 || len(es) == 0 || dies && len(es) > 2 || !dies && len(es) != 1 {
					t.Errorf("%s was published %v, %d of it before %s died", job, es, before, owner.o.Self)
				}
				for _, e := range es {
					if e.value != 7 {
						t.Errorf("%s is %v, want 7: %v", job, e.value, es)
					}
				}
			})
		})
	}
}

// ownedBy is a group that an island owns.
func ownedBy(s *Share) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; ; i++ {
		job := fmt.Sprint("b", i)
		if r := row1(job, 1); s.view.First[slotOf(s.order[0].rule.Hash, r.Hash)] == s.self {
			return job
		}
	}
}

func (rs *ruleState) cellsOf(end int64) map[string]*cell {
	if w := rs.windows[end]; w != nil {
		return w.cells
	}
	return nil
}

// What a source that is away had said of a window that another one published is taken
// for part of that, unless the source had changed it: then nobody knows, and it is
// published once more.
func TestLeftByASourceThatIsAway(t *testing.T) {
	set := load(t, textOf("correct"))
	for revision, again := range map[uint32]bool{0: false, 1: true} {
		s, err := New(Options{
			Self: "a", Rules: set, Members: func() []string { return nil }, Transport: line{}, Start: 1,
			Publish: func(context.Context, []partial.Sample) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		rs, r := s.order[0], row1("j", 5)
		g := rs.group(r.Group, r.Hash)
		end := set.Rules[0].Window(s.wall)
		s.takeLeft(rs, g, &leftPart{end: end, said: said{source{"b", 1}, revision, r.Acc}})
		for _, c := range rs.cellsOf(end) {
			if c.dirty() != again || !c.adopted {
				t.Errorf("revision %d: to be published again is %v, want %v", revision, c.dirty(), again)
			}
		}
		if len(rs.cellsOf(end)) != 1 {
			t.Errorf("revision %d: %d groups, want one", revision, len(rs.cellsOf(end)))
		}
	}
}

// mute is a line on which nothing that this island says gets through while off is set.
type mute struct {
	line
	off *atomic.Bool
}

func (m mute) Send(ctx context.Context, to string, b []byte) ([]byte, error) {
	if m.off.Load() {
		time.Sleep(5 * time.Millisecond)
		return nil, errLost
	}
	return m.line.Send(ctx, to, b)
}

// What comes late at its source for a window that waits for others has one value too:
// its owner publishes it no sooner than its deputy knows that value, so the one that
// goes on when the owner dies has no other.
func TestBacklogOfAWindowThatWaits(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprint("dies ", dies), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, set, off := newNet(t), load(t, ruleText), new(atomic.Bool)
				n.listed = []string{"a", "b", "c"}
				a, stopA := n.start("a", set, func(o *Options) { o.Transport = mute{line{n, "a"}, off} })
				b, stopB := n.start("b", set, nil)
				c, stopC := n.start("c", set, nil)
				defer func() { stopA(); stopB(); stopC() }()
				base := set.Rules[0].Window(time.Now().UnixMilli())
				round := func(k int64, shares ...*Share) {
					for _, s := range shares {
						seal(t, s, empty(s, base+10_000*k))
					}
				}
				wait := func() { time.Sleep(10 * time.Second) }
				round(0, a, b, c)
				wait()
				for k := range int64(4) {
					round(k+1, a, b)
					wait()
				}
				end, job := base+10_000, ownedBy(a)
				late := func(s *Share, amount float64) {
					w := empty(s, end)
					w.Revision = 1
					w.Rows = append(w.Rows, row1(job, amount))
					seal(t, s, w)
				}
				late(b, 9)
				time.Sleep(time.Second)
				off.Store(dies)
				late(a, 7)
				round(1, c)
				wait()
				if dies {
					stopA()
					n.with(func() { n.listed = []string{"b", "c"} })
				}
				for k := range int64(12) {
					if k < 3 {
						round(k+2, c)
					} else {
						round(k+2, b, c)
						if !dies {
							round(k+2, a)
						}
					}
					wait()
				}
				es := n.in("increase", job, end)
				if len(es) == 0 || !dies && (len(es) != 1 || es[0].value != 16) {
					t.Errorf("%s was published %v", job, es)
				}
				for _, e := range es {
					if e.value != es[0].value {
						t.Errorf("%s has two values: %v", job, es)
					}
				}
			})
		})
	}
}

// Where it is known that a window is published, but not whether a group was in it, the
// next owner has all parts for the same value: also that of an island that is away.
func TestLeftOfAWindowOfAnotherOwner(t *testing.T) {
	set := load(t, ruleText)
	start := func(name string) (*Share, *ruleState) {
		s, err := New(Options{
			Self: name, Rules: set, Members: func() []string { return nil }, Transport: line{}, Start: 1,
			Publish: func(context.Context, []partial.Sample) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		return s, s.order[0]
	}
	for _, known := range []bool{false, true} {
		deputy, from := start("b")
		next, to := start("c")
		r, end := row1("j", 7), set.Rules[0].Window(deputy.wall)
		g := from.group(r.Group, r.Hash)
		w := from.window(end)
		w.cell(from, g.labels, g.hash, g.slot).merge(source{"a", 1}, 0, &r.Acc)
		from.raise(end)
		from.put(w, true)
		to.raise(end)
		if known {
			to.group(r.Group, r.Hash).publishedIn(end, false, to.interval())
		}
		next.takeState(to, &state{to.rule, []stateGroup{from.stateOf(g, deputy.isThere)}}, func(int) bool { return false })
		cells := to.cellsOf(end)
		if (len(cells) == 0) != known {
			t.Errorf("known %v: there are %d groups", known, len(cells))
		}
		for _, c := range cells {
			if !c.late || !c.again || len(c.parts) != 1 || c.parts[0].source.name != "a" {
				t.Errorf("late is %v, again %v, parts %v, want that of a", c.late, c.again, c.parts)
			}
		}
	}
}
