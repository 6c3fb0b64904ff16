package alert

import (
	"crypto/md5"
	"encoding/binary"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the room's own. Those of the rule manager, the notifier and
// Alertmanager's packages register themselves, once per Alert.
type metrics struct {
	handed         *prometheus.CounterVec // by state
	dropped        *prometheus.CounterVec // by reason
	failing        *prometheus.GaugeVec   // by receiver, integration
	rulesFailing   prometheus.Gauge
	missed         prometheus.Counter
	snapshots      *prometheus.CounterVec // by state, result
	snapshotBytes  *prometheus.GaugeVec   // by state
	restoredAlerts prometheus.Gauge
	interrupted    prometheus.Counter

	am amMetrics
}

// amMetrics bear the names that Alertmanager's app package gives to what it
// counts itself, so that its dashboards and mixins work unchanged.
type amMetrics struct {
	requestDuration *prometheus.HistogramVec
	receivers       prometheus.Gauge
	integrations    prometheus.Gauge
	inhibitionRules prometheus.Gauge
	configHash      prometheus.Gauge
	reloadOK        prometheus.Gauge
	reloadTime      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		handed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_alert_rule_alerts_total",
			Help: "Alerts that rules handed to the embedded Alertmanager, repetitions included.",
		}, []string{"state"}),
		dropped: f.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_alert_rule_alerts_dropped_total",
			Help: "Alerts of rules that did not reach the embedded Alertmanager.",
		}, []string{"reason"}),
		failing: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_alert_notification_consecutive_failures",
			Help: "Failed attempts in a row of one integration; 0 once one succeeds.",
		}, []string{"receiver", "integration"}),
		rulesFailing: f.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_alert_rules_failing",
			Help: "Rules whose last evaluation failed.",
		}),
		missed: f.NewCounter(prometheus.CounterOpts{
			Name: "atoll_alert_rule_iterations_missed_total",
			Help: "Evaluations of rule groups left out because the one before was too slow.",
		}),
		snapshots: f.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_alert_snapshots_total",
			Help: "State files written (ok), left as they were (unchanged) or not written (failed).",
		}, []string{"state", "result"}),
		snapshotBytes: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_alert_snapshot_bytes",
			Help: "Size of the last state file.",
		}, []string{"state"}),
		restoredAlerts: f.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_alert_restored_alerts",
			Help: "Alerts taken over from before the last start.",
		}),
		interrupted: f.NewCounter(prometheus.CounterOpts{
			Name: "atoll_alert_notifications_interrupted_total",
			Help: "Notifications cut off by a stop or reload because they took longer than the time given.",
		}),
		am: newAMMetrics(f),
	}
	m.handed.WithLabelValues("firing")
	m.handed.WithLabelValues("resolved")
	for _, reason := range []string{"relabelled", "invalid", "refused"} {
		m.dropped.WithLabelValues(reason)
	}
	for _, state := range []string{fileSilences, fileNflog, fileAlerts} {
		for _, result := range []string{"ok", "unchanged", "failed"} {
			m.snapshots.WithLabelValues(state, result)
		}
	}
	return m
}

func newAMMetrics(f promauto.Factory) amMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	// Clustering is not ours to do: state is shared by replication, not gossip.
	gauge("alertmanager_cluster_enabled", "Indicates whether the clustering is enabled or not.")
	return amMetrics{
		requestDuration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "alertmanager_http_request_duration_seconds",
			Help:                            "Histogram of latencies for HTTP requests.",
			Buckets:                         prometheus.DefBuckets,
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"handler", "method", "code"}),
		receivers:       gauge("alertmanager_receivers", "Number of configured receivers."),
		integrations:    gauge("alertmanager_integrations", "Number of configured integrations."),
		inhibitionRules: gauge("alertmanager_inhibition_rules", "Number of configured inhibition rules."),
		configHash:      gauge("alertmanager_config_hash", "Hash of the currently loaded alertmanager configuration. Note that this is not a cryptographically strong hash."),
		reloadOK:        gauge("alertmanager_config_last_reload_successful", "Whether the last configuration reload attempt was successful."),
		reloadTime:      gauge("alertmanager_config_last_reload_success_timestamp_seconds", "Timestamp of the last successful configuration reload."),
	}
}

// hash48 is Alertmanager's own: the first 48 bits of an MD5, which a float
// holds exactly.
func hash48(text string) float64 {
	sum := md5.Sum([]byte(text))
	return float64(binary.LittleEndian.Uint64(append(sum[:6:6], 0, 0)))
}
