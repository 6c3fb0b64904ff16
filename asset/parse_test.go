package asset

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	for text, want := range map[string][]word{
		"":                   nil,
		" \t\n":              nil,
		"One  two":           {{text: "one"}, {text: "two"}},
		`"two words" three`:  {{text: "two words"}, {text: "three"}},
		`"open end`:          {{text: "open end"}},
		`a"b c`:              {{text: `a"b`}, {text: "c"}},
		`region:"EU West" x`: {{text: "region:eu west", field: "region", value: "eu west"}, {text: "x"}},
		"region:":            {{text: "region:", field: "region"}},
		"10.0.0.1:9100":      {{text: "10.0.0.1:9100"}},
		":x":                 {{text: ":x"}},
		"a\x00b\xffc":        {{text: "a"}, {text: "b"}, {text: "c"}},
		"kind:host kind:":    {{text: "kind:", field: "kind"}},
		"kind:none":          {{text: "kind:none", field: "kind", value: "none"}},
		`""`:                 nil,
	} {
		q, err := Parse(text)
		if err != nil || len(q.words) != len(want) {
			t.Errorf("%q: %+v, %v; want %+v", text, q.words, err, want)
			continue
		}
		for i := range want {
			if q.words[i] != want[i] {
				t.Errorf("%q: word %d is %+v, want %+v", text, i, q.words[i], want[i])
			}
		}
	}
	for _, text := range []string{strings.Repeat("x", MaxQuery+1), strings.Repeat("a ", maxWords+1)} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%.20q... is taken", text)
		}
	}
	q := parse(t, "kind:host kind:probe")
	if q.kinds != kindSet(0).with(KindHost).with(KindProbe).with(KindProbeTarget) && q.kinds != kindSet(0).with(KindHost).with(KindProbe) {
		t.Errorf("kinds %b", q.kinds)
	}
	if only := q.Only(KindMetric); only.kinds.has(KindHost) || only.kinds.has(KindMetric) {
		t.Error("a kind that the words rule out matches")
	}
	if only := q.Only(KindHost); !only.kinds.has(KindHost) || only.kinds.has(KindProbe) {
		t.Error("the kinds asked for are not those that match")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"web-1", `kind:host region:"eu west" 10.0.0.0/8`, `"`, ":", "kind:", "a:b:c", "İ:x", "fe80::1/10", "\xff\"\n", "ẞ ſ K"} {
		f.Add(s)
	}
	v := inventory(f, Options{Sources: []Source{source(small...)}})
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text)
		if err != nil {
			if len(text) <= MaxQuery && len(strings.Fields(text)) <= maxWords && !strings.Contains(text, `"`) && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if len(q.words) > maxWords {
			t.Fatalf("%d words", len(q.words))
		}
		for _, w := range q.words {
			if !utf8.ValidString(w.text) || w.text != lower(w.text) {
				t.Fatalf("word %q", w.text)
			}
		}
		got := v.Search(q, 5)
		if len(got.Items) > 5 {
			t.Fatalf("%d found", len(got.Items))
		}
		for _, found := range got.Items {
			if q.Empty() || len(found.Match) > 0 || strings.Contains(text, "island:") || strings.Contains(strings.ToLower(text), "island:") {
				continue
			}
			t.Fatalf("%q found %+v without saying where", text, found)
		}
	})
}

func TestFindIn(t *testing.T) {
	texts := []string{"abc", "b", "xbx", "x-bc", "B", "", "Über", "zzz"}
	d, numbers := compile(texts)
	for w, want := range map[string][]grade{
		"b":    {within, whole, within, tokenHead, whole, 0, within, 0},
		"abc":  {whole, 0, 0, 0, 0, 0, 0, 0},
		"bc":   {within, 0, 0, tokenHead, 0, 0, 0, 0},
		"ü":    {0, 0, 0, 0, 0, 0, head, 0},
		"über": {0, 0, 0, 0, 0, 0, whole, 0},
		"z":    {0, 0, 0, 0, 0, 0, 0, head},
		"q":    {0, 0, 0, 0, 0, 0, 0, 0},
	} {
		into := make([]grade, d.len())
		d.find(w, into)
		for i, text := range texts {
			if got := into[numbers[i]]; got != want[i] {
				t.Errorf("%q in %q: grade %d, want %d", w, text, got, want[i])
			}
			if back := d.get(numbers[i]); back != text {
				t.Errorf("text %d reads %q, want %q", i, back, text)
			}
		}
	}
}

func TestAddressOf(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.2.3": "10.1.2.3", "10.1.2.3:9100": "10.1.2.3", "fd00::1": "fd00::1", "[fd00::1]:9100": "fd00::1", "[fd00::1]": "fd00::1", "::ffff:10.0.0.1": "10.0.0.1",
		"": "", "a": "", "face": "", "10.1.2": "", "10.1.2.3.4": "", "host:9100": "", "[": "", "1.2.3.4/24": "", "00:11:22:33:44:55": "", "1:2": "",
	} {
		a, ok := addressOf([]byte(text))
		if ok != (want != "") || ok && a.String() != want {
			t.Errorf("%q: %s, %v; want %q", text, a, ok, want)
		}
	}
}
