package share

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/health"
)

// two are islands that see one increase of 1 and of 10 in each window of each job.
type two struct {
	*net
	a, b         *Share
	stopA, stopB func()
	set          *rule.Set
	base         int64
	list         *health.List // of b
}

func newTwo(t *testing.T, set *rule.Set) *two {
	x := &two{net: newNet(t), set: set, base: set.Rules[0].Window(time.Now().UnixMilli()), list: health.New(nil)}
	x.listed = []string{"a", "b"}
	x.a, x.stopA = x.start("a", set, nil)
	x.b, x.stopB = x.start("b", set, func(o *Options) { o.Health = x.list })
	return x
}

// round seals the k-th window on some of them.
func (x *two) round(k int64, shares ...*Share) int64 {
	end := x.base + 10_000*k
	for _, s := range shares {
		w := empty(s, end)
		for j := range jobs {
			amount := 1.0
			if s == x.b {
				amount = 10
			}
			w.Rows = append(w.Rows, row1(fmt.Sprint("j", j), amount))
		}
		seal(x.t, s, w)
	}
	time.Sleep(10 * time.Second)
	return end
}

func (x *two) all(series string, end int64, want float64) {
	x.t.Helper()
	for j := range jobs {
		x.only(series, fmt.Sprint("j", j), end, want)
	}
}

// Of two islands either one goes on without the other: when it is stated lost, and
// when it is merely out of reach, be it the first or the second by name. Before,
// windows wait; then they come, with totals that never fall.
func TestOneOfTwoGoesOn(t *testing.T) {
	for _, tc := range []struct {
		name   string
		lost   string // who dies
		stated bool
	}{{"first stated lost", "a", true}, {"second stated lost", "b", true}, {"first out of reach", "a", false}, {"second out of reach", "b", false}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newTwo(t, load(t, ruleText))
				defer x.stopA()
				defer x.stopB()
				x.round(0, x.a, x.b)
				x.all("total", x.round(1, x.a, x.b), 22)
				stays, stop, amount := x.b, x.stopA, 10.0
				if tc.lost == "b" {
					stays, stop, amount = x.a, x.stopB, 1
				}
				stop()
				if tc.stated {
					x.with(func() { x.listed = []string{stays.o.Self} })
				}
				k := int64(2)
				for ; k < 7; k++ {
					x.round(k, stays)
				}
				if es := x.in("increase", "j0", x.base+20_000); len(es) != 0 {
					t.Errorf("it went on at once: %v", es)
				}
				for ; k < 17; k++ {
					x.round(k, stays)
				}
				for i := int64(2); i < 17; i++ {
					x.all("increase", x.base+10_000*i, amount)
					x.all("total", x.base+10_000*i, 22+amount*float64(i-1))
				}
				if n := testutil.ToFloat64(stays.m.incomplete.WithLabelValues("apart")); (n > 0) != (!tc.stated && tc.lost == "a") {
					t.Errorf("%v windows apart", n)
				}
				if n := testutil.ToFloat64(stays.m.incomplete.WithLabelValues("apart")) + testutil.ToFloat64(stays.m.incomplete.WithLabelValues("most")); n == 0 {
					t.Error("no window is counted as incomplete")
				}
			})
		})
	}
}

// A partition of two: both publish what they have for themselves and say so; when
// it is over the totals have all, and where windows are corrected they do too.
func TestTwoApart(t *testing.T) {
	for _, late := range []string{"carry", "correct"} {
		t.Run(late, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newTwo(t, load(t, textOf(late)))
				defer x.stopA()
				defer x.stopB()
				x.round(0, x.a, x.b)
				x.round(1, x.a, x.b)
				x.with(func() { x.cut["a"] = true })
				k := int64(2)
				for ; k < 18; k++ {
					x.round(k, x.a, x.b)
				}
				for j := range jobs {
					values := map[string]float64{}
					for _, e := range x.in("increase", fmt.Sprint("j", j), x.base+30_000) {
						values[e.node] = e.value
					}
					if len(values) != 2 || values["a"] != 1 || values["b"] != 10 {
						t.Errorf("j%d is %v apart, want 1 of a and 10 of b", j, values)
					}
				}
				if active := x.list.Active(); len(active) != 2 || active[0].Code != "aggregate-apart" && active[1].Code != "aggregate-apart" {
					t.Errorf("warnings are %v", active)
				}
				if testutil.ToFloat64(x.b.m.incomplete.WithLabelValues("apart")) == 0 {
					t.Error("windows apart are not counted")
				}
				x.with(func() { clear(x.cut) })
				for ; k < 26; k++ {
					x.round(k, x.a, x.b)
				}
				x.all("total", x.base+10_000*(k-1), 11*float64(k))
				x.all("increase", x.base+10_000*(k-1), 11)
				if active := x.list.Active(); len(active) != 0 {
					t.Errorf("warnings when all is well again: %v", active)
				}
				for j := range jobs {
					es := x.in("increase", fmt.Sprint("j", j), x.base+30_000)
					last := es[len(es)-1]
					if corrected := last.value == 11 && last.revision > 0; corrected != (late == "correct") {
						t.Errorf("j%d was published %v", j, es)
					}
				}
			})
		})
	}
}
