package alert

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/atoll-mesh/atoll/alert/global"
)

func TestParseGlobal(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	groups, err := ParseGlobal("slo", []byte(`groups:
  - name: errors
    interval: 30s
    on_missing: fire
    labels: {team: web}
    rules:
      - {alert: Errors, expr: 'sum(rate(errors_total[5m])) > 1', for: 5m}
      - {record: errors:rate5m, expr: 'sum(rate(errors_total[5m]))', on_missing: ignore}
  - name: rest
    rules: [{alert: Gone, expr: 'absent(up)'}]
`), p)
	if err != nil {
		t.Fatal(err)
	}
	first, rest := groups[0], groups[1]
	if first.Document != "slo" || first.Interval != 30*time.Second || first.Rules[0].OnMissing != global.Fire || first.Rules[0].For != 5*time.Minute ||
		first.Rules[0].Labels.Get("team") != "web" || first.Rules[1].OnMissing != global.Ignore || rest.Rules[0].OnMissing != global.Keep {
		t.Errorf("read as %+v", groups)
	}
	for text, want := range map[string]string{
		"groups:\n  - name: a\n    rules:\n      - alert: X\n        expr: sum(\n":                         "globalrules/slo:5:",
		"groups:\n  - name: a\n    on_missing: maybe\n    rules: []\n":                                     "globalrules/slo:3:17: on_missing",
		"groups:\n  - name: a\n    rules:\n      - {record: x, expr: up, on_missing: fire}\n":              "is for alerts",
		"groups:\n  - name: a\n    on_mising: keep\n":                                                      `unknown field "on_mising"`,
		"groups:\n  - name: a\n    rules:\n      - {alert: X, expr: up, on_missing: [keep]}\n":             "must be keep, fire or ignore",
		"groups:\n  - name: a\n    rules: [{alert: X, expr: up}]\n  - name: a\n    rules: []\n":            "stands twice",
		"groups:\n  - name: a\n    rules: [{alert: X, expr: up, labels: {'__name__': y}}]\n":               "__name__",
		"groups:\n" + strings.Repeat("  - name: a\n", 1) + "    rules: [{expr: up}]\nislands: '{a=\"b\"}'": "islands",
	} {
		if _, err := ParseGlobal("slo", []byte(text), p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
	if problems := CheckRules("x", []byte("groups:\n  - name: a\n    on_missing: keep\n"), p); len(problems) == 0 {
		t.Error("a rule of one island may say on_missing, where it means nothing")
	}
	if groups, err := ParseGlobal("empty", nil, p); err != nil || len(groups) != 0 {
		t.Errorf("an empty document: %v, %v", groups, err)
	}
}

func FuzzParseGlobal(f *testing.F) {
	f.Add("groups:\n  - name: a\n    on_missing: fire\n    rules:\n      - {alert: X, expr: up, on_missing: keep}\n")
	f.Add("a: &x {name: g}\ngroups: [*x]\n")
	f.Add("<<: {groups: [{name: a}]}\n")
	f.Add("groups: [null, {name: b, rules: [null]}]\n")
	p := parser.NewParser(parser.Options{})
	f.Fuzz(func(t *testing.T, text string) {
		groups, err := ParseGlobal("x", []byte(text), p)
		for _, g := range groups {
			for _, r := range g.Rules {
				if err == nil && (r.OnMissing == "" || (r.Alert == "") == (r.Record == "")) {
					t.Errorf("%q: rule %+v", text, r)
				}
			}
		}
	})
}
