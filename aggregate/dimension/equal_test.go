package dimension

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
)

// TestEqualsUndivided runs divided rules beside the undivided ones, over random
// series that come and go, and compares every sample they record, staleness
// markers included.
func TestEqualsUndivided(t *testing.T) {
	exprs := []string{
		`sum by (service, code, zone) (rate(requests_total[1m]))`,
		`sum by (service, code, zone) (increase(requests_total{code!="404"}[2m]) > 20)`,
		`requests_total > 150`,
		`avg without (pod) (irate(requests_total[90s])) / on (service, zone, code) max by (service, zone, code) (requests_total)`,
		`topk by (service, code, zone) (2, requests_total)`,
		`count by (service, zone, code) (requests_total) unless on (service, zone, code) (count by (service, zone, code) (requests_total) > 4)`,
		`sum by (service, zone, code) (max_over_time(sum without (pod) (requests_total)[2m:30s]))`,
		`label_replace(sum without (pod) (requests_total), "team", "$1", "service", "(.).*")`,
	}
	splits := [][]string{{"service"}, {"zone"}, {"service", "code"}, {"code", "zone", "service"}}
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 2))
		expr := exprs[int(seed)%len(exprs)]
		split := splits[random.IntN(len(splits))]
		t.Run(fmt.Sprintf("%d/%s by %s", seed, expr, split), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { equalsUndivided(t, seed, expr, split) })
		})
	}
}

func equalsUndivided(t *testing.T, seed uint64, expr string, split []string) {
	r := newRig(t)
	defer r.close()
	spread := model.Duration(2 * time.Second)
	r.start(r.options(Config{Rules: []Rule{{
		Record: "divided", Expr: expr, SplitBy: split, Interval: model.Duration(20 * time.Second), Spread: &spread,
		QueryOffset: model.Duration(time.Second),
	}}}))

	parsed, err := experimental().ParseExpr(expr)
	if err != nil {
		t.Fatal(err)
	}
	offset := time.Second
	whole := rules.NewGroup(rules.GroupOptions{
		Name: "whole", Interval: 20 * time.Second, QueryOffset: &offset,
		Rules: []rules.Rule{rules.NewRecordingRule("whole", parsed, labels.EmptyLabels())},
		Opts: &rules.ManagerOptions{
			QueryFunc: rules.EngineQueryFunc(r.engine, r.db), AppendableV2: r.db, Metrics: rules.NewGroupMetrics(nil),
		},
	})
	m := newMesh(seed, 40)
	// 2000-01-01 begins at a tick. Scrapes fall between the ticks and what is spread.
	for range 15 {
		time.Sleep(3 * time.Second)
		r.append(m.step(time.Now().UnixMilli(), 12)...)
		time.Sleep(10 * time.Second)
		r.append(m.step(time.Now().UnixMilli(), 12)...)
		time.Sleep(7 * time.Second)
		whole.Eval(t.Context(), time.Now())
	}
	time.Sleep(3 * time.Second)
	synctest.Wait()
	want, got := r.recorded("whole"), r.recorded("divided")
	if len(want) < 3 {
		t.Fatalf("the undivided rule recorded %d series: nothing is compared", len(want))
	}
	if diff := compare(want, got); diff != "" {
		t.Error(diff)
	}
}
