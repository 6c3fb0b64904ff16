package global

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/teststorage"
)

// TestRecordedSeriesEnd writes, leaves one series out, and gives the group up.
func TestRecordedSeriesEnd(t *testing.T) {
	db := teststorage.New(t)
	r := recorder{store: db, last: map[string]map[string]labels.Labels{}}
	at := time.UnixMilli(1_000_000)
	rule := &Rule{Record: "sum:x", Labels: labels.FromStrings("of", "network")}
	write := func(jobs ...string) {
		t.Helper()
		var in promql.Vector
		for _, j := range jobs {
			in = append(in, promql.Sample{Metric: labels.FromStrings("__name__", "x", "job", j), F: 1})
		}
		v, err := recorded(rule, in, 0)
		if err == nil {
			err = r.write(t.Context(), rule.key(), v, at)
		}
		if err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
	}
	write("a", "b")
	write("a")
	if err := r.end(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	q, err := db.Querier(0, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	got := map[string]string{}
	for set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "sum:x")); set.Next(); {
		it := set.At().Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			_, v := it.At()
			what := fmt.Sprint(v)
			if value.IsStaleNaN(v) {
				what = "end"
			}
			got[set.At().Labels().Get("job")+set.At().Labels().Get("of")] += what + " "
		}
	}
	if got["anetwork"] != "1 1 end " || got["bnetwork"] != "1 end " || len(got) != 2 {
		t.Errorf("stored %q", got)
	}
	if _, err := recorded(rule, promql.Vector{{Metric: labels.FromStrings("of", "a")}, {Metric: labels.FromStrings("of", "b")}}, 0); err == nil {
		t.Error("two series with the same labels are taken")
	}
}

// TestShownAsUpstream shows alerts with the times and labels that they have.
func TestShownAsUpstream(t *testing.T) {
	g := group("g", Rule{Alert: "X", Expr: "up == 0", For: time.Minute, Labels: labels.FromStrings("severity", "{{ $labels.job }}"), OnMissing: Fire})
	fires := Alert{
		Labels: labels.FromStrings("alertname", "X", "job", "a", "severity", "a"), Source: labels.FromStrings("job", "a"),
		Annotations: labels.FromStrings("summary", "s"), Value: 3, Phase: Firing, ActiveAt: 60_000, FiredAt: 120_000,
	}
	waits := Alert{Labels: labels.FromStrings("alertname", "X", "job", "b", "severity", "b"), Source: labels.FromStrings("job", "b"), Phase: Pending, ActiveAt: 90_000}
	over := Alert{Labels: labels.FromStrings("alertname", "X", "job", "c", "severity", "c"), Source: labels.FromStrings("job", "c"), Phase: Resolved, ActiveAt: 1, FiredAt: 2, ResolvedAt: 3}
	state := &State{Document: "main", Group: "g", Evaluated: 130_000, Rules: []RuleState{{Rule: g.Rules[0].key(), Alerts: []Alert{fires, waits, over}}}}
	s := GroupStatus{group: &g, state: state}
	s.describe()
	shown := s.upstream(parser.NewParser(parser.Options{}), &url.URL{Host: "x"}, time.Minute)
	rule := shown.AlertingRules()[0]
	alerts := rule.ActiveAlerts()
	slices.SortFunc(alerts, func(a, b *rules.Alert) int { return labels.Compare(a.Labels, b.Labels) })
	if len(alerts) != 2 || rule.State() != rules.StateFiring || shown.File() != "globalrules/main" || rule.Health() != rules.HealthGood {
		t.Fatalf("%d alerts, rule is %s and %s, in %s", len(alerts), rule.State(), rule.Health(), shown.File())
	}
	a, b := alerts[0], alerts[1]
	if a.State != rules.StateFiring || a.ActiveAt.UnixMilli() != 60_000 || a.FiredAt.UnixMilli() != 120_000 || a.Value != 3 || a.Annotations.Get("summary") != "s" {
		t.Errorf("the one that fires: %+v", a)
	}
	if b.State != rules.StatePending || b.ActiveAt.UnixMilli() != 90_000 {
		t.Errorf("the one that waits: %+v", b)
	}
}
