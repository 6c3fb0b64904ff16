package alert

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// TestSupplied has rules that stand in no file fire, with annotations of somebody else,
// until they are withdrawn.
func TestSupplied(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.set(9, "__name__", "load", "host", "db1")
	o := r.options(r.prom(""), webhookTo(t, h.URL, ""))
	o.Supplied = []Supplied{{Name: "of ours", Text: []byte(highLoad)}}
	o.Annotate = func(ls labels.Labels) map[string]string {
		return map[string]string{"summary": "as " + ls.Get("host") + " says", "more": "x"}
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.run(a)
	eventually(t, "a firing notification", func() bool { return h.count("firing", "HighLoad") == 1 })
	if got := h.all()[0].Alerts[0].Annotations; got["summary"] != "as db1 says" || got["more"] != "x" {
		t.Errorf("annotations %v", got)
	}
	if g := r.alert.RuleGroups(); len(g) != 1 || g[0].File() != "of ours" {
		t.Errorf("groups %v", g)
	}
	commit, _, err := r.alert.Prepare(r.config, r.prom(""), webhookTo(t, h.URL, ""))
	if err != nil {
		t.Fatal(err)
	}
	commit()
	if g := r.alert.RuleGroups(); len(g) != 0 {
		t.Errorf("groups that were withdrawn: %v", g)
	}
	if _, _, err := r.alert.Prepare(r.config, r.prom(""), nil, Supplied{Name: "bad", Text: []byte("groups: [{name: x, rules: [{alert: A, expr: '('}]}]")}); err == nil {
		t.Error("rules that do not parse are taken")
	}
}
