package share

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/flow"
)

// trio is three islands, or four, and a group that the first owns and the second is
// deputy of.
type trio struct {
	*net
	shares []*Share
	stops  []func()
	set    *rule.Set
	base   int64
	job    string
	// deaf: nothing that an island says reaches another one.
	deaf [4][4]atomic.Bool
	// sees: who aggregates, as an island sees it; nil: all.
	sees    [4]atomic.Pointer[[]string]
	pending flow.Bytes // of those that begin
	// dies: the first does as soon as it has published.
	dies atomic.Bool
}

var trioNames = []string{"a", "b", "c", "d"}

// wireOf is a net as an island of a trio sees it.
type wireOf struct {
	line
	x *trio
	i int
}

func (w wireOf) Send(ctx context.Context, to string, b []byte) ([]byte, error) {
	if w.x.deaf[w.i][to[0]-'a'].Load() {
		time.Sleep(5 * time.Millisecond)
		return nil, errLost
	}
	return w.line.Send(ctx, to, b)
}

func newTrio(t *testing.T, n int, late string) *trio {
	x := &trio{net: newNet(t), set: load(t, textOf(late))}
	x.base = x.set.Rules[0].Window(time.Now().UnixMilli())
	x.listed = trioNames[:n]
	for i := range n {
		s, stop := x.begin(i, nil)
		x.shares, x.stops = append(x.shares, s), append(x.stops, stop)
	}
	x.round(0, x.shares...)
	a := x.shares[0]
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := 0; x.job == ""; k++ {
		slot := slotOf(a.order[0].rule.Hash, row1(fmt.Sprint("b", k), 1).Hash)
		if a.view.First[slot] == 0 && a.view.Second[slot] == 1 {
			x.job = fmt.Sprint("b", k)
		}
	}
	return x
}

// begin starts an island, from a state if there is one.
func (x *trio) begin(i int, state []byte) (*Share, func()) {
	return x.startFrom(trioNames[i], x.set, state, func(o *Options) {
		publish := o.Publish
		o.Journal, o.MaxPending = new(pages), x.pending
		o.Transport = wireOf{o.Transport.(line), x, i}
		o.Members = func() []string {
			if names := x.sees[i].Load(); names != nil {
				return *names
			}
			return x.members()
		}
		o.Publish = func(ctx context.Context, samples []partial.Sample) error {
			err := publish(ctx, samples)
			if i == 0 && x.dies.Load() {
				x.with(func() { x.cut["a"] = true })
			}
			return err
		}
	})
}

func (x *trio) stop() {
	for _, stop := range x.stops {
		stop()
	}
}

// say seals the k-th window of an island again, or for the first time.
func (x *trio) say(s *Share, k int64, revision uint32, amounts ...float64) {
	w := empty(s, x.base+10_000*k)
	w.Revision = revision
	for _, amount := range amounts {
		w.Rows = append(w.Rows, row1(x.job, amount))
	}
	seal(x.t, s, w)
}

// round is a window in which nothing was seen.
func (x *trio) round(k int64, shares ...*Share) {
	for _, s := range shares {
		x.say(s, k, 0)
	}
	time.Sleep(10 * time.Second)
}

// check that no revision of a window falls, and none has two values.
func (x *trio) check(k int64) []emission {
	x.t.Helper()
	es := x.in("increase", x.job, x.base+10_000*k)
	values := map[uint32]float64{}
	for i, e := range es {
		if v, ok := values[e.revision]; ok && v != e.value {
			x.t.Errorf("revision %d has two values: %v", e.revision, es)
		}
		if values[e.revision] = e.value; i > 0 && e.revision < es[i-1].revision {
			x.t.Errorf("revisions fall: %v", es)
		}
	}
	return es
}

// A correction is no sooner published than its deputy knows it: who goes on when the
// owner dies right after that has none of its revision, or a lower one, with another
// value. What the deputy cannot hear is not published as long as it is waited for.
func TestCorrectionIsVouchedFor(t *testing.T) {
	for _, heard := range []bool{true, false} {
		t.Run(fmt.Sprint("heard ", heard), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newTrio(t, 3, "correct")
				defer x.stop()
				a, b, c := x.shares[0], x.shares[1], x.shares[2]
				x.say(a, 1, 0, 1)
				x.say(b, 1, 0, 10)
				x.say(c, 1, 0, 100)
				time.Sleep(10 * time.Second)
				for k := range int64(3) {
					x.round(k+2, a, b, c)
				}
				x.deaf[0][1].Store(!heard)
				x.deaf[0][2].Store(!heard)
				x.say(a, 1, 1, 2)
				time.Sleep(1300 * time.Millisecond)
				if n := len(x.check(1)); n != 1 && !heard || n != 2 && heard {
					t.Errorf("it was published %d times before the owner died", n)
				}
				x.stops[0]()
				x.with(func() { x.listed = []string{"b", "c"} })
				x.say(b, 1, 1, 20)
				for k := range int64(14) {
					x.round(k+5, b, c)
				}
				want := 121.0
				if heard {
					want = 122
				}
				if es := x.check(1); es[len(es)-1].value != want || es[len(es)-1].node != "b" {
					t.Errorf("it was published %v, want %v of b in the end", es, want)
				}
			})
		})
	}
}

// Two islands that take themselves for the owner, since they see different members, do
// not correct a window side by side; when they agree again the owner goes on from what
// the other one published.
func TestTwoOwnersAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTrio(t, 3, "correct")
		defer x.stop()
		a, b, c := x.shares[0], x.shares[1], x.shares[2]
		x.say(a, 1, 0, 1)
		x.say(b, 1, 0, 10)
		x.say(c, 1, 0, 100)
		time.Sleep(10 * time.Second)
		x.round(2, a, b, c)
		without := []string{"b", "c"}
		x.sees[1].Store(&without)
		x.sees[2].Store(&without)
		for k := range int64(4) {
			x.round(k+3, a, b, c)
		}
		x.say(a, 1, 1, 2)
		x.say(b, 1, 1, 20)
		time.Sleep(2 * time.Second)
		x.say(c, 1, 1, 200)
		for k := range int64(2) {
			x.round(k+7, a, b, c)
		}
		if es := x.check(1); es[len(es)-1].value != 222 {
			t.Errorf("while they differ it was published %v, want 222 at last", es)
		}
		x.sees[1].Store(nil)
		x.sees[2].Store(nil)
		time.Sleep(time.Second)
		x.say(a, 1, 2, 3)
		for k := range int64(10) {
			x.round(k+9, a, b, c)
		}
		if es := x.check(1); es[len(es)-1].value != 223 {
			t.Errorf("it was published %v, want 223 at last", es)
		}
	})
}

// A group with a part that came in time and one that was late at its source, of a
// window that waits for others, has one value though its owner dies as it publishes,
// and the next one is told of the late part a moment after it could publish without.
func TestLateAndTimelyInAWindowThatWaits(t *testing.T) {
	for _, late := range []string{"carry", "drop", "correct"} {
		t.Run(late, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newTrio(t, 4, late)
				defer x.stop()
				a, b, c, d := x.shares[0], x.shares[1], x.shares[2], x.shares[3]
				x.say(a, 1, 0, 5)
				x.say(b, 1, 0)
				x.say(c, 1, 0)
				time.Sleep(10 * time.Second)
				// So much that what comes after it is in another message.
				w := empty(c, x.base+20_000)
				for i := range 3 * rowsPerMessage {
					w.Rows = append(w.Rows, row1(fmt.Sprint("x", i), 1))
				}
				seal(t, c, w)
				time.Sleep(5 * time.Second)
				x.deaf[2][1].Store(true)
				x.say(c, 1, 1, 9)
				time.Sleep(time.Second)
				x.dies.Store(true)
				x.say(d, 1, 0)
				time.Sleep(2 * time.Second)
				if es := x.check(1); len(es) != 1 || es[0].value != 14 || es[0].node != "a" {
					t.Fatalf("it was published %v, want 14 of a", es)
				}
				x.stops[0]()
				x.with(func() { x.listed = []string{"b", "c", "d"} })
				time.Sleep(time.Second)
				x.deaf[2][1].Store(false)
				x.say(d, 2, 0)
				for k := range int64(12) {
					x.round(k+3, b, c, d)
				}
				es := x.check(1)
				for _, e := range es {
					if e.value != 14 {
						t.Errorf("it was published %v, want 14", es)
					}
				}
			})
		})
	}
}

// A backlog that is being gathered is not lost with its owner's memory, though its
// source has none to keep what all have: the deputy gives it back.
func TestBacklogAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTrio(t, 3, "carry")
		defer x.stop()
		a, b := x.shares[0], x.shares[1]
		x.stops[2]()
		x.pending = 100
		c, stop := x.begin(2, nil)
		x.shares[2], x.stops[2] = c, stop
		for k := range int64(3) {
			x.round(k+1, a, b, c)
		}
		x.say(c, 1, 1, 9)
		time.Sleep(2 * time.Second)
		w := empty(c, x.base+40_000)
		for k := range 20 {
			w.Rows = append(w.Rows, row1(fmt.Sprint("x", k), 1))
		}
		seal(t, c, w)
		for _, p := range c.order[0].pending {
			if p.late {
				t.Fatal("the source still has the late part")
			}
		}
		var state bytes.Buffer
		if err := a.Snapshot(&state); err != nil {
			t.Fatal(err)
		}
		x.stops[0]()
		x.pending = 0
		a, x.stops[0] = x.begin(0, state.Bytes())
		x.say(a, 4, 0)
		x.say(b, 4, 0)
		for k := range int64(5) {
			x.round(k+5, a, b, c)
		}
		if es := x.check(1); len(es) != 1 || es[0].value != 9 {
			t.Errorf("the backlog was published %v, want 9 once", es)
		}
	})
}
