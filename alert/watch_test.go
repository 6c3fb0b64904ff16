package alert

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/rules"

	"github.com/atoll-mesh/atoll/health"
)

func newTestWatch(threshold int) (*watch, *health.List, *metrics) {
	h, m := health.New(nil), newMetrics(prometheus.NewRegistry())
	return newWatch(h, m, func() int { return threshold }), h, m
}

func activeText(h *health.List, code string) string {
	for _, w := range h.Active() {
		if w.Code == code {
			return w.Text
		}
	}
	return ""
}

func TestWatchCountsFailuresInARow(t *testing.T) {
	w, h, m := newTestWatch(3)
	key := integrationKey{receiver: "ops", integration: "slack[0]"}
	fail := func() { w.attempted(key, true, errors.New("connection refused")) }
	fail()
	fail()
	w.attempted(key, false, nil)
	fail()
	fail()
	if text := activeText(h, "alert-notify-failing"); text != "" {
		t.Errorf("warned after two in a row: %s", text)
	}
	fail()
	if text := activeText(h, "alert-notify-failing"); !strings.Contains(text, `receiver "ops", integration slack[0]: 3 failed in a row, last: connection refused`) {
		t.Errorf("after three in a row: %q", text)
	}
	if got := testutil.ToFloat64(m.failing.WithLabelValues("ops", "slack[0]")); got != 3 {
		t.Errorf("the metric says %v", got)
	}
	w.keep(map[string]struct{}{"ops/email[0]": {}}, nil)
	if text := activeText(h, "alert-notify-failing"); text != "" {
		t.Errorf("warned of an integration that is gone: %s", text)
	}
	if n := testutil.CollectAndCount(m.failing); n != 0 {
		t.Errorf("%d series are left of an integration that is gone", n)
	}
}

func TestWatchShowsTheFirstFew(t *testing.T) {
	w, h, _ := newTestWatch(1)
	for i := range 8 {
		w.attempted(integrationKey{receiver: fmt.Sprintf("r%d", i), integration: "webhook[0]"}, true, errors.New("no"))
	}
	text := activeText(h, "alert-notify-failing")
	if strings.Count(text, "receiver") != 5 || !strings.HasSuffix(text, "and 3 more") {
		t.Errorf("text is %q", text)
	}
}

func TestWatchMissedEvaluations(t *testing.T) {
	w, h, m := newTestWatch(1)
	group := func(interval time.Duration) *rules.Group {
		return rules.NewGroup(rules.GroupOptions{Name: "g", File: "f.yml", Interval: interval, Opts: &rules.ManagerOptions{}})
	}
	g, at := group(time.Minute), time.Now()
	step := func(n time.Duration) { at = at.Add(n * time.Minute); w.evaluated(g, at) }
	step(0)
	step(1)
	if text := activeText(h, "alert-rules-late"); text != "" {
		t.Errorf("warned although all came on time: %s", text)
	}
	step(3)
	if text := activeText(h, "alert-rules-late"); !strings.Contains(text, `group "g" (f.yml) missed 2 evaluations, interval 1m0s`) {
		t.Errorf("after two were missed: %q", text)
	}
	if got := testutil.ToFloat64(m.missed); got != 2 {
		t.Errorf("the metric says %v", got)
	}
	step(1)
	step(1)
	if text := activeText(h, "alert-rules-late"); text == "" {
		t.Error("forgiven after two on time, want three")
	}
	step(1)
	if text := activeText(h, "alert-rules-late"); text != "" {
		t.Errorf("still warned after three on time: %s", text)
	}
	// A reload that lengthens the interval is no reason to warn.
	g = group(time.Hour)
	step(40)
	if text := activeText(h, "alert-rules-late"); text != "" {
		t.Errorf("warned because the interval changed: %s", text)
	}
	step(180)
	w.keepGroups(nil)
	if text := activeText(h, "alert-rules-late"); text != "" {
		t.Errorf("warned of a group that is gone: %s", text)
	}
}

func TestFailingRuleIsReported(t *testing.T) {
	r := newRig(t)
	r.file("rules.yml", `
groups:
  - name: joins
    interval: 50ms
    rules: [{alert: Ambiguous, expr: left * on(host) right}]
`)
	for _, side := range []string{"left", "right"} {
		r.set(1, "__name__", side, "host", "a", "n", "1")
		r.set(1, "__name__", side, "host", "a", "n", "2")
	}
	r.start(r.prom(""), nil)
	eventually(t, "a warning that names group, file and rule", func() bool {
		text := r.warned("alert-rule-failing")
		return strings.Contains(text, `group "joins" (`+r.dir) && strings.Contains(text, `rule "Ambiguous"`) && strings.Contains(text, "duplicate series")
	})
	r.file("rules.yml", `groups: []`)
	if err := r.reload(r.prom(""), nil); err != nil {
		t.Fatal(err)
	}
	if text := r.warned("alert-rule-failing"); text != "" {
		t.Errorf("warned of a rule that is gone: %s", text)
	}
}
