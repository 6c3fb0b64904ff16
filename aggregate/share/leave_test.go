package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// three are islands of which one leaves while a window is under way.
type three struct {
	*net
	shares map[string]*Share
	stops  map[string]func()
	base   int64
}

func newThree(t *testing.T, late string) *three {
	x := &three{net: newNet(t), shares: map[string]*Share{}, stops: map[string]func(){}}
	x.listed = []string{"a", "b", "c"}
	set := load(t, textOf(late))
	x.base = set.Rules[0].Window(time.Now().UnixMilli())
	for _, name := range x.listed {
		x.shares[name], x.stops[name] = x.start(name, set, nil)
	}
	return x
}

// seal pushes the k-th window of an island: 1, 10 or 100 of each job.
func (x *three) seal(k int64, name string) {
	x.t.Helper()
	s := x.shares[name]
	w := empty(s, x.base+10_000*k)
	for j := range jobs {
		w.Rows = append(w.Rows, row1(fmt.Sprint("j", j), map[string]float64{"a": 1, "b": 10, "c": 100}[name]))
	}
	seal(x.t, s, w)
}

func (x *three) leave(name string) {
	x.t.Helper()
	limited, cancel := context.WithTimeout(x.t.Context(), 15*time.Second)
	defer cancel()
	begin := time.Now()
	if err := x.shares[name].Leave(limited); err != nil {
		x.t.Error(err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		x.t.Errorf("it took %s though nothing was in the way", took)
	}
	x.stops[name]()
	x.with(func() { x.listed = []string{"a", "c"} })
}

func (x *three) check(windows int64, left int64) {
	x.t.Helper()
	total := 0.0
	for k := range windows {
		want := 101.0
		if k <= left {
			want = 111
		}
		total += want
		for j := range jobs {
			x.only("increase", fmt.Sprint("j", j), x.base+10_000*k, want)
			x.only("total", fmt.Sprint("j", j), x.base+10_000*k, total)
		}
	}
}

// An island that leaves hands over what it has of the window that is under way: the
// others publish it once, at once, and do not wait for the one that left.
func TestLeave(t *testing.T) {
	for _, late := range []string{"carry", "correct", "drop"} {
		t.Run(late, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newThree(t, late)
				for k := range int64(3) {
					for _, name := range []string{"a", "b", "c"} {
						x.seal(k, name)
					}
					time.Sleep(10 * time.Second)
				}
				time.Sleep(4 * time.Second)
				x.seal(3, "b")
				x.leave("b")
				for k := int64(3); k < 9; k++ {
					x.seal(k, "a")
					x.seal(k, "c")
					time.Sleep(10 * time.Second)
					x.check(k+1, 3) // none waits for the next one
				}
				for _, name := range []string{"a", "c"} {
					x.stops[name]()
					if n := testutil.ToFloat64(x.shares[name].m.incomplete.WithLabelValues("most")); n != 0 {
						t.Errorf("%s counts %v incomplete windows", name, n)
					}
				}
			})
		})
	}
}

// Whenever an island leaves, be it while it publishes, each window is published once.
func TestLeaveAtAnyInstant(t *testing.T) {
	for at := time.Duration(0); at < 500*time.Millisecond; at += 17 * time.Millisecond {
		t.Run(at.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newThree(t, "carry")
				for k := range int64(4) {
					for _, name := range []string{"a", "b", "c"} {
						x.seal(k, name)
					}
					if k < 3 {
						time.Sleep(10 * time.Second)
					}
				}
				time.Sleep(at)
				x.leave("b")
				for k := int64(4); k < 6; k++ {
					x.seal(k, "a")
					x.seal(k, "c")
					time.Sleep(10 * time.Second)
				}
				x.check(6, 3)
				x.stops["a"]()
				x.stops["c"]()
			})
		})
	}
}

// What an island handed over before it left is not lost with the memory of one of
// those that took it.
func TestLeaveAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newThree(t, "carry")
		for k := range int64(3) {
			for _, name := range []string{"a", "b", "c"} {
				x.seal(k, name)
			}
			time.Sleep(10 * time.Second)
		}
		x.seal(3, "b")
		x.leave("b")
		a := x.shares["a"]
		var state bytes.Buffer
		if err := a.Snapshot(&state); err != nil {
			t.Fatal(err)
		}
		x.stops["a"]()
		time.Sleep(time.Second)
		x.shares["a"], x.stops["a"] = x.startFrom("a", a.o.Rules, state.Bytes(), nil)
		for k := int64(3); k < 6; k++ {
			x.seal(k, "a")
			x.seal(k, "c")
			time.Sleep(10 * time.Second)
		}
		x.check(6, 3)
		x.stops["a"]()
		x.stops["c"]()
	})
}

// An island that decides to stay owns its share again; one that nobody is within
// reach of says so, and the last one just goes.
func TestLeaveOrStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newThree(t, "carry")
		defer x.stops["a"]()
		defer x.stops["b"]()
		defer x.stops["c"]()
		round := func(k int64) {
			for _, name := range []string{"a", "b", "c"} {
				x.seal(k, name)
			}
			time.Sleep(10 * time.Second)
		}
		round(0)
		x.with(func() { x.cut["b"] = true })
		limited, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		err := x.shares["b"].Leave(limited)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a has not taken all, c has not taken all") {
			t.Errorf("leaving without a connection: %v", err)
		}
		x.with(func() { delete(x.cut, "b") })
		time.Sleep(20 * time.Second)
		if n := x.shares["b"].ownedSlots(); n != 0 {
			t.Errorf("it owns %d slots while it leaves", n)
		}
		x.shares["b"].Stay()
		for k := int64(1); k < 5; k++ {
			round(k)
		}
		if n := x.shares["b"].ownedSlots(); n < Slots/4 {
			t.Errorf("it owns %d slots though it stays", n)
		}
		x.check(5, 5)
		x.stops["a"]()
		x.stops["c"]()
		x.with(func() { x.listed = []string{"b"} })
		time.Sleep(time.Second)
		if err := x.shares["b"].Leave(t.Context()); err != nil {
			t.Errorf("the last one leaves: %v", err)
		}
	})
}
