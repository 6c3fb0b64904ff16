package aggregate

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func TestExplain(t *testing.T) {
	many := []labels.Labels{
		labels.FromStrings("__name__", "m", "pod", "1", "app", "x", "team", "r"),
		labels.FromStrings("__name__", "m", "pod", "2", "app", "x", "team", "r"),
		labels.FromStrings("__name__", "m", "pod", "3", "app", "y", "team", "r"),
		labels.FromStrings("__name__", "m", "pod", "4", "app", "z", "team", "s"),
		labels.FromStrings("__name__", "other", "pod", "1", "app", "x", "team", "r"),
	}
	for _, tc := range []struct {
		name, rule                          string
		largest                             int
		series, discarded, groups, overflow int
		sizes, outputs                      []string
	}{
		{"by", "match: m, by: [app], outputs: [total, max]", 2, 4, 0, 3, 0,
			[]string{`2 {__name__="m", app="x"}`, `1 {__name__="m", app="y"}`},
			[]string{`{__name__="m:1m_by_app_max", app="x"}`, `{__name__="m:1m_by_app_total", app="x"}`}},
		{"all", "by: [__name__], outputs: [last]", 5, 5, 0, 2, 0,
			[]string{`4 {__name__="m"}`, `1 {__name__="other"}`}, []string{`{__name__="m:1m_last"}`}},
		{"none", "match: absent, outputs: [last]", 5, 0, 0, 0, 0, nil, nil},
		{"discarded", "match: m, without: [pod], outputs: [last], input_relabel_configs: [{action: drop, source_labels: [app], regex: x}]", 0, 4, 2, 2, 0, nil,
			[]string{`{__name__="m:1m_without_pod_last", app="y", team="r"}`}},
		{"all discarded", "match: m, outputs: [last], input_relabel_configs: [{action: drop, source_labels: [app], regex: '.+'}]", 1, 4, 4, 0, 0, nil, nil},
		{"overflow", "match: m, by: [app], outputs: [last], max_groups: 2", -1, 4, 0, 3, 1, nil, []string{`{__name__="m:1m_by_app_last", app="x"}`}},
		{"overflow of a tenant", "match: m, by: [app, team], outputs: [last], max_groups: 1, tenant_label: team", 1, 4, 0, 3, 1,
			[]string{`2 {__name__="m", app="x", team="r"}`}, []string{`{__name__="m:1m_by_app_team_last", app="x", team="r"}`}},
		{"distributions", "match: m, by: [app], outputs: ['quantiles(0.5, 0.99)', histogram_bucket]", 0, 4, 0, 3, 0, nil, []string{
			`{__name__="m:1m_by_app_histogram_bucket", app="x", vmrange="..."}`,
			`{__name__="m:1m_by_app_quantiles", app="x", quantile="0.5"}`,
			`{__name__="m:1m_by_app_quantiles", app="x", quantile="0.99"}`}},
		{"dropped output", "match: m, by: [app], outputs: [total, max], output_relabel_configs: [{action: drop, source_labels: [__name__], regex: '.*max'}]", 0, 4, 0, 3, 0, nil,
			[]string{`{__name__="m:1m_by_app_total", app="x"}`}},
	} {
		all := Explain(loadRules(t, "rules: [{interval: 1m, "+tc.rule+"}]"), slices.Values(many), tc.largest)
		if len(all) != 1 {
			t.Fatalf("%s: %d explanations", tc.name, len(all))
		}
		e := all[0]
		equal(t, tc.name+": series, discarded, groups, overflow", []int{e.Series, e.Discarded, e.Groups, e.Overflow}, []int{tc.series, tc.discarded, tc.groups, tc.overflow})
		var sizes, outputs []string
		for _, g := range e.Largest {
			sizes = append(sizes, string(rune('0'+g.Series))+" "+g.Group.String())
		}
		for _, o := range e.Outputs {
			outputs = append(outputs, o.String())
		}
		slices.Sort(outputs)
		equal(t, tc.name+": largest", sizes, tc.sizes)
		equal(t, tc.name+": outputs", outputs, tc.outputs)
		if e.Example.IsEmpty() != (e.Groups == 0) {
			t.Errorf("%s: example %s", tc.name, e.Example)
		}
	}
}

const topRules = `
rules:
- {name: small, interval: 1m, match: kept, by: [job], outputs: [total]}
- {name: big, interval: 1m, match: dropped, by: [instance], outputs: [total], max_groups: 2, keep_input: false}
`

func TestTop(t *testing.T) {
	m := newMemory()
	r := newRig(t, topRules, nil)
	equal(t, "nothing", r.Top(5), Tops{
		Rules:  []RuleTop{{Rule: "big"}, {Rule: "small"}},
		Groups: []GroupTop{}, Labels: []LabelTop{},
	})
	newClient(t, r.Appendable(m)).send(10, 1, series("kept", "a"), series("dropped", "a"), series("dropped", "b"),
		series("dropped", "c"), series("dropped", "d"), labels.FromStrings("__name__", "dropped", "instance", "a", "job", "k"))
	full := r.Top(5)
	equal(t, "rules", full.Rules, []RuleTop{{"big", 5, 2, 2}, {"small", 1, 1, 0}})
	group := func(instance string) labels.Labels {
		return labels.FromStrings("__name__", "dropped", "instance", instance)
	}
	equal(t, "groups", full.Groups, []GroupTop{
		{"big", group("a"), 2}, {"big", group("overflow"), 2}, {"big", group("b"), 1},
		{"small", labels.FromStrings("__name__", "kept", "job", "j"), 1},
	})
	equal(t, "heaviest label", full.Labels[0], LabelTop{"big", "__name__", "dropped", 5, 3})
	one := r.Top(1)
	equal(t, "one", []int{len(one.Rules), len(one.Groups), len(one.Labels)}, []int{1, 1, 1})
	equal(t, "less than none", r.Top(-1), Tops{Rules: []RuleTop{}, Groups: []GroupTop{}, Labels: []LabelTop{}})
}

// What a rule makes whose samples are not stored is what the island's rule takes.
func TestRecall(t *testing.T) {
	r := newRig(t, topRules, nil)
	newClient(t, r.Appendable(newMemory())).send(10, 1, series("kept", "a"), series("dropped", "a"), series("dropped", "b"))
	all := Explain(loadRules(t, topRules), slices.Values([]labels.Labels{series("kept", "a")}), 1)
	for i := range all {
		all[i].Recall(r.Top(10), 1)
	}
	small, big := all[0], all[1]
	if small.Running || !big.Running {
		t.Fatalf("running: small %v, big %v, want only big", small.Running, big.Running)
	}
	equal(t, "series and groups of big", []int{big.Series, big.Groups}, []int{2, 2})
	equal(t, "largest of big", big.Largest, []GroupSize{{labels.FromStrings("__name__", "dropped", "instance", "a"), 1}})
	equal(t, "outputs of big", big.Outputs, []labels.Labels{labels.FromStrings("__name__", "dropped:1m_by_instance_total", "instance", "a")})
	none := Explanation{Rule: big.Rule}
	if none.Recall(Tops{}, 1); none.Running || none.Series != 0 {
		t.Errorf("an island without the rule said %+v", none)
	}
}

func TestAskTop(t *testing.T) {
	status, body := http.StatusOK, ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != TopPath+"?limit=7" {
			t.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body)) // the client notices
	}))
	defer s.Close()
	for _, tc := range []struct {
		status          int
		body, want, bad string
	}{
		{200, `{"rules":[{"rule":"r","series":3}],"groups":[{"rule":"r","group":{"a":"b"},"series":3}]}`, "r", ""},
		{503, "the island is still starting\n", "", "503 Service Unavailable: the island is still starting"},
		{200, "{", "", "read the answer"},
	} {
		status, body = tc.status, tc.body
		got, err := AskTop(t.Context(), http.DefaultClient, s.URL+"/", 7)
		if tc.bad != "" {
			if err == nil || !strings.Contains(err.Error(), tc.bad) {
				t.Errorf("%v, want %s", err, tc.bad)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "rules", got.Rules, []RuleTop{{Rule: "r", Series: 3}})
		equal(t, "groups", got.Groups, []GroupTop{{Rule: "r", Group: labels.FromStrings("a", "b"), Series: 3}})
	}
	if _, err := AskTop(t.Context(), http.DefaultClient, "http://127.0.0.1:0", 7); err == nil {
		t.Error("an island that is not there answered")
	}
}
