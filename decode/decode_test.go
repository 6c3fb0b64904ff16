package decode

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"
)

func parse(t *testing.T, content string) *yaml.Node {
	t.Helper()
	root, _, problems := Parse([]byte(content))
	if len(problems) > 0 {
		t.Fatalf("%q: %v", content, problems)
	}
	return root
}

// inner decodes itself from a word, or from a mapping in the long form.
type inner struct {
	Word string `yaml:"word"`
}

func (i *inner) UnmarshalYAML(unmarshal func(any) error) error {
	if err := unmarshal(&i.Word); err != nil {
		type plain inner
		if err := unmarshal((*plain)(i)); err != nil {
			return err
		}
	}
	if i.Word == "bad" {
		return errors.New(`word "bad" is not allowed`)
	}
	return nil
}

// level is a text with a rule.
type level string

func (l *level) UnmarshalText(b []byte) error {
	if *l = level(b); *l != "high" && *l != "low" {
		return fmt.Errorf("level %q: must be high or low", b)
	}
	return nil
}

var _ encoding.TextUnmarshaler = (*level)(nil)

// explosive has a decoder that cannot cope.
type explosive struct{ N int }

func (*explosive) UnmarshalYAML(unmarshal func(any) error) error {
	var n int
	if err := unmarshal(&n); err != nil {
		return err
	}
	panic("boom")
}

type passSecret string

func (*passSecret) UnmarshalYAML(unmarshal func(any) error) error {
	var s string
	if err := unmarshal(&s); err != nil {
		return err
	}
	return fmt.Errorf("%s does not look like one", s)
}

type common struct {
	Shared bool `yaml:"shared"`
}

type outer struct {
	common  `yaml:",inline"`
	Inner   *inner            `yaml:"inner"`
	Items   []inner           `yaml:"items"`
	Level   level             `yaml:"level"`
	Count   uint8             `yaml:"count"`
	Ratio   float64           `yaml:"ratio"`
	By      map[level]string  `yaml:"by"`
	Boom    explosive         `yaml:"boom"`
	Pass    passSecret        `yaml:"pass"`
	Deep    *outer            `yaml:"deep"`
	Free    any               `yaml:"free"`
	Hidden  string            `yaml:"-"`
	Strings map[string]string `yaml:"strings"`
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name, yaml string
		want       []string
	}{
		{"good", "{shared: true, inner: x, items: [a, {word: b}], level: low, count: 3, ratio: 1e3, by: {high: x}, free: {a: [1]}, strings: {a: 1, b: yes}}", nil},
		{"nulls", "{inner: , items: , level: ~, count: null, deep: {deep: }}", nil},
		{"unknown", "{shard: true, zzzzzzzz: 1}", []string{
			`1:2 shard: unknown key; did you mean "shared"?`,
			"1:15 zzzzzzzz: unknown key; allowed here: boom, by, count, deep, free, inner, items, level, pass, ratio, shared, strings",
		}},
		{"hidden is unknown", "hidden: x", []string{"1:1 hidden: unknown key; allowed here: boom, by, count, deep, free, inner, items, level, pass, ratio, shared, strings"}},
		{"forms", "{inner: [x], items: x}", []string{
			"1:9 inner: expected a text or a mapping (key: value), found a list",
			`1:21 items: expected a list (lines that begin with -), found "x"`,
		}},
		{"rule of a type", "items: [good, bad, {word: bad}]", []string{
			`1:15 items[1]: word "bad" is not allowed`,
			`1:27 items[2].word: word "bad" is not allowed`,
		}},
		{"text with a rule", "{level: medium, by: {medium: x}}", []string{
			`1:9 level: level "medium": must be high or low`,
			`1:22 by.medium: level "medium": must be high or low`,
		}},
		{"numbers", "{count: 300, ratio: much}", []string{
			`1:9 count: expected a whole number of 0 or more, found "300"`,
			`1:21 ratio: expected a number, found "much"`,
		}},
		{"bool", "shared: 2", []string{`1:9 shared: expected true or false, found "2"`}},
		{"panic", "boom: 1", []string{"1:7 boom: \"1\": cannot be read: boom"}},
		{"secret", "pass: hunter2", []string{"1:7 pass: <secret> does not look like one"}},
		{"secret of a wrong kind", "pass: [hunter2]", []string{"1:7 pass: expected a text, found a list"}},
		{"depth", "deep: {deep: {deep: {count: x, items: [{wrd: a}]}}}", []string{
			`1:29 deep.deep.deep.count: expected a whole number of 0 or more, found "x"`,
			`1:41 deep.deep.deep.items[0].wrd: unknown key; did you mean "word"?`,
		}},
		{"twice", "{count: 1, count: 2}", []string{"1:12 count: the key is written twice, first in line 1; keep one"}},
	} {
		for _, v := range []Version{V2, V3} {
			t.Run(fmt.Sprintf("%s v%d", tc.name, v), func(t *testing.T) {
				c := New(v)
				r := c.Check(parse(t, tc.yaml), reflect.TypeFor[outer](), "")
				var got []string
				for _, p := range c.Problems() {
					got = append(got, fmt.Sprintf("%d:%d %s: %s", p.Line, p.Column, p.Path, p.Message))
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if r.Node == nil {
					t.Fatal("nothing is left of the document")
				}
				// What is left must decode: that is what later checks rely on.
				if err := yamlv2.UnmarshalStrict(Text(r.Node), &outer{}); v == V2 && err != nil {
					t.Errorf("what is left does not decode: %v\n%s", err, Text(r.Node))
				}
			})
		}
	}
}

// TestFraction: version 3 cuts 1.5 down to 1 without a word.
func TestFraction(t *testing.T) {
	c := New(V3)
	c.Check(parse(t, "count: 1.5"), reflect.TypeFor[outer](), "")
	if len(c.Problems()) != 1 {
		t.Errorf("1.5 as a whole number gives %v", c.Problems())
	}
}

// nodeType decodes itself the way of version 3.
type nodeType struct {
	Port int `yaml:"port"`
}

func (n *nodeType) UnmarshalYAML(node *yaml.Node) error {
	type plain nodeType
	if err := node.Decode((*plain)(n)); err != nil {
		return err
	}
	if n.Port == 0 {
		return errors.New("port must not be 0")
	}
	return nil
}

func TestNodeUnmarshaler(t *testing.T) {
	c := New(V3)
	c.Check(parse(t, "a: {port: 0}\nb: {prt: 1}\nc: {port: 1}"), reflect.TypeFor[map[string]nodeType](), "")
	var got []string
	for _, p := range c.Problems() {
		got = append(got, fmt.Sprintf("%d:%d %s: %s", p.Line, p.Column, p.Path, p.Message))
	}
	want := []string{
		"1:11 a.port: port must not be 0",
		`2:5 b.prt: unknown key; did you mean "port"?`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPrunedListKeepsPlaces: entry 2 is still entry 2 when entry 0 was refused.
func TestPrunedListKeepsPlaces(t *testing.T) {
	c := New(V2)
	r := c.Check(parse(t, "items: [bad, a, b]"), reflect.TypeFor[outer](), "")
	_, items := Get(r.Node, "items")
	if len(items.Content) != 2 || Item("items", items.Content[1], 1) != "items[2]" {
		t.Errorf("left are %d, the last is %s", len(items.Content), Item("items", items.Content[1], 1))
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, yaml, want string
		second           int
	}{
		{"empty", "", "{}", 0},
		{"comment", "# nothing\n", "{}", 0},
		{"null", "~", "{}", 0},
		{"plain stays plain", "a: [yes, 0x1F, 1.5, -3, ~, 2001-01-01]", `{? a : [yes, 0x1F, 1.5, -3, ~, 2001-01-01]}`, 0},
		{"quoted stays text", `a: ["yes", '1', "~", ""]`, `{? a : ["yes", "1", "~", ""]}`, 0},
		{"alias", "a: &x {b: 1}\nc: *x", "{? a : {? b : 1}, ? c : {? b : 1}}", 0},
		{"merge", "a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}", "{? a : {? b : 1, ? c : 2}, ? d : {? b : 3, ? c : 2}}", 0},
		{"merge list", "a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne: {<<: [*x, *y]}", "{? a : {? b : 1}, ? c : {? b : 2, ? d : 3}, ? e : {? b : 1, ? d : 3}}", 0},
		{"block", "a: |\n  x\n  y\n", `{? a : "x\u000Ay\u000A"}`, 0},
		{"tag", "a: !!str 1", "{? a : !!str 1}", 0},
		{"unicode", "a: \"é😀\\x01\"", `{? a : "\u00E9\U0001F600\u0001"}`, 0},
		{"second document", "a: 1\n---\nb: 2", "{? a : 1}", 3},
		{"empty second document", "a: 1\n---\n", "{? a : 1}", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, second, problems := Parse([]byte(tc.yaml))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if got := strings.TrimSpace(string(Text(root))); got != tc.want || second != tc.second {
				t.Errorf("got %s, second %d; want %s, %d", got, second, tc.want, tc.second)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for content, want := range map[string]string{
		"a: [1":                "1:1",
		"a:\n\tb: 1":           "2:2",
		"a: 1\n b: 2":          "2:2",
		"a: &x [*x]":           "1:8",
		"a: {<<: 1}":           "1:9",
		"a: {<<: [1]}":         "1:10",
		"\xff\xfe\x00":         "1:1",
		"a: \"\\q\"\nb: \"x\"": "1:1",
	} {
		_, _, problems := Parse([]byte(content))
		if len(problems) == 0 {
			t.Errorf("%q passes", content)
			continue
		}
		if p := problems[0]; fmt.Sprintf("%d:%d", p.Line, p.Column) != want {
			t.Errorf("%q: at %d:%d, want %s: %s", content, p.Line, p.Column, want, p.Message)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"scrape_interval", "scrape_timeout", "job_name", "target_match_re", "target_matchers", "time", "size"}
	for name, want := range map[string]string{
		"scrape_intervall": "scrape_interval",
		"scrapeInterval":   "scrape_interval",
		"scrape-timeout":   "scrape_timeout",
		"jobname":          "job_name",
		"target_matcher":   "target_matchers",
		"tmie":             "time",
		"days":             "",
		"":                 "",
		"_":                "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestLocate(t *testing.T) {
	root := parse(t, `
job_name: api
scrape_interval: 10s
scrape_timeout: 30s
relabel_configs:
  - {action: drop, regex: "x", source_labels: [a, "b/c"]}
  -
names: [n, n]
`)
	for message, want := range map[string]string{
		`"b/c" is not a valid label`:                         "relabel_configs[0].source_labels[1]",
		"scrape timeout greater than scrape interval":        "scrape_timeout",
		"unknown relabel action: drop":                       "relabel_configs[0].action",
		"empty or null relabel config":                       "relabel_configs[1]",
		`found multiple "n"`:                                 "names[1]",
		`"regex" must not be empty`:                          "relabel_configs[0].regex",
		"nothing here is mentioned":                          "",
		"the jobs are many, and there is renaming of things": "",
	} {
		if _, got := Locate(root, "", message); got != want {
			t.Errorf("%q is put at %q, want %q", message, got, want)
		}
	}
}

func TestSplitPath(t *testing.T) {
	for message, want := range map[string][2]string{
		`http.listen[0]: "x": must be`: {"http.listen[0]", `"x": must be`},
		"timeout: got 0":               {"timeout", "got 0"},
		"alert.retention is 0s, must":  {"alert.retention", "is 0s, must"},
		"there is no path: here":       {"", "there is no path: here"},
		"Timeout: got 0":               {"", "Timeout: got 0"},
	} {
		path, rest, ok := SplitPath(message)
		if path != want[0] || rest != want[1] || ok != (want[0] != "") {
			t.Errorf("SplitPath(%q) = %q, %q, %v", message, path, rest, ok)
		}
	}
}

func TestAt(t *testing.T) {
	root := parse(t, "a: {b: [x, {c: y}]}")
	for path, want := range map[string]string{"a.b[1].c": "y", "a.b[0]": "x"} {
		if n, exact := At(root, path); !exact || n.Value != want {
			t.Errorf("At(%q) = %q, %v", path, n.Value, exact)
		}
	}
	if n, exact := At(root, "a.b[7].c"); exact || n.Kind != yaml.SequenceNode {
		t.Errorf("a path that ends early gives kind %v, %v", n.Kind, exact)
	}
}

// FuzzText: rewriting a document must not change what it means.
func FuzzText(f *testing.F) {
	for _, s := range []string{"a: [1, yes, '2', ~]", "a: &x {b: |\n  t\n}\nc: *x", "!!binary aGk=", "? [a]\n: b", "a: {<<: {b: 1}, c: .inf}", "\"\\u2028\": \"\\x01\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		root, _, problems := Parse(content)
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 {
				t.Fatalf("no position: %+v", p)
			}
		}
		if root == nil || len(problems) > 0 {
			return
		}
		var before, after any
		if err := root.Decode(&before); err != nil {
			return
		}
		text := Text(root)
		if err := yaml.Unmarshal(text, &after); err != nil {
			t.Fatalf("%q is rewritten as %q: %v", content, text, err)
		}
		if a, b := fmt.Sprintf("%#v", before), fmt.Sprintf("%#v", after); a != b {
			t.Fatalf("%q is rewritten as %q:\n%s\n%s", content, text, a, b)
		}
	})
}
