package dimension

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	promvalue "github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"
)

func requests(service, pod string, v float64) sample {
	return sample{labels.FromStrings(labels.MetricName, "requests_total", "service", service, "pod", pod), time.Now().UnixMilli(), v}
}

func perService(interval time.Duration) Rule {
	return Rule{Record: "svc:requests:rate1m", Expr: `sum by (service) (rate(requests_total[1m]))`, SplitBy: []string{"service"}, Interval: model.Duration(interval)}
}

// TestFollowsValues makes a value appear and vanish, for a short and a long
// interval, and asks how long the generator took to notice.
func TestFollowsValues(t *testing.T) {
	for _, interval := range []time.Duration{15 * time.Second, 5 * time.Minute} {
		t.Run(interval.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				defer r.close()
				g := r.start(r.options(Config{Rules: []Rule{perService(interval)}}))
				status := func() Status { synctest.Wait(); return g.Rules()[0] }
				scrape := func(d time.Duration, services ...string) {
					for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Second) {
						for _, s := range services {
							r.append(requests(s, "p", float64(time.Now().Unix()%100000)))
						}
					}
				}
				time.Sleep(3 * time.Second)
				scrape(2*time.Minute, "cart")
				if s := status(); s.Rules != 1 || s.Values != 1 {
					t.Fatalf("%d rules for %d values, want 1 and 1", s.Rules, s.Values)
				}
				scrape(time.Minute, "cart", "pay")
				if s := status(); s.Rules != 2 {
					t.Errorf("a minute after a value appeared there are %d rules, want 2", s.Rules)
				}
				// pay ends; its last window is a minute long, and ends with a poll.
				scrape(50*time.Second, "cart")
				if s := status(); s.Rules != 2 {
					t.Errorf("a value whose last window is not over has lost its rule: %d rules, want 2", s.Rules)
				}
				scrape(10*time.Second+time.Minute, "cart")
				if s := status(); s.Rules != 1 || s.Values != 1 {
					t.Errorf("a minute after a value's last window %d rules for %d values are left, want 1 and 1", s.Rules, s.Values)
				}
				scrape(10*time.Minute, "cart", "pay")
				if s := status(); s.Rules != 2 {
					t.Errorf("a value that came back has no rule: %d rules, want 2", s.Rules)
				}
				for series, points := range r.recorded("svc:requests:rate1m") {
					for _, p := range points {
						if p.t%interval.Milliseconds() != 0 {
							t.Errorf("%s: sample at %d, not aligned to the interval", series, p.t)
						}
					}
				}
			})
		})
	}
	goleak.VerifyNone(t)
}

// TestVanishedSeriesEndStale looks for the marker of a value whose series were
// marked stale themselves, and of one that was filtered out by a reload.
func TestVanishedSeriesEndStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		rule := perService(15 * time.Second)
		g := r.start(r.options(Config{Rules: []Rule{rule}}))
		time.Sleep(time.Second)
		for i := range 12 {
			for _, s := range []string{"cart", "pay", "ship"} {
				if s == "ship" && i > 8 {
					continue
				}
				one := requests(s, "p", float64(i))
				if s == "ship" && i == 8 {
					one.v = math.Float64frombits(promvalue.StaleNaN)
				}
				r.append(one)
			}
			time.Sleep(10 * time.Second)
		}
		rule.Filter = map[string]string{"service": "cart|ship"}
		commit, _, err := g.Prepare(Config{Rules: []Rule{rule}})
		if err != nil {
			t.Fatal(err)
		}
		commit()
		time.Sleep(2 * time.Minute)
		for series, points := range r.recorded("svc:requests:rate1m") {
			if last := points[len(points)-1]; !last.stale {
				t.Errorf("%s ends with %v, want a staleness marker", series, last)
			}
			for _, p := range points[:len(points)-1] {
				if p.stale {
					t.Errorf("%s has a staleness marker at %d, before its end", series, p.t)
				}
			}
		}
		if n := len(r.recorded("svc:requests:rate1m")); n != 3 {
			t.Errorf("%d series recorded, want 3", n)
		}
	})
}

// TestCap keeps the values with the most series and says which it left out.
func TestCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		rule := perService(15 * time.Second)
		rule.MaxRules = 3
		g := r.start(r.options(Config{Rules: []Rule{rule}}))
		scrape := func(services int) {
			for i := range 9 {
				for s := range services {
					for p := range s + 1 {
						r.append(requests(fmt.Sprintf("s%d", s), fmt.Sprintf("p%d", p), float64(i)))
					}
				}
				time.Sleep(10 * time.Second)
			}
			synctest.Wait()
		}
		time.Sleep(time.Second)
		scrape(5)
		s := g.Rules()[0]
		want := []LeftOut{{`{service="s0"}`, 1}, {`{service="s1"}`, 2}}
		if s.Rules != 3 || fmt.Sprint(s.LeftOut) != fmt.Sprint(want) {
			t.Errorf("%d rules, left out %v, want 3 and %v", s.Rules, s.LeftOut, want)
		}
		for _, w := range []string{"s0", "s1"} {
			if _, has := r.recorded("svc:requests:rate1m")[`{service="`+w+`"}`]; has {
				t.Errorf("%s was recorded although it has the fewest series", w)
			}
		}
		active := r.health.Active()
		if len(active) != 1 || active[0].Code != "aggregate-dimension-capped" {
			t.Fatalf("warnings %v, want one of the cap", active)
		}
		for _, part := range []string{"svc:requests:rate1m: 5 values of service", "max_rules is 3", `{service="s0"} (1 series), {service="s1"} (2 series)`} {
			if !strings.Contains(active[0].Text, part) {
				t.Errorf("the warning %q does not say %q", active[0].Text, part)
			}
		}
		if v := testutil.ToFloat64(g.metrics.leftOut.WithLabelValues("svc:requests:rate1m")); v != 2 {
			t.Errorf("atoll_dimension_left_out_values is %v, want 2", v)
		}
		rule.MaxRules = 5
		commit, _, err := g.Prepare(Config{Rules: []Rule{rule}})
		if err != nil {
			t.Fatal(err)
		}
		commit()
		scrape(5)
		if s := g.Rules()[0]; s.Rules != 5 || len(s.LeftOut) != 0 || len(r.health.Active()) != 0 {
			t.Errorf("after raising the cap: %d rules, left out %v, warnings %v", s.Rules, s.LeftOut, r.health.Active())
		}
	})
}

// TestReloadKeepsRunning changes one rule of two: the other's groups must be the
// same, and the changed one must go on without a gap or a marker.
func TestReloadKeepsRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		one, two := perService(15*time.Second), perService(15*time.Second)
		two.Record, two.Name = "second", "second"
		g := r.start(r.options(Config{Rules: []Rule{one, two}}))
		go func() {
			for i := range 60 {
				r.append(requests("cart", "p", float64(i*10)), requests("pay", "p", float64(i*20)))
				time.Sleep(5 * time.Second)
			}
		}()
		time.Sleep(100*time.Second + time.Millisecond)
		before := g.RuleGroups()
		if len(before) != 4 {
			t.Fatalf("%d groups, want 4", len(before))
		}
		two.Expr = `sum by (service) (rate(requests_total[30s]))`
		commit, _, err := g.Prepare(Config{Rules: []Rule{one, two}})
		if err != nil {
			t.Fatal(err)
		}
		commit()
		commit, _, _ = g.Prepare(Config{Rules: []Rule{one, two}}) // before it looked at the values
		commit()
		time.Sleep(100 * time.Second)
		synctest.Wait()
		after := g.RuleGroups()
		if len(after) != 4 {
			t.Fatalf("%d groups after the reload, want 4", len(after))
		}
		for i := range after {
			changed := strings.HasPrefix(after[i].Name(), "second")
			if kept := before[i] == after[i]; kept == changed {
				t.Errorf("group %s: its rule was changed: %v, it was kept: %v", after[i].Name(), changed, kept)
			}
		}
		for _, metric := range []string{"svc:requests:rate1m", "second"} {
			for series, points := range r.recorded(metric) {
				for i, p := range points {
					if p.stale || i > 0 && p.t-points[i-1].t != 15000 {
						t.Errorf("%s%s: sample %d is %v after %v, want one each 15 s", metric, series, i, p, points[i-1])
					}
				}
				if len(points) < 12 {
					t.Errorf("%s%s has %d samples, want 12 or more", metric, series, len(points))
				}
			}
		}
		// A rule no longer declared ends stale.
		commit, _, _ = g.Prepare(Config{Rules: []Rule{one}})
		commit()
		time.Sleep(time.Minute)
		for series, points := range r.recorded("second") {
			if !points[len(points)-1].stale {
				t.Errorf("second%s does not end stale: %v", series, points[len(points)-1])
			}
		}
		time.Sleep(time.Minute) // the scraper ends
	})
}

// TestReloadEndsWhatItRenames: narrow rules that go on under another name leave
// nothing of the old one behind, and do not disturb what stays.
func TestReloadEndsWhatItRenames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		rule := perService(15 * time.Second)
		rule.Name, rule.Labels = "fixed", map[string]string{"era": "old"}
		g := r.start(r.options(Config{Rules: []Rule{rule}}))
		time.Sleep(time.Second)
		for i := range 24 {
			r.append(requests("cart", "p", float64(i)), requests("pay", "p", float64(i)))
			time.Sleep(10 * time.Second)
			if i == 12 {
				rule.Labels = map[string]string{"era": "new"}
				commit, _, err := g.Prepare(Config{Rules: []Rule{rule}})
				if err != nil {
					t.Fatal(err)
				}
				commit()
			}
		}
		recorded := r.recorded("svc:requests:rate1m")
		for series, points := range recorded {
			if last := points[len(points)-1]; last.stale != strings.Contains(series, "old") {
				t.Errorf("%s ends with %v", series, last)
			}
		}
		if len(recorded) != 4 {
			t.Errorf("%d series, want two values before and after", len(recorded))
		}
	})
}

// blindable fails to list values when told.
type blindable struct {
	storage.Queryable
	blind atomic.Bool
}

func (b *blindable) Querier(mint, maxt int64) (storage.Querier, error) {
	if b.blind.Load() {
		return nil, errors.New("disk on fire")
	}
	return b.Queryable.Querier(mint, maxt)
}

// TestBlindGoesOn: rules stay when values cannot be listed, failures are told,
// and all of it ends when the store answers again.
func TestBlindGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		o := r.options(Config{Rules: []Rule{perService(15 * time.Second)}})
		b := &blindable{Queryable: r.db}
		o.Queryable = b
		g := r.start(o)
		scrape := func() {
			for i := range 12 {
				r.append(requests("cart", "p", float64(i)))
				time.Sleep(10 * time.Second)
			}
			synctest.Wait()
		}
		time.Sleep(time.Second)
		scrape()
		b.blind.Store(true)
		scrape()
		codes := map[string]bool{}
		for _, a := range r.health.Active() {
			codes[a.Code] = true
		}
		if s := g.Rules()[0]; s.Rules != 1 || s.Failing != 1 || !strings.Contains(s.LastError, "disk on fire") || !codes["aggregate-dimension-blind"] || !codes["aggregate-dimension-failing"] {
			t.Errorf("while the store fails: %+v, warnings %v", s, codes)
		}
		b.blind.Store(false)
		scrape()
		if s := g.Rules()[0]; s.Failing != 0 || len(r.health.Active()) != 0 {
			t.Errorf("after the store is back: %+v, warnings %v", s, r.health.Active())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.Run(ctx); err == nil {
			t.Error("a second Run was let through")
		}
	})
}
