package alert

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/notifier"
)

func TestDefaultsAreThoseOfTheAPI(t *testing.T) {
	now := time.Now()
	early, late := now.Add(-time.Hour), now.Add(time.Hour)
	for name, c := range map[string]struct {
		start, end, wantStart, wantEnd time.Time
		timeout                        bool
	}{
		"nothing":  {wantStart: now, wantEnd: now.Add(5 * time.Minute), timeout: true},
		"a start":  {start: early, wantStart: early, wantEnd: now.Add(5 * time.Minute), timeout: true},
		"an end":   {end: early, wantStart: early, wantEnd: early},
		"both":     {start: early, end: late, wantStart: early, wantEnd: late},
		"a future": {end: late, wantStart: late, wantEnd: late},
	} {
		a := &amalert.Alert{}
		a.StartsAt, a.EndsAt = c.start, c.end
		defaults(a, now, 5*time.Minute)
		if !a.StartsAt.Equal(c.wantStart) || !a.EndsAt.Equal(c.wantEnd) || a.Timeout != c.timeout {
			t.Errorf("with %s: %v to %v, timeout %v", name, a.StartsAt, a.EndsAt, a.Timeout)
		}
	}
}

func TestDeliver(t *testing.T) {
	r := newRig(t)
	r.start(r.prom(`
global: {external_labels: {site: north, team: default}}
alerting: {alert_relabel_configs: [{source_labels: [alertname], regex: Internal.*, action: drop}]}
`), nil)
	now := time.Now()
	at := func(l ...string) *notifier.Alert {
		return &notifier.Alert{Labels: labels.FromStrings(l...), StartsAt: now, EndsAt: now.Add(time.Minute)}
	}
	backwards := at("alertname", "Backwards")
	backwards.EndsAt = now.Add(-time.Minute)
	r.alert.Send(
		at("alertname", "Kept", "team", "own", "empty", ""),
		at("alertname", "InternalOnly"),
		backwards,
	)
	got, err := r.api().Alert.GetAlerts(alert.NewGetAlertsParams())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Payload) != 1 {
		t.Fatalf("alerts in the API: %s", jsonOf(got.Payload))
	}
	want := map[string]string{"alertname": "Kept", "site": "north", "team": "own"}
	if diff := cmp.Diff(want, map[string]string(got.Payload[0].Labels)); diff != "" {
		t.Errorf("labels: %s", diff)
	}
	m := r.alert.embedded.metrics
	for reason, want := range map[string]float64{"relabelled": 1, "invalid": 1, "refused": 0} {
		if got := testutil.ToFloat64(m.dropped.WithLabelValues(reason)); got != want {
			t.Errorf("%v alerts were counted as %s, want %v", got, reason, want)
		}
	}
}
