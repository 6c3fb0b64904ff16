package dimension

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"

	"github.com/atoll-mesh/atoll/health"
)

// roster is the members that all islands of a test see.
type roster struct {
	mu   sync.Mutex
	list []string
}

func (r *roster) Members() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

func (r *roster) set(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = names
}

// islands starts one generator a name. All read the rig's store, as if each
// could query the samples of all, and each records into a store of its own,
// which own keeps by name.
//
// Without listed they find the values by questions, too.
func (r *rig) islands(members *roster, own map[string]*rig, names []string, rule Rule, listed bool) map[string]*Generator {
	out := map[string]*Generator{}
	rule.Scope = ScopeAll
	for _, name := range names {
		o := r.options(Config{Rules: []Rule{rule}})
		o.Members = func() (string, []string) { return name, members.Members() }
		query := rules.EngineQueryFunc(r.engine, r.db)
		whole := func(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
			if r.missing.Load() {
				return nil, errors.New("an island is missing")
			}
			return query(ctx, expr, at)
		}
		o.Global = &Source{Query: query, Whole: whole, Queryable: r.db}
		if !listed {
			o.Global.Queryable = nil
		}
		if own[name] == nil {
			own[name] = &rig{t: r.t, db: openDB(r.t, r.t.TempDir())}
		}
		o.Appendable = own[name].db
		o.Registerer, o.Health = prometheus.NewRegistry(), health.New(nil)
		out[name] = r.start(o)
	}
	return out
}

// owners returns which islands evaluate each value now.
func owners(islands map[string]*Generator) map[string][]string {
	out := map[string][]string{}
	for name, g := range islands {
		for _, group := range g.RuleGroups() {
			out[group.Name()] = append(out[group.Name()], name)
		}
	}
	return out
}

// closeAll stops the generators, then closes what they record into.
func (r *rig) closeAll(own map[string]*rig) {
	for _, stop := range r.stop {
		stop()
	}
	for _, o := range own {
		o.close()
	}
}

// merge puts the stores of all islands together, as a global query would.
func merge(own map[string]*rig) map[string][]point {
	out := map[string][]point{}
	for _, o := range own {
		for series, points := range o.recorded("svc:requests:rate1m") {
			out[series] = append(out[series], points...)
		}
	}
	for _, points := range out {
		slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.t, b.t) })
	}
	return out
}

// TestSpread shares 60 values among three islands: each has one owner, every
// sample is there once, and when a member leaves and comes back only its share
// moves, without a gap or a marker.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		names := []string{"atoll", "bikini", "canton"}
		members := &roster{}
		members.set(names...)
		own := map[string]*rig{}
		defer r.closeAll(own)
		islands := r.islands(members, own, names, perService(15*time.Second), true)
		scrape := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Second) {
				for i := range 60 {
					r.append(requests(fmt.Sprintf("s%d", i), "p", float64(time.Now().Unix()%100000)))
				}
			}
			synctest.Wait()
		}
		time.Sleep(8 * time.Second) // members leave between the evaluations of two ticks
		scrape(2 * time.Minute)
		before := owners(islands)
		share := map[string]int{}
		for value, by := range before {
			if len(by) != 1 {
				t.Errorf("%s is evaluated by %v, want one island", value, by)
			}
			share[by[0]]++
		}
		if len(before) != 60 {
			t.Fatalf("%d values have an owner, want 60", len(before))
		}
		for _, name := range names {
			if share[name] < 8 || share[name] > 34 {
				t.Errorf("%s has %d of 60 values, which is no fair share", name, share[name])
			}
		}

		members.set("atoll", "canton")
		r.stop[1]() // bikini
		scrape(time.Minute)
		left := map[string]*Generator{"atoll": islands["atoll"], "canton": islands["canton"]}
		after := owners(left)
		for value, by := range after {
			if was := before[value][0]; was != "bikini" && by[0] != was {
				t.Errorf("%s moved from %s to %s, although both stayed", value, was, by[0])
			}
			if len(by) != 1 {
				t.Errorf("%s is evaluated by %v, want one island", value, by)
			}
		}
		if len(after) != 60 {
			t.Errorf("%d values have an owner after one left, want 60", len(after))
		}

		back := r.islands(members, own, []string{"bikini"}, perService(15*time.Second), true)
		members.set(names...)
		maps.Copy(left, back)
		scrape(time.Minute)
		if again := owners(left); !maps.EqualFunc(before, again, slices.Equal) {
			t.Errorf("after it came back the owners are %v, want %v as before", again, before)
		}
		recorded := merge(own)
		for series, points := range recorded {
			for i, p := range points {
				if p.stale || i > 0 && p.t-points[i-1].t != 15000 {
					t.Errorf("%s: sample %d is %v, want one each 15 s over all islands, and no marker", series, i, p)
				}
			}
		}
		if len(recorded) != 60 {
			t.Errorf("%d series recorded, want 60", len(recorded))
		}
	})
}

// TestPartition: two islands that do not see each other evaluate everything;
// what they write is the same.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		one, other := &roster{}, &roster{}
		own := map[string]*rig{}
		defer r.closeAll(own)
		islands := r.islands(one, own, []string{"atoll"}, perService(15*time.Second), true)
		maps.Copy(islands, r.islands(other, own, []string{"bikini"}, perService(15*time.Second), true))
		time.Sleep(time.Second)
		for i := range 12 {
			r.append(requests("cart", "p", float64(i)), requests("pay", "p", float64(2*i)))
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		for value, by := range owners(islands) {
			if len(by) != 2 {
				t.Errorf("%s is evaluated by %v, want both islands", value, by)
			}
		}
		for name, g := range islands {
			if s := g.Rules()[0]; s.Failing != 0 || s.Rules != 2 {
				t.Errorf("%s: %+v, want two rules and no failure", name, s)
			}
		}
		if diff := compare(own["atoll"].recorded("svc:requests:rate1m"), own["bikini"].recorded("svc:requests:rate1m")); diff != "" {
			t.Errorf("the islands recorded different things:\n%s", diff)
		}
	})
}

// TestOwner: the hash is fixed for good, as islands of different versions must
// agree, and only the share of a member that leaves moves.
func TestOwner(t *testing.T) {
	if got, want := weigh("rule", `{s="a"}`, "m"), uint64(0x6de5b4d438897880); got != want {
		t.Errorf("the hash is %#x, want %#x: islands of another version would disagree", got, want)
	}
	var members []string
	for i := range 10 {
		members = append(members, fmt.Sprintf("island-%d", i))
	}
	share := map[string]float64{}
	const values = 20000
	for i := range values {
		key := fmt.Sprint("{service=", i, "}")
		was := owner("r", key, members)
		share[was]++
		if now := owner("r", key, members[1:]); was != members[0] && now != was {
			t.Fatalf("%s moved from %s to %s although %s left", key, was, now, members[0])
		}
		mirrored := slices.Clone(members)
		slices.Reverse(mirrored)
		if owner("r", key, mirrored) != was {
			t.Fatalf("%s: the owner depends on the order of members", key)
		}
	}
	for m, n := range share {
		if math.Abs(n/values*10-1) > 0.1 {
			t.Errorf("%s owns %.1f %%, want 10 within 1", m, n/values*100)
		}
	}
}

// TestOnMissing: while an island is missing, a rule records nothing, and ends
// nothing; one that ignores it goes on.
func TestOnMissing(t *testing.T) {
	for word, ticks := range map[string]int{"": 0, OnMissingKeep: 0, OnMissingIgnore: 8} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			defer r.close()
			members := &roster{}
			members.set("a")
			own := map[string]*rig{}
			defer r.closeAll(own)
			rule := perService(15 * time.Second)
			rule.OnMissing = word
			g := r.islands(members, own, []string{"a"}, rule, false)["a"]
			scrape := func(d time.Duration) {
				for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Second) {
					r.append(requests("cart", "p", float64(time.Now().Unix()%100000)))
				}
				synctest.Wait()
			}
			scrape(2 * time.Minute)
			time.Sleep(7 * time.Second) // between two ticks
			r.missing.Store(true)
			from := time.Now()
			scrape(2 * time.Minute)
			to := time.Now()
			failing, running := g.Rules()[0].Failing, len(g.RuleGroups())
			r.missing.Store(false)
			scrape(time.Minute)
			during, after := 0, 0
			for _, points := range own["a"].recorded("svc:requests:rate1m") {
				for _, p := range points {
					switch at := time.UnixMilli(p.t); {
					case at.After(from) && at.Before(to):
						during++
					case at.After(to):
						after++
					}
				}
			}
			if during != ticks || after < 3 || running != 1 || (failing == 0) != (ticks > 0) {
				t.Errorf("on_missing %q: %d samples while an island is missing, want %d; then %d; %d rules, %d failing", word, during, ticks, after, running, failing)
			}
		})
	}
}
