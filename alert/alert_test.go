package alert

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

func TestConfigNamesEveryBadField(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default is refused: %v", err)
	}
	err := Config{ForGracePeriod: -1, OutageTolerance: -1, MaxConcurrentEvals: -1, Limits: Limits{Silences: -1, SilenceBytes: -1, AlertsPerName: -1}}.Validate()
	for _, field := range []string{"resend_delay", "for_grace_period", "outage_tolerance", "max_concurrent_evals", "retention", "snapshot_interval",
		"failures_before_warning", "queue_capacity", "limits.silences", "limits.silence_bytes", "limits.alerts_per_name", "limits.body_bytes"} {
		if err == nil || !strings.Contains(err.Error(), "alert."+field+" is ") {
			t.Errorf("%s is not named in: %v", field, err)
		}
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	_, err := New(Options{Config: Default()})
	for _, field := range []string{"Prometheus", "Engine", "Queryable", "Appendable", "Dir"} {
		if err == nil || !strings.Contains(err.Error(), "Options."+field) {
			t.Errorf("%s is not named in: %v", field, err)
		}
	}
}

// Dashboards and mixins for Prometheus and Alertmanager look for these.
func TestUpstreamMetrics(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	eventually(t, "a notification", func() bool { return h.count("firing", "HighLoad") == 1 })
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, f := range families {
		have[f.GetName()] = true
	}
	for _, name := range []string{
		"alertmanager_alerts", "alertmanager_alerts_received_total", "alertmanager_cluster_enabled", "alertmanager_config_hash",
		"alertmanager_config_last_reload_successful", "alertmanager_dispatcher_aggregation_groups", "alertmanager_http_request_duration_seconds",
		"alertmanager_integrations", "alertmanager_nflog_snapshot_size_bytes", "alertmanager_notifications_total",
		"alertmanager_notifications_failed_total", "alertmanager_silences",
		"prometheus_notifications_alertmanagers_discovered", "prometheus_notifications_queue_capacity",
		"prometheus_rule_evaluations_total", "prometheus_rule_evaluation_failures_total", "prometheus_rule_group_iterations_missed_total",
		"prometheus_rule_group_last_duration_seconds", "prometheus_sd_updates_total",
		"atoll_alert_rule_alerts_total", "atoll_alert_snapshots_total", "atoll_alert_rules_failing",
	} {
		if !have[name] {
			t.Errorf("metric %s is not registered", name)
		}
	}
}

func TestTimeIntervalMutes(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.file("rules.yml", highLoad)
	r.set(9, "__name__", "load", "host", "db1")
	muted := func(intervals string) string {
		return `
route:
  receiver: hook
  group_wait: 10ms
  group_interval: 50ms
  routes: [{receiver: hook, matchers: [alertname=HighLoad], mute_time_intervals: [off]}]
receivers: [{name: hook, webhook_configs: [{url: "` + h.URL + `"}]}]
time_intervals: [{name: off, time_intervals: [` + intervals + `]}]`
	}
	r.start(r.prom(""), parseAM(t, muted(`{times: [{start_time: "00:00", end_time: "24:00"}]}`)))
	eventually(t, "the alert to be there", func() bool {
		rules := r.alert.AlertingRules()
		return len(rules) == 1 && len(rules[0].ActiveAlerts()) == 1
	})
	during(t, 500*time.Millisecond, "a notification in the muted interval", func() bool { return len(h.all()) > 0 })
	if err := r.reload(r.prom(""), parseAM(t, muted(`{years: ["1999"]}`))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the notification outside of it", func() bool { return h.count("firing", "HighLoad") == 1 })
}

func TestKeepFiringFor(t *testing.T) {
	r, h := newRig(t), newHook(t)
	r.config.ResendDelay = model.Duration(100 * time.Millisecond)
	r.file("rules.yml", strings.Replace(highLoad, "expr: load > 5", "expr: load > 5\n        keep_firing_for: 1s", 1))
	r.set(9, "__name__", "load", "host", "db1")
	r.start(r.prom(""), webhookTo(t, h.URL, ""))
	eventually(t, "the notification", func() bool { return h.count("firing", "HighLoad") == 1 })
	ended := time.Now()
	r.set(1, "__name__", "load", "host", "db1")
	eventually(t, "the end", func() bool { return h.count("resolved", "HighLoad") == 1 })
	if d := time.Since(ended); d < time.Second {
		t.Errorf("resolved %s after the condition ended, want 1s at least", d)
	}
}

func TestAlertmanagerVersionIsThatOfTheModule(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "github.com/prometheus/alertmanager v" + alertmanagerVersion + "\n"; !strings.Contains(string(mod), want) {
		t.Errorf("go.mod has another version of Alertmanager than %s", alertmanagerVersion)
	}
}
