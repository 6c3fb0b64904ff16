package island

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	ready      prometheus.Gauge
	reloadOK   prometheus.Gauge
	reloadTime prometheus.Gauge
	reloads    *prometheus.CounterVec
	buildInfo  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, version string) *metrics {
	m := &metrics{
		ready: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_island_ready",
			Help: "1 while the island answers over all of its own data.",
		}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_island_config_last_reload_successful",
			Help: "1 if the configuration on disk is the one that runs.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "atoll_island_config_last_reload_success_timestamp_seconds",
			Help: "When the running configuration was taken over.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "atoll_island_config_reloads_total",
			Help: "Attempts to load the configuration again.",
		}, []string{"result"}),
		buildInfo: prometheus.NewGauge(prometheus.GaugeOpts{
			Name:        "atoll_island_build_info",
			Help:        "1, with the version that runs.",
			ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
		}),
	}
	m.buildInfo.Set(1)
	m.reloadOK.Set(1)
	m.reloadTime.SetToCurrentTime()
	for _, result := range []string{"ok", "refused"} {
		m.reloads.WithLabelValues(result)
	}
	reg.MustRegister(m.ready, m.reloadOK, m.reloadTime, m.reloads, m.buildInfo)
	return m
}

func (m *metrics) reloaded(at time.Time, ok bool) {
	if !ok {
		m.reloadOK.Set(0)
		m.reloads.WithLabelValues("refused").Inc()
		return
	}
	m.reloadOK.Set(1)
	m.reloadTime.Set(float64(at.UnixMilli()) / 1000)
	m.reloads.WithLabelValues("ok").Inc()
}
