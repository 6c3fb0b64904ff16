package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/api/v2/client/silence"
	amodels "github.com/prometheus/alertmanager/api/v2/models"

	"github.com/atoll-mesh/atoll/alert/history"
)

// desk is a rig with the board's handler.
type desk struct {
	*rig
	t     *testing.T
	board http.Handler
}

func newDesk(t *testing.T, r *rig, o BoardOptions) *desk {
	if o.Check == nil {
		o.Check = func(kind string, text []byte) Problems { return CheckRules(kind, text, r.alert.opts.Parser) }
	}
	return &desk{rig: r, t: t, board: r.alert.Board(o)}
}

// ask returns the code, and the answer in into.
func (d *desk) ask(method, path string, body, into any) int {
	d.t.Helper()
	var b io.Reader
	if body != nil {
		text, ok := body.(string)
		if !ok {
			raw, _ := json.Marshal(body)
			text = string(raw)
		}
		b = bytes.NewBufferString(text)
	}
	w := httptest.NewRecorder()
	d.board.ServeHTTP(w, httptest.NewRequest(method, path, b))
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			d.t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
	}
	return w.Code
}

func (d *desk) groups() []Group {
	d.t.Helper()
	var b Board
	if code := d.ask("GET", BoardPath, nil, &b); code != http.StatusOK {
		d.t.Fatalf("GET %s: %d", BoardPath, code)
	}
	return b.Items
}

// kinds are what the history says happened, the oldest first.
func (d *desk) kinds(query string) (out []history.Kind) {
	d.t.Helper()
	d.alert.embedded.history.Flush(d.t.Context())
	var p history.Page
	if code := d.ask("GET", BoardPath+"/history?"+query, nil, &p); code != http.StatusOK {
		d.t.Fatalf("history: %d", code)
	}
	for _, e := range slices.Backward(p.Items) {
		out = append(out, e.Kind)
	}
	return out
}

const twoRules = `
groups:
  - name: load
    interval: 50ms
    rules:
      - alert: HighLoad
        expr: load > 5
        labels: {severity: page, team: web}
        annotations: {summary: "{{ $labels.host }} is busy", runbook_url: "https://wiki.example/load", dashboard: "javascript:alert(1)", evidence: "http://island/evidence/1"}
      - alert: Watchdog
        expr: vector(1)
        labels: {severity: none}
`

func TestAlertsAreGroupedByWhatIsWrong(t *testing.T) {
	r := newRig(t)
	r.file("rules.yml", twoRules)
	for n := range maxInstances + 3 {
		r.set(9, "__name__", "load", "host", fmt.Sprintf("db%03d", n), "job", "db")
	}
	r.set(9, "__name__", "load", "host", "web", "job", "web")
	r.start(r.prom(""), nil)
	d := newDesk(t, r, BoardOptions{})
	eventually(t, "all alerts", func() bool {
		g := d.groups()
		return len(g) == 3 && g[0].Count+g[1].Count == maxInstances+4
	})
	groups := d.groups()
	if last := groups[2]; last.Alertname != "Watchdog" || last.Severity != "none" {
		t.Errorf("the last is %+v, want the least severe", last)
	}
	db := groups[0]
	if db.Labels["job"] != "db" {
		db = groups[1]
	}
	if db.Count != maxInstances+3 || len(db.Instances) != maxInstances || db.InstancesLeftOut != 3 {
		t.Errorf("%d alerts, %d shown, %d left out", db.Count, len(db.Instances), db.InstancesLeftOut)
	}
	if db.Severity != "page" || db.Owner != "web" || db.State != stateFiring || !strings.HasSuffix(db.Summary, "is busy") || db.Since.IsZero() {
		t.Errorf("group %+v", db)
	}
	if _, same := db.Common["host"]; same || db.Common["job"] != "db" || db.Labels["host"] != "" {
		t.Errorf("labels %v, common %v", db.Labels, db.Common)
	}
	var kinds []string
	for _, l := range db.Links {
		kinds = append(kinds, l.Kind)
		if !strings.HasPrefix(l.URL, "http") {
			t.Errorf("link %+v", l)
		}
	}
	if want := []string{"evidence", "runbook", "generator"}; !slices.Equal(kinds, want) {
		t.Errorf("links %v, want %v: a script is none", kinds, want)
	}
}

func TestAcknowledgedIsHeldBackUntilItIsOver(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	am := parseAM(t, fmt.Sprintf(`
route: {receiver: hook, group_by: [alertname], group_wait: 20ms, group_interval: 50ms, repeat_interval: 100ms}
receivers:
  - name: hook
    webhook_configs: [{url: %q}]
`, h.URL))
	r.start(r.prom(""), am)
	d := newDesk(t, r, BoardOptions{})
	eventually(t, "repetitions", func() bool { return h.count("firing", "HighLoad") >= 3 })

	group := d.groups()[0]
	var refused apiError
	if code := d.ask("POST", BoardPath+"/"+group.Group+"/acknowledge", Ack{}, &refused); code != http.StatusBadRequest || refused.Field != "by" {
		t.Errorf("nobody acknowledges: %d %+v", code, refused)
	}
	if code := d.ask("POST", BoardPath+"/g0000000000000000/acknowledge", Ack{By: "ada"}, &refused); code != http.StatusNotFound {
		t.Errorf("what does not fire is acknowledged: %d", code)
	}
	if code := d.ask("POST", BoardPath+"/"+group.Group+"/acknowledge", `{"by":"ada","until":"2020-01-01T00:00:00Z"}`, &refused); code != http.StatusBadRequest || refused.Field != "until" {
		t.Errorf("acknowledged until long ago: %d %+v", code, refused)
	}
	var done Acknowledged
	if code := d.ask("POST", BoardPath+"/"+group.Group+"/acknowledge", Ack{By: "ada", Comment: "on it"}, &done); code != http.StatusOK || done.Alerts != 1 {
		t.Fatalf("acknowledge: %d %+v", code, done)
	}
	if left := time.Until(done.Until); left < defaultAckTime-time.Minute || left > defaultAckTime {
		t.Errorf("acknowledged for %s", left)
	}
	got := d.groups()[0]
	if got.State != stateAcknowledged || got.AcknowledgedCount != 1 || got.Silenced != 0 || got.Acknowledged == nil ||
		got.Acknowledged.By != "ada" || got.Acknowledged.Comment != "on it" {
		t.Errorf("group %+v", got)
	}
	// One may have been on its way.
	eventually(t, "the history to know", func() bool { return slices.Contains(d.kinds(""), history.Acknowledged) })
	told := h.count("firing", "HighLoad")
	during(t, 600*time.Millisecond, "a repetition of what somebody took", func() bool { return h.count("firing", "HighLoad") > told })

	// Another alert of the same group is nobody's yet.
	r.set(9, "__name__", "load", "host", "db2")
	eventually(t, "the new alert", func() bool { return strings.Contains(jsonOf(h.all()), "db2") })
	r.set(1, "__name__", "load", "host", "db2")

	r.set(1, "__name__", "load", "host", "db1")
	eventually(t, "the end to be told", func() bool {
		for _, n := range h.all() {
			for _, a := range n.Alerts {
				if a.Status == "resolved" && a.Labels["host"] == "db1" {
					return true
				}
			}
		}
		return false
	})
	silences, err := r.api().Silence.GetSilences(silence.NewGetSilencesParams())
	if err != nil || len(silences.Payload) != 1 || *silences.Payload[0].Status.State != amodels.SilenceStatusStateExpired {
		t.Errorf("after the end: %s, %v", jsonOf(silences.Payload), err)
	}
	if kinds := d.kinds("q=db1&kind=firing&kind=resolved&kind=acknowledged"); !slices.Equal(kinds, []history.Kind{history.Firing, history.Acknowledged, history.Resolved}) {
		t.Errorf("history of db1: %v", kinds)
	}
	if kinds := d.kinds("kind=notified"); len(kinds) < 4 {
		t.Errorf("notifications: %v", kinds)
	}
	r.set(9, "__name__", "load", "host", "db1")
	told = h.count("firing", "HighLoad")
	eventually(t, "what comes again to be told again", func() bool { return h.count("firing", "HighLoad") > told })
}

func TestUnacknowledgeAndSilence(t *testing.T) {
	r := newRig(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), nil)
	d := newDesk(t, r, BoardOptions{})
	eventually(t, "the alert", func() bool { return len(d.groups()) == 1 })
	// A silence that only looks like an acknowledgement stays a silence, and stays.
	wide := newSilence("alertname", "HighLoad", time.Hour)
	text := "ack: not really"
	wide.Comment = &text
	if _, err := r.api().Silence.PostSilences(silence.NewPostSilencesParams().WithSilence(wide)); err != nil {
		t.Fatal(err)
	}
	fp := d.groups()[0].Instances[0].Fingerprint
	for range 2 { // the second replaces the first
		if code := d.ask("POST", BoardPath+"/"+fp+"/acknowledge", Ack{By: "ada"}, nil); code != http.StatusOK {
			t.Fatalf("acknowledge: %d", code)
		}
	}
	in := d.groups()[0].Instances[0]
	if in.State != stateAcknowledged || len(in.SilencedBy) != 1 {
		t.Errorf("instance %+v", in)
	}
	signedIn := newDesk(t, r, BoardOptions{Who: func(context.Context) string { return "grace" }})
	if code := signedIn.ask("POST", BoardPath+"/"+fp+"/acknowledge", Ack{By: "ada"}, nil); code != http.StatusOK || d.groups()[0].Acknowledged.By != "grace" {
		t.Errorf("somebody who signed in spoke for somebody else: %d %+v", code, d.groups()[0].Acknowledged)
	}
	var ended Acknowledged
	if code := d.ask("DELETE", BoardPath+"/"+fp+"/acknowledge", nil, &ended); code != http.StatusOK || ended.Alerts != 1 {
		t.Fatalf("unacknowledge: %d %+v", code, ended)
	}
	if got := d.groups()[0]; got.State != stateSilenced || got.Silenced != 1 || got.Acknowledged != nil {
		t.Errorf("group %+v", got)
	}
	r.set(1, "__name__", "load", "host", "db1")
	eventually(t, "the end", func() bool { return len(d.groups()) == 0 })
	silences, err := r.api().Silence.GetSilences(silence.NewGetSilencesParams())
	if err != nil {
		t.Fatal(err)
	}
	active := 0
	for _, s := range silences.Payload {
		if *s.Status.State == amodels.SilenceStatusStateActive {
			active++
		}
	}
	if active != 1 {
		t.Errorf("%d silences in force, want the one of a person", active)
	}
}

func TestHistoryGoesOnAfterARestart(t *testing.T) {
	r := newRig(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), nil)
	d := newDesk(t, r, BoardOptions{})
	eventually(t, "the beginning", func() bool { return len(d.kinds("")) == 1 })
	if code := d.ask("POST", BoardPath+"/"+d.groups()[0].Group+"/acknowledge", Ack{By: "ada"}, nil); code != http.StatusOK {
		t.Fatalf("acknowledge: %d", code)
	}
	eventually(t, "the acknowledgement", func() bool { return len(d.kinds("")) == 2 })
	r.stop()

	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), nil)
	d = newDesk(t, r, BoardOptions{})
	eventually(t, "the alert to fire, still taken", func() bool { g := d.groups(); return len(g) == 1 && g[0].State == stateAcknowledged })
	r.set(1, "__name__", "load", "host", "db1")
	eventually(t, "the end", func() bool { return slices.Contains(d.kinds(""), history.Resolved) })
	if kinds := d.kinds("kind=firing&kind=acknowledged&kind=resolved"); !slices.Equal(kinds, []history.Kind{history.Firing, history.Acknowledged, history.Resolved}) {
		t.Errorf("history over a restart: %v", kinds)
	}
	var s history.Statistics
	if code := d.ask("GET", BoardPath+"/statistics", nil, &s); code != http.StatusOK || len(s.Items) != 1 || s.Items[0].Fired != 1 || s.Items[0].FiringSeconds <= 0 {
		t.Errorf("statistics: %+v", s)
	}
}

func TestFailedNotificationsAreRecordedOnce(t *testing.T) {
	r, h := newRig(t), newHook(t)
	h.answer(http.StatusInternalServerError)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	d := newDesk(t, r, BoardOptions{})
	eventually(t, "several attempts", func() bool { return strings.Contains(r.warned("alert-notify-failing"), "3 failed") })
	if kinds := d.kinds("kind=failed"); len(kinds) != 1 {
		t.Errorf("failures: %v", kinds)
	}
	h.answer(http.StatusOK)
	eventually(t, "the notification", func() bool { return slices.Contains(d.kinds("kind=notified"), history.Notified) })
}

func TestRulesBeforeTheyAreSaved(t *testing.T) {
	r := newRig(t)
	for n := range 10 {
		r.setAt(time.Now().Add(-time.Duration(10-n)*time.Minute), float64(n), "__name__", "load", "host", "db1")
	}
	r.start(r.prom(""), nil)
	d := newDesk(t, r, BoardOptions{})
	body := map[string]any{"expr": "load > 5", "for": "1m", "interval": "30s", "range_seconds": 900}
	var raw map[string]any
	if code := d.ask("POST", PreviewPath, body, &raw); code != http.StatusOK || raw["fired"] != 1.0 || raw["step_seconds"] != 30.0 {
		t.Errorf("preview: %d %v", code, raw)
	}
	for field, body := range map[string]map[string]any{
		"expr":          {"expr": "load >"},
		"for":           {"expr": "load", "for": "soon"},
		"range_seconds": {"expr": "load", "range_seconds": 1},
		"interval":      {"expr": "load", "interval": "0s"},
		"":              {"expression": "load"},
	} {
		var refused apiError
		if code := d.ask("POST", PreviewPath, body, &refused); code != http.StatusBadRequest || refused.Field != field {
			t.Errorf("%v: %d %+v", body, code, refused)
		}
	}

	var c Checked
	text := "groups:\n  - name: x\n    rules:\n      - alert: Load\n        expr: load >\n      - alert: More\n        exprs: load > 1\n"
	if code := d.ask("POST", CheckPath, map[string]string{"yaml": text}, &c); code != http.StatusOK || c.OK || len(c.Problems) < 2 || c.Problems[0].Line != 5 || len(c.Rules) != 0 {
		t.Errorf("check: %d %+v", code, c)
	}
	c = Checked{}
	if code := d.ask("POST", CheckPath, map[string]string{"yaml": twoRules}, &c); code != http.StatusOK || !c.OK || len(c.Rules) != 2 || c.Rules[0].Alert != "HighLoad" || c.Rules[0].Interval != "50ms" {
		t.Errorf("check: %d %+v", code, c)
	}
	var refused apiError
	if code := d.ask("POST", CheckPath, map[string]string{"yaml": strings.Repeat(" ", maxRules+1)}, &refused); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a text too long: %d", code)
	}
	if code := d.ask("POST", CheckPath, strings.Repeat(" ", 2*maxRules+1), &refused); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body too long: %d", code)
	}
	if code := d.ask("GET", BoardPath+"/history?from=yesterday", nil, &refused); code != http.StatusBadRequest || refused.Field != "from" {
		t.Errorf("a time in words: %d %+v", code, refused)
	}
}
