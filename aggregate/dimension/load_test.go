package dimension

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
)

// TestLoadAll reads every key.
func TestLoadAll(t *testing.T) {
	c, problems := Load("r.yml", []byte(`
dimension_concurrency: 3
dimension_rules:
- &first
  name: mesh
  record: mesh:requests:rate1m
  metric: istio_requests_total
  function: rate
  range: 2m
  aggregate: sum
  group_by: [service, code]
  split_by: [service]
  filter: {service: "a.*", cluster: eu|us}
  labels: {team: net}
  interval: 30s
  query_offset: 5s
  spread: 0s
  max_rules: 10
  scope: all
- <<: *first
  name: other
  group_by: []
  without: [pod]
`), nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	none := model.Duration(0)
	first := Rule{
		Name: "mesh", Record: "mesh:requests:rate1m", Metric: "istio_requests_total", Function: "rate",
		Range: model.Duration(2 * time.Minute), Aggregate: "sum", GroupBy: []string{"service", "code"}, SplitBy: []string{"service"},
		Filter: map[string]string{"service": "a.*", "cluster": "eu|us"}, Labels: map[string]string{"team": "net"},
		Interval: model.Duration(30 * time.Second), QueryOffset: model.Duration(5 * time.Second), Spread: &none, MaxRules: 10, Scope: ScopeAll,
	}
	other := first
	other.Name, other.GroupBy, other.Without = "other", []string{}, []string{"pod"}
	if diff := cmp.Diff(Config{Rules: []Rule{first, other}, Concurrency: 3}, c); diff != "" {
		t.Error(diff)
	}
	plans, _ := compileAll(c, compiler{parser: experimental()})
	if got, want := plans[0].whole, `sum by (service, code) (rate(istio_requests_total{cluster=~"eu|us",service=~"a.*"}[2m]))`; got != want {
		t.Errorf("whole is %s, want %s", got, want)
	}
	e, err := plans[1].narrow(value{`x"y`})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := e.String(), `sum without (pod) (rate(istio_requests_total{cluster=~"eu|us",service="x\"y"}[2m]))`; got != want {
		t.Errorf("narrow is %s, want %s", got, want)
	}
	if got, want := plans[0].reach, 2*time.Minute+5*time.Second; got != want {
		t.Errorf("reach is %s, want %s", got, want)
	}
}

// TestLoadReportsAll finds every mistake of a file, each at its place.
func TestLoadReportsAll(t *testing.T) {
	_, problems := Load("r.yml", []byte(`dimension_concurrency: -1
dimension_rules:
- record: "a b" # UTF-8 names may hold a space
  expr: |
    sum by (code) (
      rate(m[1m])
    )
  split_by: [service]
  interval: soon
  spread: 2h
- record: ok
  expr: 'm +* n'
  split_by: [service, service]
  sclit_by: [x]
  filter: {pod: "a("}
  max_rules: -4
- record: ok
  metric: m
  function: rat
  split_by: [__name__]
  scope: world
  on_missing: keep
  labels: {__name__: x}
- record: third
  metric: m
  function: rate
  split_by: [pod]
  without: [pod]
  group_by: [zone]
  on_missing: fire
- record: fourth
  expr: sum by (pod) (fourth{pod!=""})
  split_by: [pod]
- record: fifth
  expr: m * on (zone) group_left zones
  metric: m
  split_by: [pod]
- 7
`), nil)
	got := map[string]bool{}
	for _, p := range problems {
		got[p.Error()] = true
	}
	for _, want := range []string{
		`r.yml:1:24: dimension_concurrency: -1 is negative`,
		`r.yml:5:5: dimension_rules[0].expr: sum by (code) does not keep the split label "service"`,
		`r.yml:9:13: dimension_rules[0].interval: cannot be "soon"`,
		`r.yml:10:11: dimension_rules[0].spread: 2h must be`,
		`r.yml:12:13: dimension_rules[1].expr: unexpected`,
		`r.yml:13:23: dimension_rules[1].split_by[1]: "service" stands twice`,
		`r.yml:14:3: dimension_rules[1].sclit_by: unknown key`,
		`r.yml:15:12: dimension_rules[1].filter.pod: error parsing regexp`,
		`r.yml:16:14: dimension_rules[1].max_rules: -4 must be`,
		`r.yml:17:11: dimension_rules[2].record: "ok" is also the name of dimension_rules[1]`,
		`r.yml:19:13: dimension_rules[2].function: "rat" is no PromQL function`,
		`r.yml:20:13: dimension_rules[2].split_by: cannot divide by the metric name`,
		`r.yml:21:10: dimension_rules[2].scope: "world" must be local`,
		`r.yml:22:15: dimension_rules[2].on_missing: is about islands that are missing`,
		`r.yml:23:12: dimension_rules[2].labels.__name__: "__name__" is no label name`,
		`r.yml:23:12: dimension_rules[2].labels.__name__: would overwrite the split label`,
		`r.yml:28:12: dimension_rules[3].without: cannot stand beside group_by`,
		`r.yml:30:15: dimension_rules[3].on_missing: fire is for alerts`,
		`r.yml:32:9: dimension_rules[4].expr: a selector also takes the series "fourth"`,
		`r.yml:35:9: warning: dimension_rules[5].expr: zones is read whole by every narrow rule`,
		`r.yml:38:3: dimension_rules[6]: a rule must be a mapping`,
	} {
		found := false
		for line := range got {
			if strings.HasPrefix(line, want) {
				found = true
				delete(got, line)
				break
			}
		}
		if !found {
			t.Errorf("not reported: %s", want)
		}
	}
	for line := range got {
		t.Errorf("reported, but not expected: %s", line)
	}
	if _, problems := Load("r.yml", []byte("dimension_rules: [\n"), nil); !problems.Fatal() || problems[0].Line == 0 {
		t.Errorf("broken YAML: %v, want a line", problems)
	}
}

// TestCheck explains a rule on live data.
func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		g := r.start(r.options(Config{}))
		r.append(requests("old", "p", 1))
		time.Sleep(10 * time.Minute)
		r.append(requests("cart", "p", 1), requests("cart", "q", 1), requests("pay", "p", 1), requests("ship", "p", 2))
		time.Sleep(time.Second)
		rule := perService(time.Minute)
		rule.MaxRules = 2
		got, err := g.Check(t.Context(), Config{Rules: []Rule{rule}})
		if err != nil {
			t.Fatal(err)
		}
		want := []Explanation{{
			Name: rule.Record, Record: rule.Record, Expr: rule.Expr, Interval: time.Minute, Reach: time.Minute,
			Rules: []ExplainedRule{
				{Value: `{service="cart"}`, Expr: `sum by (service) (rate(requests_total{service="cart"}[1m]))`, Series: 2},
				{Value: `{service="pay"}`, Expr: `sum by (service) (rate(requests_total{service="pay"}[1m]))`, Series: 1},
			},
			LeftOut: []LeftOut{{`{service="ship"}`, 1}},
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if len(g.RuleGroups()) != 0 {
			t.Error("a check made rules")
		}
		rule.Scope = ScopeAll
		if _, err := g.Check(t.Context(), Config{Rules: []Rule{rule}}); err == nil || !strings.Contains(err.Error(), "dimension_rules[0].scope: all needs a mesh") {
			t.Errorf("scope all without a mesh: %v", err)
		}
	})
}
