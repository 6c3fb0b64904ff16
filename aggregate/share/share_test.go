package share

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/health"
)

// nobody is a network on which nothing gets through.
type nobody struct{}

func (nobody) Send(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("no way") }

// alone is one island whose samples come to the returned map, by series.
func alone(t *testing.T, change func(*Options)) (s *Share, got map[string][]partial.Sample) {
	got = map[string][]partial.Sample{}
	o := Options{
		Self: "a", Rules: load(t, ruleText), Members: func() []string { return nil }, Transport: nobody{}, Start: 1,
		Publish: func(_ context.Context, samples []partial.Sample) error {
			for _, x := range samples {
				got[x.Labels.Get("__name__")] = append(got[x.Labels.Get("__name__")], x)
			}
			return nil
		},
	}
	change(&o)
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, got
}

func one(s *Share, end int64, job string, increase float64) *partial.Window {
	ls := labels.FromStrings("__name__", "m", "job", job)
	return &partial.Window{Rule: s.o.Rules.Rules[0], End: end, Rows: []partial.Row{{Group: ls, Hash: ls.Hash(), Acc: partial.Acc{Increase: partial.Sum2{Hi: increase}}}}}
}

// A backlog of a window that is past is published once for groups that were not in
// it, dropped for those that were, and all of it is in the next total.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, got := alone(t, func(*Options) {})
		base := s.o.Rules.Rules[0].Window(time.Now().UnixMilli())
		push := func(w *partial.Window) {
			t.Helper()
			if err := s.Push(w); err != nil {
				t.Fatal(err)
			}
			s.step(t.Context())
			time.Sleep(30 * time.Second)
			s.step(t.Context())
		}
		push(one(s, base, "x", 1))
		push(one(s, base+30_000, "x", 2))
		push(one(s, base+10_000, "x", 4))
		push(one(s, base, "x", 8))
		push(one(s, base+60_000, "x", 16))
		time.Sleep(250 * time.Second) // late parts are kept for a while
		s.step(t.Context())
		var values, totals []float64
		for _, x := range got["m:10s_by_job_increase"] {
			values = append(values, x.V)
		}
		for _, x := range got["m:10s_by_job_total"] {
			totals = append(totals, x.V)
		}
		if want := []float64{1, 2, 4, 16}; !equal(values, want) {
			t.Errorf("increases are %v, want %v", values, want)
		}
		if want := []float64{1, 3, 31}; !equal(totals, want) {
			t.Errorf("totals are %v, want %v", totals, want)
		}
		if n := testutil.ToFloat64(s.m.rows.WithLabelValues("late")); n != 1 {
			t.Errorf("%v rows are late, want 1", n)
		}
		if parts, bytes := s.waiting(); parts != 0 || bytes != 0 {
			t.Errorf("%d parts of %d bytes wait, want none", parts, bytes)
		}
	})
}

func equal(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Parts for an island out of reach are bounded and counted, and a warning says so.
func TestStuckPartsAreBoundedAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list, reg := health.New(nil), prometheus.NewRegistry()
		s, got := alone(t, func(o *Options) {
			o.Members = func() []string { return []string{"a", "b"} }
			o.MaxPending, o.Health, o.Registerer = flow.Bytes(1500), list, reg
		})
		base := s.o.Rules.Rules[0].Window(time.Now().UnixMilli())
		for k := range int64(40) {
			if err := s.Push(one(s, base+k*10_000, "x", 1)); err != nil {
				t.Fatal(err)
			}
			s.step(t.Context())
			time.Sleep(time.Second)
		}
		s.step(t.Context())
		if parts, bytes := s.waiting(); bytes > 1500 || parts == 0 {
			t.Errorf("%d parts of %d bytes wait, want at most 1500 bytes", parts, bytes)
		}
		if testutil.ToFloat64(s.m.dropped.WithLabelValues("overflow")) == 0 {
			t.Error("nothing is counted as dropped")
		}
		if active := list.Active(); len(active) != 1 || active[0].Code != "aggregate-parts-stuck" {
			t.Errorf("active warnings are %v", active)
		}
		if len(got) > 0 {
			t.Errorf("published without the other island: %v", got)
		}
		problems, err := testutil.GatherAndLint(reg)
		if err != nil || len(problems) > 0 {
			t.Errorf("metrics: %v, %v", problems, err)
		}
		s.sends.Wait()
	})
}
