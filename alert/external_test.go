package alert

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/alertmanager/api/v2/client/alert"
)

func hostOf(url string) string { return strings.TrimPrefix(url, "http://") }

func TestExternalAlertmanager(t *testing.T) {
	// The other Alertmanager is a second instance in the same process.
	r, own := newRig(t), newHook(t)
	other, h := addRig(t), newHook(t)
	other.start(other.prom(""), webhookTo(t, h.URL, ""))
	r.file("rules.yml", highLoad)
	r.start(r.prom(fmt.Sprintf(`
global: {external_labels: {site: north, replica: a}}
alerting:
  alert_relabel_configs: [{regex: replica, action: labeldrop}]
  alertmanagers:
    - static_configs: [{targets: [%q, "127.0.0.1:1"]}]
      relabel_configs: [{source_labels: [__address__], regex: "127.0.0.1:1", action: drop}]
`, hostOf(other.server.URL))), webhookTo(t, own.URL, ""))

	eventually(t, "both Alertmanagers to be listed", func() bool { return len(r.alert.Alertmanagers()) == 2 })
	if got := r.alert.DroppedAlertmanagers(); len(got) != 1 || got[0].Host != "127.0.0.1:1" {
		t.Errorf("dropped by relabelling: %v", got)
	}
	urls := r.alert.Alertmanagers()
	if got := urls[0].String(); got != "http://island.example:59080/api/v2/alerts" {
		t.Errorf("the embedded one is listed as %s", got)
	}
	if got := urls[1].String(); got != other.server.URL+"/api/v2/alerts" {
		t.Errorf("the external one is listed as %s", got)
	}
	r.set(9, "__name__", "load", "host", "db1")
	eventually(t, "the embedded one to notify", func() bool { return own.count("firing", "HighLoad") == 1 })
	eventually(t, "the external one to notify", func() bool { return h.count("firing", "HighLoad") == 1 })
	for name, got := range map[string]map[string]string{"embedded": own.all()[0].Alerts[0].Labels, "external": h.all()[0].Alerts[0].Labels} {
		if got["site"] != "north" || got["replica"] != "" {
			t.Errorf("%s: labels %v, want site without replica", name, got)
		}
	}
	r.set(1, "__name__", "load", "host", "db1")
	eventually(t, "both to say that it is over", func() bool {
		return own.count("resolved", "HighLoad") == 1 && h.count("resolved", "HighLoad") == 1
	})
	if got, err := other.api().Alert.GetAlerts(alert.NewGetAlertsParams()); err != nil {
		t.Error(err)
	} else if len(got.Payload) != 0 {
		t.Errorf("the external one still has %s", jsonOf(got.Payload))
	}
	if err := r.reload(r.prom(""), webhookTo(t, own.URL, "")); err != nil {
		t.Fatal(err)
	}
	if got := r.alert.Alertmanagers(); len(got) != 1 {
		t.Errorf("after the external one was removed: %v", got)
	}
}

func TestFailingExternalAlertmanagerIsReported(t *testing.T) {
	r, own := newRig(t), newHook(t)
	bad := newCalls(t, func(*http.Request) (int, string) { return http.StatusUnauthorized, "no" })
	r.file("rules.yml", highLoad)
	prom := r.prom(fmt.Sprintf("alerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}", hostOf(bad.URL)))
	r.start(prom, webhookTo(t, own.URL, ""))
	eventually(t, "it to be found", func() bool { return len(r.alert.Alertmanagers()) == 2 })
	r.set(9, "__name__", "load", "host", "db1")
	eventually(t, "a warning that names it", func() bool {
		text := r.warned("alert-external-failing")
		return strings.Contains(text, bad.URL) && strings.Contains(text, "401")
	})
	eventually(t, "the embedded one to notify in spite of it", func() bool { return own.count("firing", "HighLoad") == 1 })
	if err := r.reload(r.prom(""), webhookTo(t, own.URL, "")); err != nil {
		t.Fatal(err)
	}
	if text := r.warned("alert-external-failing"); text != "" {
		t.Errorf("warned of an Alertmanager that was removed: %s", text)
	}
}

func TestStopIsBoundedByAnExternalThatHangs(t *testing.T) {
	r, own := newRig(t), newHook(t)
	release := make(chan struct{})
	entered := make(chan struct{}, 100)
	hanging := newCalls(t, func(r *http.Request) (int, string) {
		entered <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return 200, ""
	})
	defer close(release)
	r.file("rules.yml", highLoad)
	prom := r.prom(fmt.Sprintf("alerting: {alertmanagers: [{timeout: 1h, static_configs: [{targets: [%q]}]}]}", hostOf(hanging.URL)))
	r.start(prom, webhookTo(t, own.URL, ""))
	eventually(t, "it to be found", func() bool { return len(r.alert.Alertmanagers()) == 2 })
	r.set(9, "__name__", "load", "host", "db1")
	<-entered
	r.set(1, "__name__", "load", "host", "db1")
	eventually(t, "something to be queued behind it", func() bool { return own.count("resolved", "HighLoad") == 1 })
	r.stop() // with the timeout of an hour it would not return in this test's life
}
