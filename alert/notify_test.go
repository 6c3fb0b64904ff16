package alert

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/alertmanager/api/v2/client/alertgroup"
	"github.com/prometheus/alertmanager/api/v2/client/general"
	"github.com/prometheus/alertmanager/api/v2/client/receiver"
	"github.com/prometheus/alertmanager/api/v2/client/silence"
	"github.com/prometheus/alertmanager/api/v2/models"
	amtemplate "github.com/prometheus/alertmanager/template"
	"github.com/prometheus/prometheus/model/labels"
)

func TestRuleFiresAndResolves(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom("global: {external_labels: {site: north}}"), webhookTo(t, h.URL, ""))

	eventually(t, "a firing notification", func() bool { return h.count("firing", "HighLoad") == 1 })
	first := h.all()[0]
	if diff := cmp.Diff(amtemplate.KV{"alertname": "HighLoad"}, first.GroupLabels); diff != "" {
		t.Errorf("group labels: %s", diff)
	}
	want := amtemplate.KV{"alertname": "HighLoad", "host": "db1", "severity": "page", "site": "north"}
	if diff := cmp.Diff(want, first.Alerts[0].Labels); diff != "" {
		t.Errorf("labels, the external one included: %s", diff)
	}
	if got := first.Alerts[0].Annotations["summary"]; got != "db1 has 9" {
		t.Errorf("annotation is %q", got)
	}
	if got := first.ExternalURL; got != "http://island.example:59080" {
		t.Errorf("external URL is %q", got)
	}
	if got := first.Alerts[0].GeneratorURL; !strings.HasPrefix(got, "http://island.example:59080/graph?") {
		t.Errorf("generator URL is %q", got)
	}

	r.set(1, "__name__", "load", "host", "db1")
	eventually(t, "a resolved notification", func() bool { return h.count("resolved", "HighLoad") == 1 })
	if n := h.count("firing", "HighLoad"); n != 1 {
		t.Errorf("notified %d times while firing, want once", n)
	}
	if q, err := r.db.Querier(0, time.Now().UnixMilli()); err != nil {
		t.Fatal(err)
	} else {
		defer q.Close()
		set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "load:max"))
		if !set.Next() {
			t.Error("the recording rule recorded nothing")
		}
	}
}

func TestGrouping(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1", "team", "data")
	r.set(8, "__name__", "load", "host", "db2", "team", "data")
	r.set(7, "__name__", "load", "host", "web1", "team", "web")
	r.start(r.prom(""), parseAM(t, `
route: {receiver: hook, group_by: [team], group_wait: 500ms, group_interval: 100ms, repeat_interval: 1h}
receivers: [{name: hook, webhook_configs: [{url: "`+h.URL+`"}]}]`))
	eventually(t, "one notification for each team", func() bool { return len(h.all()) == 2 })
	sizes := map[string]int{}
	for _, d := range h.all() {
		sizes[d.GroupLabels["team"]] = len(d.Alerts)
	}
	if diff := cmp.Diff(map[string]int{"data": 2, "web": 1}, sizes); diff != "" {
		t.Errorf("alerts by group: %s", diff)
	}
	groups, err := r.api().Alertgroup.GetAlertGroups(alertgroup.NewGetAlertGroupsParams())
	if err != nil || len(groups.Payload) != 2 {
		t.Errorf("GET alerts/groups: %v, %v", groups, err)
	}
}

func TestRepeat(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), parseAM(t, `
route: {receiver: hook, group_by: [alertname], group_wait: 10ms, group_interval: 50ms, repeat_interval: 200ms}
receivers: [{name: hook, webhook_configs: [{url: "`+h.URL+`"}]}]`))
	eventually(t, "the same alert a third time", func() bool { return h.count("firing", "HighLoad") >= 3 })
}

func TestInhibition(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad+`
      - alert: SiteDown
        expr: down == 1
        labels: {severity: page}
`)
	r.set(1, "__name__", "down", "host", "db1")
	am := webhookTo(t, h.URL, `
inhibit_rules: [{source_matchers: [alertname=SiteDown], target_matchers: [alertname=HighLoad], equal: [host]}]`)
	r.start(r.prom(""), am)
	eventually(t, "the inhibiting alert", func() bool { return h.count("firing", "SiteDown") == 1 })
	r.set(9, "__name__", "load", "host", "db1")
	r.set(9, "__name__", "load", "host", "db2")
	eventually(t, "the alert of the other host", func() bool { return h.count("firing", "HighLoad") == 1 })
	for _, d := range h.all() {
		for _, a := range d.Alerts {
			if a.Labels["alertname"] == "HighLoad" && a.Labels["host"] == "db1" {
				t.Errorf("an inhibited alert was notified: %v", a.Labels)
			}
		}
	}
	inhibited := false
	all, err := r.api().Alert.GetAlerts(alert.NewGetAlertsParams().WithFilter([]string{"host=db1", "alertname=HighLoad"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all.Payload {
		inhibited = inhibited || len(a.Status.InhibitedBy) == 1
	}
	if !inhibited {
		t.Errorf("GET alerts does not say what inhibits: %+v", all.Payload)
	}
}

func newSilence(matcher, value string, d time.Duration) *models.PostableSilence {
	no, yes := false, true
	start, end := strfmt.DateTime(time.Now()), strfmt.DateTime(time.Now().Add(d))
	by, why := "tester", "maintenance"
	return &models.PostableSilence{Silence: models.Silence{
		Matchers:  models.Matchers{{Name: &matcher, Value: &value, IsRegex: &no, IsEqual: &yes}},
		StartsAt:  &start,
		EndsAt:    &end,
		CreatedBy: &by,
		Comment:   &why,
	}}
}

func TestSilenceThroughAPI(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	posted, err := r.api().Silence.PostSilences(silence.NewPostSilencesParams().WithSilence(newSilence("host", "db1", time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	r.set(9, "__name__", "load", "host", "db1")
	r.set(9, "__name__", "load", "host", "db2")
	eventually(t, "the alert that is not silenced", func() bool { return h.count("firing", "HighLoad") == 1 })
	if got := h.all()[0].Alerts[0].Labels["host"]; got != "db2" || len(h.all()[0].Alerts) != 1 {
		t.Errorf("notified about %s, want db2 only", got)
	}
	if _, err := r.api().Silence.DeleteSilence(silence.NewDeleteSilenceParams().WithSilenceID(strfmt.UUID(posted.Payload.SilenceID))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the alert whose silence was taken back", func() bool {
		for _, d := range h.all() {
			for _, a := range d.Alerts {
				if a.Labels["host"] == "db1" {
					return true
				}
			}
		}
		return false
	})
}

func TestAPI(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	status, err := r.api().General.GetStatus(general.NewGetStatusParams())
	if err != nil || !strings.Contains(*status.Payload.Config.Original, "webhook_configs") {
		t.Errorf("GET status: %v, %v", status, err)
	} else if got := *status.Payload.VersionInfo.Version; got != alertmanagerVersion {
		t.Errorf("GET status says version %q", got)
	}
	receivers, err := r.api().Receiver.GetReceivers(receiver.NewGetReceiversParams())
	if err != nil || len(receivers.Payload) != 1 || *receivers.Payload[0].Name != "hook" {
		t.Errorf("GET receivers: %v, %v", receivers, err)
	}
	_, err = r.api().Alert.PostAlerts(alert.NewPostAlertsParams().WithAlerts(models.PostableAlerts{
		{Alert: models.Alert{Labels: models.LabelSet{"alertname": "Posted"}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a posted alert", func() bool { return h.count("firing", "Posted") == 1 })

	for path, want := range map[string]int{
		"/api/v2/nothing":           http.StatusNotFound,
		"/api/v2/silence/a/b":       http.StatusNotFound,
		"/api/v1/alerts":            http.StatusNotFound,
		"/api/v2/silence/not-a-uid": http.StatusUnprocessableEntity,
	} {
		resp, err := http.Get(r.server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s answered %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestBodyIsLimited(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.config.Limits.BodyBytes = 100
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	body := `[{"labels":{"alertname":"` + strings.Repeat("x", 200) + `"}}]`
	resp, err := http.Post(r.server.URL+"/api/v2/alerts", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 4 {
		t.Errorf("a body over the limit was answered with %d", resp.StatusCode)
	}
}

func TestNobodyToNotify(t *testing.T) {
	r := newRig(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), nil)
	if got := r.warned("alert-no-receiver"); got == "" {
		t.Error("no info that nobody is notified")
	}
	eventually(t, "the alert in the API", func() bool {
		all, err := r.api().Alert.GetAlerts(alert.NewGetAlertsParams())
		return err == nil && len(all.Payload) == 1 && *all.Payload[0].Receivers[0].Name == "default"
	})
	h := newHook(t)
	if err := r.reload(r.prom(""), webhookTo(t, h.URL, "")); err != nil {
		t.Fatal(err)
	}
	if got := r.warned("alert-no-receiver"); got != "" {
		t.Errorf("still warned after a receiver was added: %s", got)
	}
	eventually(t, "the alert that fired before", func() bool { return h.count("firing", "HighLoad") == 1 })
}
