package alert

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/alertmanager/api/v2/client/silence"
)

func TestRestartKeepsSilencesAndDoesNotRepeat(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	if _, err := r.api().Silence.PostSilences(silence.NewPostSilencesParams().WithSilence(newSilence("host", "db2", time.Hour))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first notification", func() bool { return h.count("firing", "HighLoad") == 1 })
	r.stop()

	r.set(9, "__name__", "load", "host", "db1")
	r.set(9, "__name__", "load", "host", "db2")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	silences, err := r.api().Silence.GetSilences(silence.NewGetSilencesParams())
	if err != nil || len(silences.Payload) != 1 || *silences.Payload[0].Comment != "maintenance" {
		t.Errorf("silences after the restart: %s, %v", jsonOf(silences), err)
	}
	eventually(t, "both alerts to fire again", func() bool {
		all, err := r.api().Alert.GetAlerts(alert.NewGetAlertsParams())
		return err == nil && len(all.Payload) == 2
	})
	// Several group intervals (100 ms each) in which a forgetful one would notify.
	during(t, time.Second, "a second notification of the same alert", func() bool { return h.count("firing", "HighLoad") > 1 })

	r.set(1, "__name__", "load", "host", "db1")
	eventually(t, "the end of the alert", func() bool { return h.count("resolved", "HighLoad") == 1 })
}

func TestAlertThatEndedDuringTheStopIsResolved(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	eventually(t, "the notification", func() bool { return h.count("firing", "HighLoad") == 1 })
	r.stop()
	r.set(1, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	eventually(t, "the resolved notification", func() bool { return h.count("resolved", "HighLoad") == 1 })
	if n := h.count("firing", "HighLoad"); n != 1 {
		t.Errorf("notified %d times while firing, want once", n)
	}
}

func TestForStateIsRestored(t *testing.T) {
	r := newRig(t)
	r.file("rules.yml", `
groups:
  - name: slow
    interval: 50ms
    rules: [{alert: Slow, expr: slow == 1, for: 1h}]
`)
	now := time.Now()
	since := now.Add(-30 * time.Minute)
	r.set(1, "__name__", "slow", "host", "db1")
	// What a run that ended a minute ago has left.
	r.setAt(now.Add(-time.Minute), float64(since.Unix()), "__name__", "ALERTS_FOR_STATE", "alertname", "Slow", "host", "db1")
	r.start(r.prom(""), nil)
	eventually(t, "the alert to be pending since before the start", func() bool {
		for _, rule := range r.alert.AlertingRules() {
			for _, a := range rule.ActiveAlerts() {
				// The minute of the outage does not count towards `for`.
				if d := a.ActiveAt.Sub(since); d > 50*time.Second && d < 5*time.Minute {
					return true
				}
			}
		}
		return false
	})
}

func TestDamagedStateIsPutAside(t *testing.T) {
	r, h := newRig(t), newHook(t)
	if err := os.MkdirAll(filepath.Join(r.dir, "alert"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fileSilences, fileNflog, fileAlerts} {
		r.file(filepath.Join("alert", name), "\xff\xff\xff\xff not a snapshot")
	}
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	eventually(t, "the notification in spite of all", func() bool { return h.count("firing", "HighLoad") == 1 })
	aside, err := filepath.Glob(filepath.Join(r.dir, "alert", "*.damaged-*"))
	if err != nil || len(aside) != 3 {
		t.Errorf("put aside: %v, %v; want three files", aside, err)
	}
	if text := r.warned("alert-state-damaged"); !strings.Contains(text, ".damaged-") {
		t.Errorf("warning says %q", text)
	}
}

func TestUnwritableStateIsReported(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	// A directory in place of the file cannot be replaced, not even by root.
	path := filepath.Join(r.dir, "alert", fileSilences)
	eventually(t, "the first snapshot", func() bool { _, err := os.Stat(path); return err == nil })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "in-the-way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := r.api().Silence.PostSilences(silence.NewPostSilencesParams().WithSilence(newSilence("host", "db2", time.Hour))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a warning", func() bool { return strings.Contains(r.warned("alert-snapshot-failing"), path) })
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the warning to end", func() bool { return r.warned("alert-snapshot-failing") == "" })
}

// A crash loses at most what the snapshot interval says: what is on disk while
// the island runs is enough to go on from.
func TestStateSurvivesACrash(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	if _, err := r.api().Silence.PostSilences(silence.NewPostSilencesParams().WithSilence(newSilence("host", "db2", time.Hour))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the notification", func() bool { return h.count("firing", "HighLoad") == 1 })
	after := addRig(t)
	for name, part := range map[string]string{fileNflog: "HighLoad", fileAlerts: "HighLoad", fileSilences: "db2"} {
		eventually(t, name+" on disk", func() bool {
			content, _ := os.ReadFile(filepath.Join(r.dir, "alert", name))
			return strings.Contains(string(content), part)
		})
	}
	// What a crash at this moment leaves.
	if err := os.CopyFS(filepath.Join(after.dir, "alert"), os.DirFS(filepath.Join(r.dir, "alert"))); err != nil {
		t.Fatal(err)
	}
	r.stop()
	after.file("rules.yml", highLoad)
	after.set(9, "__name__", "load", "host", "db1")
	after.start(after.prom(""), webhookTo(t, h.URL, ""))
	silences, err := after.api().Silence.GetSilences(silence.NewGetSilencesParams())
	if err != nil || len(silences.Payload) != 1 {
		t.Errorf("silences after the crash: %s, %v", jsonOf(silences), err)
	}
	during(t, time.Second, "a second notification of the same alert", func() bool { return h.count("firing", "HighLoad") > 1 })
	after.set(1, "__name__", "load", "host", "db1")
	eventually(t, "the end of the alert", func() bool { return h.count("resolved", "HighLoad") == 1 })
}
