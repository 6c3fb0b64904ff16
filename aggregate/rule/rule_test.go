package rule

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func one(t *testing.T, text string) *Rule {
	t.Helper()
	set, err := LoadEnv("test.yml", []byte(text), environment)
	if err != nil {
		t.Fatal(err)
	}
	return set.Rules[0]
}

// parse reads name{a="b"} or {}.
func parse(t *testing.T, text string) labels.Labels {
	t.Helper()
	s, err := ParseSelector(text)
	if err != nil || len(s) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, m := range s[0] {
		b.Set(m.Name, m.Value)
	}
	return b.Labels()
}

func TestParseSelector(t *testing.T) {
	for _, tc := range []struct {
		selector string
		yes, no  []string
	}{
		{`foo`, []string{`foo`, `foo{a="b"}`}, []string{`bar`}},
		{`{}`, []string{`foo`, `{a="b"}`}, nil},
		{`foo{a="x" or b="y"}`, []string{`foo{a="x"}`, `foo{b="y"}`}, []string{`foo`, `bar{a="x"}`, `foo{a="y"}`}},
		{`foo.bar`, []string{`{__name__="foo.bar"}`}, []string{`{__name__="fooxbar"}`, `foo`}},
		{`foo\-b\.r{a.b="c" or d\-e!~"f|g"}`, []string{`{__name__="foo-b.r","a.b"="c","d-e"="f"}`, `{__name__="foo-b.r"}`}, []string{`{__name__="foo-b.r","d-e"="f"}`, `{a="b"}`}},
		{`größe{"a.b"='c.\'d'}`, []string{`{__name__="größe","a.b"="c.'d"}`}, []string{`{__name__="größe"}`}},
		{`{or="x" or a=" or "}`, []string{`{or="x"}`, `{a=" or "}`}, []string{`{a="x"}`}},
		{`{a="x" OR b='"or"',c!="d"}`, []string{`{a="x",c="d"}`, `{b="\"or\""}`}, []string{`{b="\"or\"",c="d"}`}},
		{`{a=~"x|y.*",b!~"z"}`, []string{`{a="x"}`, `{a="yes"}`}, []string{`{a="xx"}`, `{a="x",b="z"}`}},
		{`{a=""}`, []string{`foo`}, []string{`foo{a="b"}`}},
		{`foo{for="x"}`, []string{`foo{for="x"}`}, []string{`foo`}},
	} {
		s, err := ParseSelector(tc.selector)
		if err != nil {
			t.Errorf("%s: %v", tc.selector, err)
			continue
		}
		for _, text := range tc.yes {
			if !matches(s, parse(t, text)) {
				t.Errorf("%s does not match %s", tc.selector, text)
			}
		}
		for _, text := range tc.no {
			if matches(s, parse(t, text)) {
				t.Errorf("%s matches %s", tc.selector, text)
			}
		}
	}
	for _, bad := range []string{``, `{`, `foo{a="b"} or bar`, `foo{a="b" or}`, `{a="b"`, `sum(foo)`, `foo{or}`, `{a=~"("}`, `"foo"`, `(foo)`} {
		if s, err := ParseSelector(bad); err == nil {
			t.Errorf("%q is taken for a selector: %s", bad, s)
		}
	}
}

func TestGroup(t *testing.T) {
	in := `m{job="j",instance="i",pod="p",replica="r"}`
	for _, tc := range []struct{ options, want string }{
		{`without: [instance, pod]`, `m{job="j"}`},
		{`without: [__name__, instance]`, `{job="j",pod="p"}`},
		{`by: [job, none]`, `m{job="j"}`},
		{`by: [__name__]`, `m`},
		{``, `m{job="j",instance="i",pod="p"}`},
		{`{by: [job], drop_input_labels: [job]}`, `m`},
		{`{by: [zone], input_relabel_configs: [{target_label: zone, replacement: z}, {target_label: more, replacement: y}]}`, `m{zone="z"}`},
		{`{without: [zone, job], input_relabel_configs: [{target_label: zone, replacement: z}, {target_label: more, replacement: y}]}`, `m{instance="i",more="y",pod="p"}`},
	} {
		text := strings.Trim(tc.options, "{}")
		r := one(t, "- {interval: 1m, outputs: [total], "+text+"}")
		got, ok := r.Group(parse(t, in), labels.NewBuilder(labels.EmptyLabels()))
		if !ok || !labels.Equal(got, parse(t, tc.want)) {
			t.Errorf("%s: group %s, %v, want %s", tc.options, got, ok, tc.want)
		}
	}
}

// Names as vmagent writes them.
func TestSeries(t *testing.T) {
	for _, tc := range []struct{ options, group, want string }{
		{`interval: 1m, by: [job, app]`, `m{job="j"}`, `{__name__="m:1m_by_app_job_total",job="j"}`},
		{`interval: 60s, without: [pod, __name__]`, `{job="j"}`, `{__name__=":60s_without_pod_total",job="j"}`},
		{`interval: 1m`, `m`, `{__name__="m:1m_total"}`},
		{`interval: 1m, by: [__name__]`, `m`, `{__name__="m:1m_total"}`},
		{`interval: 1m, keep_metric_names: true`, `m{a="b"}`, `{__name__="m",a="b"}`},
		{`interval: 1m, output_relabel_configs: [{action: replace_all, source_labels: [__name__], regex: ":|_total", replacement: "", target_label: __name__}]`, `m`, `{__name__="m1m"}`},
	} {
		r := one(t, "- {outputs: [total], "+tc.options+"}")
		got, ok := r.Series(parse(t, tc.group), Total)
		if !ok || !labels.Equal(got, parse(t, tc.want)) {
			t.Errorf("%s: series %s, %v, want %s", tc.options, got, ok, tc.want)
		}
	}
	r := one(t, `- {interval: 1m, outputs: ["quantiles(0.5)"], output_relabel_configs: [{action: drop, source_labels: [quantile], regex: "0.9"}]}`)
	if got, ok := r.Series(parse(t, `m`), Quantiles, labels.Label{Name: "quantile", Value: "0.5"}); !ok || !labels.Equal(got, parse(t, `{__name__="m:1m_quantiles",quantile="0.5"}`)) {
		t.Errorf("series %s, %v", got, ok)
	}
	if got, ok := r.Series(parse(t, `m`), Quantiles, labels.Label{Name: "quantile", Value: "0.9"}); ok {
		t.Errorf("series %s was not dropped", got)
	}
}

func TestRelabel(t *testing.T) {
	const in = `m{a="x",b="y"}`
	const dropped = ""
	for _, tc := range []struct{ config, want string }{
		{`{source_labels: [a, b], target_label: c}`, `m{a="x",b="y",c="x;y"}`},
		{`{source_labels: [a, b], separator: "-", target_label: "${1}_z", regex: "(.)-(.)", replacement: "$2$1"}`, `m{a="x",b="y",x_z="yx"}`},
		{`{source_labels: [a], target_label: c, regex: "y"}`, in},
		{`{target_label: a, replacement: ""}`, `m{b="y"}`},
		{`{target_label: c, replacement: "{{a}}/{{none}}/{{b}}"}`, `m{a="x",b="y",c="x//y"}`},
		{`{if: '{a="q"}', target_label: a, replacement: z}`, in},
		{`{if: ['{a="q"}', m], target_label: a, replacement: z}`, `m{a="z",b="y"}`},
		{`{action: replace_all, source_labels: [a], target_label: a, regex: x, replacement: uv}`, `m{a="uv",b="y"}`},
		{`{action: keep, source_labels: [a], regex: x}`, in},
		{`{action: keep, source_labels: [a], regex: y}`, dropped},
		{`{action: keep, if: '{a="x"}'}`, in},
		{`{action: keep, if: '{a="y"}'}`, dropped},
		{`{action: drop, if: '{a="x"}'}`, dropped},
		{`{action: drop, if: '{a="y"}'}`, in},
		{`{action: drop, source_labels: [a, b], regex: "x;y"}`, dropped},
		{`{action: keep_metrics, regex: [m, n]}`, in},
		{`{action: drop_metrics, regex: [m, n]}`, dropped},
		{`{action: keep_if_equal, source_labels: [a, b]}`, dropped},
		{`{action: drop_if_equal, source_labels: [a, b]}`, in},
		{`{action: keep_if_contains, source_labels: [a], target_label: b}`, dropped},
		{`{action: drop_if_contains, source_labels: [a, b], target_label: b}`, in},
		{`{action: keepequal, source_labels: [a], target_label: b}`, dropped},
		{`{action: dropequal, source_labels: [a], target_label: a}`, dropped},
		{`{action: labelmap, regex: "(a)", replacement: "${1}2"}`, `m{a="x",a2="x",b="y"}`},
		{`{action: labelmap_all, regex: "^[ab]$", replacement: "q_$0"}`, `m{q_a="x",q_b="y"}`},
		{`{action: labeldrop, regex: "a|c"}`, `m{b="y"}`},
		{`{action: labelkeep, regex: "a|__name__"}`, `m{a="x"}`},
		{`{action: labelkeep, regex: "none"}`, dropped},
		{`{action: labelkeep, regex: "none"}, {target_label: a, replacement: x}`, dropped},
		{`{action: uppercase, source_labels: [a, b], target_label: a}`, `m{a="X;Y",b="y"}`},
		{`{action: hashmod, source_labels: [a], modulus: 1000, target_label: h}`, `m{a="x",b="y",h="299"}`},
		{`{action: graphite, match: "*", labels: {all: "$1-${1}-$2-$"}}`, `m{a="x",b="y",all="m-m-$2-$"}`},
		{`{action: graphite, match: "*.x", labels: {all: "$1"}}`, in},
	} {
		r := one(t, `- {interval: 1m, outputs: [total], input_relabel_configs: [`+tc.config+`]}`)
		got, ok := r.Group(parse(t, in), labels.NewBuilder(labels.EmptyLabels()))
		if ok != (tc.want != dropped) || ok && !labels.Equal(got, parse(t, tc.want)) {
			t.Errorf("%s: %s, %v, want %s", tc.config, got, ok, tc.want)
		}
	}
}

func TestOverflow(t *testing.T) {
	group := parse(t, `m{job="j",tenant="t"}`)
	for _, tc := range []struct{ options, want string }{
		{`by: [job, tenant]`, `m{job="overflow",tenant="overflow"}`},
		{`by: [job, tenant], tenant_label: tenant`, `m{job="overflow",tenant="t"}`},
		{`without: [pod], tenant_label: tenant`, `m{overflow="true",tenant="t"}`},
		{`without: [pod]`, `m{overflow="true"}`},
	} {
		r := one(t, "- {interval: 1m, outputs: [total], "+tc.options+"}")
		if got := r.Overflow(group); !labels.Equal(got, parse(t, tc.want)) {
			t.Errorf("%s: %s, want %s", tc.options, got, tc.want)
		}
	}
}

func TestWindow(t *testing.T) {
	r := one(t, `- {interval: 1m, outputs: [total]}`)
	for _, tc := range [][2]int64{{1, 60_000}, {60_000, 60_000}, {60_001, 120_000}, {0, 0}, {-1, 0}, {-60_000, -60_000}, {-60_001, -60_000}} {
		if got := r.Window(tc[0]); got != tc[1] {
			t.Errorf("%d is in the window %d, want %d", tc[0], got, tc[1])
		}
	}
}

// The hash follows what state depends on, and nothing else.
func TestHash(t *testing.T) {
	const base = `interval: 1m, outputs: [total], match: m`
	first := one(t, "- {"+base+"}").Hash
	for _, same := range []string{`interval: 60s, outputs: [total], match: m`, base + `, name: x`, `interval: 1m, outputs: [increase, avg], match: m`, base + `, max_lag: 1s, keep_input: false`} {
		if one(t, "- {"+same+"}").Hash != first {
			t.Errorf("%s has another hash", same)
		}
	}
	for _, other := range []string{base + `, by: [a]`, `interval: 2m, outputs: [total], match: m`, base + `, max_gap: 5m`, base + `, input_relabel_configs: [{action: labeldrop, regex: a}]`} {
		if one(t, "- {"+other+"}").Hash == first {
			t.Errorf("%s has the same hash", other)
		}
	}
	both, err := Load("r.yml", []byte("- {"+base+"}\n- {interval: 1m, outputs: [avg], match: m}\n"))
	if err != nil || both.Rules[0].Hash != first || both.Rules[1].Hash == first {
		t.Errorf("of two rules that differ in outputs the first has another hash, or the second has the same: %v", err)
	}
}

// TestRecordingRuleNames: relabelled results have the names that recording rules had.
func TestRecordingRuleNames(t *testing.T) {
	text, err := os.ReadFile("testdata/vmagent_cases.good.yml")
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load("vmagent_cases.good.yml", text)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{}
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, in := range []labels.Labels{
		labels.FromStrings("__name__", "disk_written_bytes_total", "instance", "i", "device", "d"),
		labels.FromStrings("__name__", "temperature_celsius", "sensor", "s", "room", "r"),
		labels.FromStrings("__name__", "rps", "job", "gateway"),
		labels.FromStrings("__name__", "shop_checkout_seconds_bucket", "instance", "i", "le", "1"),
	} {
		for _, r := range set.Rules {
			if !r.Match(in) {
				continue
			}
			group, ok := r.Group(in, b)
			if !ok {
				t.Fatalf("%s is dropped by %s", in, r.Label)
			}
			for _, o := range r.Outputs {
				if out, ok := r.Series(group, o); ok {
					made[out.String()] = true
				}
			}
		}
	}
	for _, want := range []string{
		`{__name__="instance:disk_written_bytes_total:rate3m", instance="i"}`,
		`{__name__="temperature_celsius", room="r"}`,
		`{__name__="rps", job="gateway"}`,
		`{__name__="shop_checkout_seconds_bucket:1m_without_instance_rate_sum", le="1"}`,
	} {
		if !made[want] {
			t.Errorf("%s is not made, but %v", want, slices.Sorted(maps.Keys(made)))
		}
	}
}
