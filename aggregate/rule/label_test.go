package rule

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLabels(t *testing.T) {
	load := func(name, text string) *Set {
		t.Helper()
		set, err := Load(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	labels := func(set *Set) (all []string) {
		for _, r := range set.Rules {
			all = append(all, r.Label)
		}
		return all
	}
	const text = `
- {interval: 1m, match: requests_total, without: [instance, pod], outputs: [total]}
- {name: mesh, interval: 1m, outputs: [total]}
- {interval: 1m, match: '{__name__=~"a|b"}', outputs: [total]}
- interval: 30s
  match: ['requests_total{code="500"}', 'requests_total{code="501"}']
  by: [code]
  outputs: [total]
- {interval: 1m, match: [a, b], outputs: [total]}
- {interval: 1m, match: 'requests_total{code="500"}', without: [instance, pod], outputs: [increase]}
- {name: mesh, interval: 2m, outputs: [total]}
`
	want := []string{
		"requests_total:1m_without_instance_pod", "mesh", "rules.yml:4", "requests_total:30s_by_code",
		"rules.yml:9", "requests_total:1m_without_instance_pod (rules.yml:10)", "mesh (rules.yml:11)",
	}
	a, b := load("/etc/atoll/rules.yml", text), load("rules.yml", text)
	if d := cmp.Diff(want, labels(a)); d != "" {
		t.Errorf("labels (-want +got):\n%s", d)
	}
	both, err := a.Join(b)
	if err != nil {
		t.Fatal(err)
	}
	all := labels(both)
	if d := cmp.Diff(want, all[:len(want)]); d != "" {
		t.Errorf("labels of the rules that were there (-want +got):\n%s", d)
	}
	seen := map[string]bool{}
	for _, l := range all {
		if seen[l] {
			t.Errorf("two rules are called %q", l)
		}
		seen[l] = true
	}
	if d := cmp.Diff(want, labels(b)); d != "" {
		t.Errorf("labels of what was joined changed (-want +got):\n%s", d)
	}
}
